"""Label arrays and polygons in memory become objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_relay.errors import ImportFileError, UsageError
from napari_relay.formats import objects_of_labels, objects_of_polygons
from napari_relay.geometry import Box, Plane


@given(
    hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)),
    st.integers(-5, 15),
    st.integers(-5, 15),
)
def test_each_number_is_an_object_cut_at_the_image(labels, y, x):
    shape = (20, 18)
    whole = np.zeros((60, 60), np.int32)
    whole[y + 20 : y + 20 + labels.shape[0], x + 20 : x + 20 + labels.shape[1]] = labels
    whole = whole[20:40, 20:38]

    found = list(objects_of_labels(labels, shape, origin=(y, x)))

    painted = [np.zeros(shape, bool) for _ in found]
    for canvas, item in zip(painted, found, strict=True):
        canvas[item.box.slices] = item.mask
    expected = [whole == number for number in np.unique(whole) if number]
    assert sorted(map(bytes, painted)) == sorted(map(bytes, expected))


def test_labels_go_into_a_project_as_one_action(new_project):
    project = new_project((1200, 1300), (1, 2))
    labels = np.zeros((1200, 1300), np.uint16)
    labels[500:530, 500:700] = 9
    labels[0:5, 0:5] = 3
    project.import_objects(objects_of_labels(labels, project.shape, plane=Plane(0, 1)))
    np.testing.assert_array_equal(project.labels(Box(0, 0, 1200, 1300), Plane(0, 1)) > 0, labels > 0)
    assert [item.area for item in project.objects()] == [25, 6000]
    assert len(project.history()) == 1


def test_polygons_take_the_pixels_whose_centre_is_inside(new_project):
    project = new_project((50, 60))
    square = [(9.5, 19.5), (9.5, 24.5), (13.5, 24.5), (13.5, 19.5)]  # along pixel edges, as napari draws them
    outside = [(-40, -40), (-40, -30), (-30, -30)]
    project.import_objects(objects_of_polygons([square, outside, np.array([(0, 0), (0, 4), (4, 0)])], project.shape))
    first, second = project.objects()
    assert (first.box, first.area) == (Box(10, 20, 14, 25), 20)
    assert second.area in range(6, 16)


@pytest.mark.parametrize("labels", [np.zeros((3, 3), float), np.zeros((2, 3, 3), int)])
def test_what_is_no_label_image_is_refused(labels):
    with pytest.raises(UsageError):
        objects_of_labels(labels, (3, 3))


def test_numbers_below_0_and_lines_are_refused():
    with pytest.raises(ImportFileError):
        list(objects_of_labels(np.full((3, 3), -1), (3, 3)))
    with pytest.raises(UsageError):
        list(objects_of_polygons([[(0, 0), (1, 1)]], (3, 3)))
    with pytest.raises(UsageError):
        list(objects_of_polygons([[(0, 0), (1, 1), (np.nan, 3)]], (3, 3)))
