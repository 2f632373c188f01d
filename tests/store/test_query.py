"""Which objects, in what order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_relay.geometry import Box, Plane
from napari_relay.store import NewObject, ObjectFilter, Order, query

STATES = ["proposed", "accepted", "reviewed", "locked", "rejected"]


@pytest.fixture
def full(open_project, rng):
    """200 objects that differ in everything, on two planes, some deleted."""
    project = open_project(sizes=(1, 2))
    made = []
    for n in range(200):
        y, x, side = (int(value) for value in rng.integers(1, 400, 3))
        name = str(rng.choice(["a", "B", "c%"]))
        made.append(
            NewObject(
                Box(y, x, y + side, x + side),
                np.ones((side, side), bool),
                class_name=name,
                plane=Plane(0, int(rng.integers(2))),
                state=STATES[n % 5],
                score=None if n % 7 == 0 else rng.random(),
                seconds=None if n % 3 else float(n),
                author=str(rng.choice(["Ada", "Emmy"])),
                note="100 %" if n % 10 == 0 else "",
                n_clicks=n % 4,
                created=f"2026-01-{n % 28 + 1:02}",
            )
        )
    project.import_objects(made)
    project.delete([5, 6, 7])
    return project


KEYS = {
    Order.ID: lambda o: (), Order.CLASS: lambda o: o.class_name, Order.STATE: lambda o: o.state,
    Order.POSITION: lambda o: (o.plane.t, o.plane.z, o.box.y0, o.box.x0), Order.AREA: lambda o: o.area,
    Order.CLICKS: lambda o: o.n_clicks, Order.SECONDS: lambda o: -1 if o.seconds is None else o.seconds,
    Order.SCORE: lambda o: -1 if o.score is None else o.score, Order.AUTHOR: lambda o: o.author,
    Order.CREATED: lambda o: o.created, Order.CHECKPOINT: lambda o: (), Order.NOTE: lambda o: o.note,
    Order.DOUBT: lambda o: -1 if o.score is None else o.score,
}  # fmt: skip


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", list(Order))
def test_objects_are_sorted_by_every_column(full, order, descending):
    expected = sorted(full.objects(), key=lambda o: (KEYS[order](o), o.id), reverse=descending)
    found = full.find(order=order, descending=descending)
    assert found.dtype == np.int64
    assert found.tolist() == [o.id for o in expected]


@pytest.mark.parametrize(
    ("wanted", "lets_through"),
    [
        (ObjectFilter(class_names=("a",)), lambda o: o.class_name == "a"),
        (ObjectFilter(class_names=("a", "c%")), lambda o: o.class_name in ("a", "c%")),
        (ObjectFilter(states=("locked", "proposed")), lambda o: o.state in ("locked", "proposed")),
        (ObjectFilter(plane=Plane(0, 1)), lambda o: o.plane.z == 1),
        (
            ObjectFilter(box=Box(100, 100, 150, 160)),
            lambda o: not o.box.intersect(Box(100, 100, 150, 160)).empty,
        ),
        (ObjectFilter(text="emm"), lambda o: o.author == "Emmy"),
        (ObjectFilter(text=" % "), lambda o: "%" in o.note or "%" in o.class_name),
        (ObjectFilter(text="_"), lambda o: False),
        (
            ObjectFilter(class_names=("a",), states=("accepted",), plane=Plane(0, 0), box=Box(0, 0, 300, 300)),
            lambda o: (
                o.class_name == "a" and o.state == "accepted" and o.plane.z == 0
                and not o.box.intersect(Box(0, 0, 300, 300)).empty
            ),
        ),
    ],
)  # fmt: skip
def test_a_filter_lets_through_what_it_names(full, wanted, lets_through):
    expected = [o.id for o in full.objects() if lets_through(o)]
    assert full.find(wanted).tolist() == expected


def test_ids_longer_than_a_slice_come_whole(full, monkeypatch):
    whole = full.find(order="area")
    monkeypatch.setattr(query, "_SLICE", 10)
    np.testing.assert_array_equal(full.find(order="area"), whole)


def test_an_empty_project_has_no_ids(project):
    assert project.find().tolist() == []
    assert project.totals() == {}


def test_rows_come_in_the_order_asked_for_without_those_that_are_gone(full):
    ids = full.find(order=Order.AREA)[:20]
    assert [o.id for o in full.rows(ids)] == ids.tolist()
    assert [o.id for o in full.rows([9, 5, 8, 999])] == [9, 8]


def test_totals_are_what_can_be_counted(full):
    counted: dict[tuple[str, str], int] = {}
    for stored in full.objects():
        key = (stored.class_name, stored.state)
        counted[key] = counted.get(key, 0) + 1
    assert full.totals() == counted
    assert full.count() == 197


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_wrong_totals_are_found_and_mended(full):
    with full._database.write() as db:
        db.execute("UPDATE totals SET n = n + 1")
    steps = full.repair()
    assert [(d.mended, d.object_id) for d in finished(steps)] == [(True, None)]
    test_totals_are_what_can_be_counted(full)
