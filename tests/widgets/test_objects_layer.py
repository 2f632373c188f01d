"""Object ids to class colours: cheap, exact, and with the axes of the image."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.widgets.objects import ColoredLevel, ColorTable
from napari_relay.widgets.palette import (
    INSTANCES,
    MAX_CLASSES,
    SHADES,
    class_colors,
    instance_colors,
    object_colors,
    overlay_colors,
    shaded,
    slot_of,
)


@given(st.dictionaries(st.integers(1, 5000), st.integers(0, 200), max_size=30), st.integers(0, 5))
@settings(deadline=None)
def test_each_id_has_the_colour_of_its_class(classes: dict[int, int], extra: int) -> None:
    table = ColorTable()
    table.set(list(classes), list(classes.values()))
    ids = np.array([0, *classes, 900_000 + extra], np.uint32)

    colors = table.of(ids)

    assert colors.dtype == np.uint8
    assert colors[0] == 0
    for object_id, color in zip(classes, colors[1:-1], strict=True):
        assert (color - 1) // SHADES == min(classes[object_id], MAX_CLASSES - 1)
    assert 1 <= colors[-1] <= SHADES, "an object that nobody told of looks like the first class"


def test_neighbours_of_one_class_differ_in_shade() -> None:
    table = ColorTable()
    table.set([1, 2, 3], [4, 4, 4])

    assert len(set(table.of(np.array([1, 2, 3])).tolist())) == 3


def test_a_hidden_object_is_hidden_in_a_single_pixel_too() -> None:
    table = ColorTable()
    table.set([7], [0])
    table.hide([7])

    assert table.of(np.array(7)) == 0
    assert not table.of(np.array([7, 0])).any()


def test_another_class_is_one_write() -> None:
    table = ColorTable()
    table.set([7], [0])
    before = table.of(np.array([7]))[0]
    table.set([7], [1])

    assert table.of(np.array([7]))[0] == before + SHADES


@pytest.mark.parametrize("leading", [(), (1,), (5,), (1, 5), (4, 1), (1, 1)])
def test_a_level_is_indexed_like_an_array_with_the_images_axes(leading: tuple[int, ...]) -> None:
    stored = tuple(size for size in leading if size > 1)
    ids = np.random.default_rng(0).integers(0, 50, (*stored, 20, 30)).astype(np.uint32)
    table = ColorTable()
    table.set(np.arange(50), np.zeros(50, int))
    level = ColoredLevel(ids, table, leading)
    plain = table.of(ids).reshape(*leading, 20, 30)

    keys: list[Any] = [
        (*(0 for _ in leading), slice(2, 9), slice(None)),
        (*(slice(0, 1) for _ in leading), slice(None), slice(3, 30, 2)),
        (Ellipsis, slice(0, 4), np.int64(7)),
        Ellipsis,
    ]
    assert level.shape == plain.shape
    for key in keys:
        np.testing.assert_array_equal(level[key], plain[key])
    np.testing.assert_array_equal(np.asarray(level), plain)
    assert deepcopy(level) is level


class CountedReads:
    """An array that counts how often it is read."""

    def __init__(self, ids: Any) -> None:
        self.ids, self.shape, self.reads = ids, ids.shape, 0

    def __getitem__(self, key: Any) -> Any:
        self.reads += 1
        return self.ids[key]


def test_what_is_on_screen_is_read_ahead_once_and_shown_as_it_is_now() -> None:
    array = CountedReads(np.zeros((20, 30), np.uint32))
    level = ColoredLevel(array, ColorTable())
    level.read_ahead()
    assert array.reads == 0, "nothing is on screen yet"

    shown = (slice(0, 10), slice(0, 10))
    assert not level[shown].any()
    array.ids[5, 5] = 7
    level.read_ahead()
    assert array.reads == 2

    assert level[shown][5, 5] > 0
    assert array.reads == 2, "read in the thread that read ahead"
    array.ids[5, 5] = 0
    assert level[shown][5, 5] == 0, "what was read ahead is old by now"
    level.read_ahead()
    assert level[slice(5, 12), slice(0, 10)].shape == (7, 10)
    assert array.reads == 5, "another place is read when it is asked for"


def test_colours_fit_into_a_byte_and_classes_keep_theirs() -> None:
    many = ["#123456"] * 200

    assert max(key for key in object_colors(many) if key is not None) <= 255
    assert max(key for key in overlay_colors(many) if key is not None) <= 255
    names = ["a", "b"]
    assert slot_of(None, names) == (1, 2)
    assert len({*slot_of(None, names), *slot_of("a", names), *slot_of("b", names)}) == 6
    assert slot_of("unknown", names) == slot_of("a", names)
    assert shaded("#ff0000", 0) == (1.0, 0.0, 0.0)


def test_every_object_has_a_value_of_its_own_while_instances_are_shown() -> None:
    table = ColorTable()
    table.set([1, 2, 3], [4, 4, 0])
    table.hide([2])
    table.instances = True

    values = table.of(np.array([0, 1, 2, 3, 900_000], np.uint32))

    assert values[0] == values[2] == 0
    assert len({*values.tolist()} - {0}) == 3
    assert table.of(np.array(1)) == values[1]
    assert values.max() <= INSTANCES
    colors = instance_colors()
    assert len({colors[value] for value in range(1, INSTANCES + 1)}) == INSTANCES


def test_objects_of_a_class_look_alike_in_the_view_of_classes() -> None:
    plain, alike = object_colors(["#ff0000", "#0000ff"]), class_colors(["#ff0000", "#0000ff"])

    assert plain.keys() == alike.keys()
    assert {alike[value] for value in range(1, 1 + SHADES)} == {plain[1]}
    assert {alike[value] for value in range(1 + SHADES, 1 + 2 * SHADES)} == {plain[1 + SHADES]}
