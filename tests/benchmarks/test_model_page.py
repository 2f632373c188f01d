"""The measured tables of docs/model.md: made from results, judged by the targets, up to date in the repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from napari_relay.errors import UsageError
from relay_training.check_report import Check, to_json
from relay_training.metrics import ObjectRun
from relay_training.report import ContenderReport, Report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def targets(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("targets")


@pytest.fixture
def model_page(targets: ModuleType, script: Callable[[str], ModuleType]) -> ModuleType:
    return script("model_page")


def a_run(picture: str, clicks: int, first: float = 0.5) -> ObjectRun:
    """An object that takes so many clicks to reach 0.92."""
    ious = (*([first] * (clicks - 1)), 0.92)
    return ObjectRun(picture, 1, ious, (1.0,) * clicks, (), (0,) * clicks)


def a_report(
    path: Path, clicks: dict[str, list[int]], *, peer: bool = False, weights: str = "w", date: str = "2"
) -> None:
    card = {"kind": "mobilesam"} if peer else {
        "kind": "napari-relay", "checkpoint": "small", "encoder_hash": weights, "pixel_hash": "", "head_hash": "",
    }  # fmt: skip
    sets = {name: [a_run(f"p{i}", n) for i, n in enumerate(numbers)] for name, numbers in clicks.items()}
    contender = ContenderReport(card, {"date": date}, sets)
    Report({"max_clicks": 20}, {"mobilesam" if peer else "relay": contender}).save(path)


@pytest.mark.parametrize(
    ("aim", "measured", "peer", "met"),
    [
        ({"value": 1.9, "factor": 1.0}, 1.9, 2.0, True),
        ({"value": 1.9, "factor": 1.0}, 1.9, 1.9, False),
        ({"value": 1.9, "factor": 1.0}, 1.95, 3.0, False),
        ({"value": 1.9, "factor": 1.0}, 1.5, 1.4, False),
        ({"value": 1.9, "factor": 1.0}, 1.5, None, None),
        ({"value": 1.9, "factor": 1.0}, 2.5, None, False),
        ({"value": 7.0}, 7.0, None, True),
        ({"factor": 0.75}, 3.0, 4.0, True),
        ({"factor": 0.75}, 3.1, 4.0, False),
        ({"added": 0.0, "more": True}, 0.5, 0.5, False),
        ({"added": 0.0, "more": True}, 0.51, 0.5, True),
        ({"added": 0.25, "more": True}, 0.75, 0.5, True),
        ({"value": 0.26, "more": True}, 0.25, None, False),
    ],
)
def test_a_target_is_met_when_all_of_it_is(targets, aim, measured, peer, met):
    assert targets.Aim(**aim).met(measured, peer) is met


def test_peer_counts_on_the_same_objects_and_old_weights_do_not(targets, tmp_path):
    a_report(tmp_path / "old.json", {"grabcut": [1] * 5}, weights="old", date="1")
    a_report(tmp_path / "quick.json", {"grabcut": [1, 3], "davis_a": [8]}, date="3")
    a_report(tmp_path / "whole.json", {"grabcut": [1, 3, 5]}, date="2")
    a_report(tmp_path / "without_peer.json", {"grabcut": [1] * 9}, date="2")
    a_report(tmp_path / "peer.json", {"grabcut": [2, 2, 2, 20], "berkeley": [1]}, peer=True)
    (tmp_path / "other.json").write_text("[1]")

    found = targets.measured_sets(targets.read_reports(tmp_path))

    assert set(found) == {"grabcut", "davis_a"}
    assert found["grabcut"].product.noc[90] == 3
    assert found["grabcut"].peer.noc[90] == 2
    assert found["davis_a"].peer is None
    text = targets.table(found, {"further click": {"value": 0.6}})
    row = {tuple(line.split(" | ")[:2]): line for line in text.splitlines()}
    assert row[("| grabcut", "NoC@90")].endswith(
        "| <= 1.9 and below the peer's | <= 1.5 | 2.00 | 3.00 | 3 | **missed** |"
    )
    assert "| 8.00 | 1 | **missed** |" in row[("| davis_a", "NoC@90")]
    assert "not measured yet" in row[("| thin_a", "mIoU@5")]
    assert "0.60 |  | reached |" in text
    assert targets.measured_sets([]) == {}


def test_every_block_is_made_of_its_results(model_page, tmp_path):
    page = "".join(f"a\n<!-- {name} -->\nstale\n<!-- /{name} -->\n" for name in model_page.BLOCKS)
    empty = model_page.written(page, tmp_path)
    assert "stale" not in empty
    assert empty.count(model_page.NOT_YET) == 4

    machine = {"processor": "A", "date": "2026-01-01 10:00 UTC"}
    worth = {"objects": 8, "miou": {"both sets": 0.9, "x": 0.4}, "lost": {"x": [0.5, 0.4, 0.6]}, "ceiling": 0.41}
    about = {"checkpoint": "small", "dtype": "float32", "machine": machine}
    (tmp_path / "blank.json").write_text(json.dumps({**about, "sets": {"context": worth}}))
    (tmp_path / "checks.json").write_text(to_json([Check("c", 0.5, 0.6, "at least", 3)], about))
    clicks = {"noc85": 3.0, "noc90": 5.0, "miou": {"1": 0.5, "3": 0.75, "5": 0.8}}
    rows = {
        "relay_off": {"title": "off", "group": "relay", "samples": 20000,
                      "measured": {"context": {"context": {"miou1": 0.4}, "bench": {"miou1": None}}}},
        "step0": {"title": "step 0", "group": "", "samples": 0, "measured": {"clicks": clicks}},
        "sequential": {"title": "sequential", "group": "relay", "samples": 0, "missing": "no such rule"},
    }  # fmt: skip
    (tmp_path / "ablation.json").write_text(json.dumps({"format": "napari-relay ablation 1", "rows": rows}))
    figure = {"key": "edges, gain of IoU", "value": 0.01, "unit": "", "text": "0.90 to 0.91", "met": None}
    line = {"benchmark": "edges", "date": "2026", "command": "python x", "figures": [figure],
            "details": {"checkpoint": "small", "clicks": 3, "objects": [1, 2]}}  # fmt: skip
    (tmp_path / "edges.json").write_text(json.dumps(line))

    text = model_page.written(page, tmp_path)

    assert model_page.NOT_YET not in text
    assert "| context | 8 | x | 0.400 | 0.500 (0.400 to 0.600) |" in text
    assert "| c | 3 | at least 0.6 | 0.500 | **not ok** |" in text
    assert text.index("step 0") < text.index("| relay | off | 20,000 |  |  |  | 0.40 | - |")
    assert "not run: no such rule" in text
    assert "| gain of IoU | 0.010 | 0.90 to 0.91 |" in text
    with pytest.raises(UsageError, match="markers of ablation"):
        model_page.replaced("nothing", "ablation", "x")


def test_the_page_is_up_to_date(model_page):
    page = model_page.PAGE.read_text(encoding="utf-8")

    assert model_page.written(page, BENCHMARKS / "results") == page, "run benchmarks/model_page.py"
