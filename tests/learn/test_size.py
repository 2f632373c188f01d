"""The learned size of the objects: how far a first view may reach, and where the size is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from napari_relay.model.checkpoint import read_card
from napari_relay.views import first_view, step_side, whole_view
from napari_relay.views.policy import LEARNED_VIEW, MIN_STEP
from napari_relay.workspace.learning import learned_size

SHAPES = st.tuples(st.integers(56, 100_000), st.integers(56, 100_000))
ZOOMS = st.one_of(st.none(), st.floats(0.05, 100))


@given(SHAPES, ZOOMS, st.floats(5, 20_000))
def test_a_first_view_is_no_wider_than_the_learned_size_asks_for(
    shape: tuple[int, int], zoom: float | None, object_px: float
) -> None:
    view = first_view(shape, (shape[0] / 2, shape[1] / 2), zoom, object_px)
    plain = first_view(shape, (shape[0] / 2, shape[1] / 2), zoom)

    # Sides stand on half octaves, and a view about as wide as the image becomes the whole image.
    widest = max(step_side(MIN_STEP), LEARNED_VIEW * object_px * 2**0.5 + 4)
    assert view.box.height <= widest * 2**0.25 + 4 or view == plain
    if zoom is not None:
        assert view.box.height <= plain.box.height


def test_small_objects_in_a_picture_seen_whole_get_a_view_of_their_own() -> None:
    assert first_view((1024, 1024), (500, 500)) == whole_view((1024, 1024))
    view = first_view((1024, 1024), (500, 500), None, 40.0)
    assert 100 <= view.box.height <= 160
    assert view.box.contains(500, 500)


def test_who_zoomed_in_further_keeps_that_view() -> None:
    assert first_view((1024, 1024), (500, 500), 0.15, 400.0) == first_view((1024, 1024), (500, 500), 0.15)


def test_the_size_is_in_the_card_of_what_was_learned(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    card = {**read_card("small").to_json(), "metrics": {"object_px": 40.5}, "shards": []}
    save_file({"x": np.zeros(1, np.float16)}, path, metadata={"card": json.dumps(card)})

    assert learned_size(path) == 40.5
    assert learned_size(None) is None
