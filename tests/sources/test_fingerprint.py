"""Fingerprints of large files sample them, and notice what can be noticed cheaply."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.geometry import Box
from napari_relay.sources import fingerprint
from napari_relay.sources.fingerprint import file_fingerprint, sample_boxes


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large."""
    monkeypatch.setattr(fingerprint, "WHOLE_BYTES", 1 << 20)
    path = tmp_path / "large.tif"
    path.write_bytes(bytes(range(256)) * 16_000)
    return path


@pytest.mark.parametrize("at", [0, 1000, -1, -200_000])
def test_the_beginning_and_the_end_are_always_looked_at(at: int, large: Path) -> None:
    before = file_fingerprint(large)
    content = bytearray(large.read_bytes())
    content[at] ^= 1
    large.write_bytes(content)

    assert file_fingerprint(large) != before


def test_a_change_of_size_or_of_many_bytes_is_noticed(large: Path) -> None:
    content = large.read_bytes()
    found = {file_fingerprint(large)}
    for other in (content + b"x", content[:2_000_000] + bytes(100_000) + content[2_100_000:]):
        large.write_bytes(other)
        found.add(file_fingerprint(large))

    assert len(found) == 3


def test_parts_tell_images_of_one_file_apart(large: Path) -> None:
    assert file_fingerprint(large, "scene 1") != file_fingerprint(large)
    assert file_fingerprint(large, "a", "b") != file_fingerprint(large, "ab")


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 8))
def test_sample_boxes_lie_inside_and_reach_the_far_corner(height: int, width: int, per_side: int) -> None:
    boxes = sample_boxes((height, width), per_side)

    assert len(boxes) == per_side**2
    assert all(not box.empty and Box(0, 0, height, width).covers(box) for box in boxes)
    if per_side > 1:
        assert (boxes[-1].y1, boxes[-1].x1) == (height, width)
