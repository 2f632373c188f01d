"""A checkpoint lands only when it needs fewer clicks and no set suffers."""

from __future__ import annotations

from relay_training.history import reasons_against


def rows(**noc: float) -> list[dict[str, str]]:
    mean = sum(noc.values()) / len(noc)
    return [{"set": key, "NoC@85": str(value)} for key, value in {**noc, "all": mean}.items()]


def test_the_first_one_lands():
    assert reasons_against(rows(a=3.0), []) == []


def test_fewer_clicks_land_and_more_do_not():
    assert reasons_against(rows(a=2.0, b=3.1), rows(a=3.0, b=3.0)) == []
    assert "mean" in reasons_against(rows(a=3.0, b=3.0), rows(a=3.0, b=3.0))[0]


def test_one_set_that_suffers_keeps_it_out():
    assert reasons_against(rows(a=1.0, b=3.4), rows(a=3.0, b=3.0)) == ["b: NoC@85 3.40 instead of 3.00"]
