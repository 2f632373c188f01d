"""Pyramids in the cache: right, resumable, stoppable, and never believed when unfinished."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_images import Pixels, halved, made_up, planes, rgb
from source_contract import SourceContract

from napari_relay.errors import DamagedImageError, StorageError
from napari_relay.geometry import Box
from napari_relay.sources import Progress, Source, build_pyramid, needs_pyramid, open_image
from napari_relay.sources import pyramid as pyramid_module
from napari_relay.sources.pyramid import halve, pyramid_shapes
from napari_relay.sources.segments import SegmentArray


class TestPyramidFromTheCache(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(700, 600)
        tifffile.imwrite(folder / "flat.tif", image, rowsperstrip=700, compression="zlib", photometric="rgb")
        self.cache = folder / "cache"
        return folder / "flat.tif", planes(*halved(image, 1), axes="yxc")

    def open(self, what: Any) -> Source:
        with open_image(what) as flat:
            steps = build_pyramid(flat, self.cache)
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    cached: Source = done.value
                    return cached


def build(source: Source, cache: Path) -> tuple[list[Progress], Source]:
    """All progress values of a build, and what it returns."""
    steps, progress = build_pyramid(source, cache), []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as done:
            return progress, done.value


@pytest.fixture(scope="module")
def flat_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flat") / "flat.tif"
    tifffile.imwrite(path, rgb(2500, 1300), rowsperstrip=2500, compression="zlib", photometric="rgb")
    return path


@pytest.fixture
def flat(flat_once: Path, tmp_path: Path) -> Path:
    """A 2,500 x 1,300 TIFF in one strip."""
    return Path(shutil.copy(flat_once, tmp_path / "flat.tif"))


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images over 1,000 pixels a side count as large."""
    monkeypatch.setattr(pyramid_module, "MAX_SIDE", 1000)


def chunk_times(cache: Path) -> dict[str, int]:
    return {
        str(path.relative_to(cache)): path.stat().st_mtime_ns for path in cache.rglob("c/*/*/*/*/*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("shapes", "needed"),
    [
        ([(8192, 7000)], False),
        ([(8193, 10)], True),
        ([(8100, 8100)], True),
        ([(40_000, 40_000), (9_000, 9_000)], True),
        ([(40_000, 40_000), (5_000, 5_000)], False),
    ],
)
def test_large_images_without_a_small_level_need_one(shapes: list[tuple[int, int]], needed: bool) -> None:
    levels = [np.broadcast_to(np.uint8(0), shape) for shape in shapes]

    assert needs_pyramid(open_image(levels)) == needed


@given(st.integers(1, 300_000), st.integers(1, 300_000))
def test_levels_halve_until_one_chunk_holds_the_image(height: int, width: int) -> None:
    shapes = pyramid_shapes((height, width))

    assert shapes[0] == (height, width)
    assert max(shapes[-1]) <= 512
    for finer, coarser in itertools.pairwise(shapes):
        assert coarser == (-(-finer[0] // 2), -(-finer[1] // 2))


@settings(deadline=None)
@given(
    st.sampled_from(["u1", "i1", "u2", "i4", "u8", "i8", "f4"]).flatmap(
        lambda dtype: arrays(dtype, st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)))
    )
)
def test_halving_is_the_mean_of_each_block(pixels: Pixels) -> None:
    found = halve(pixels)

    assert found.dtype == pixels.dtype
    for index in np.ndindex(found.shape):
        plane, y, x = index
        block = pixels[plane, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()
        if pixels.dtype.kind in "iu":
            numbers = [int(value) for value in block] * (4 // block.size)
            assert int(found[index]) == (sum(numbers) + 2) // 4
        else:
            valid = block[~np.isnan(block)].astype(float)
            with np.errstate(invalid="ignore", over="ignore"):
                mean = np.float32(valid.mean()) if valid.size else np.float32(np.nan)
            np.testing.assert_allclose(found[index], mean, rtol=1e-6, equal_nan=True)


def test_half_true_is_true() -> None:
    assert halve(np.array([[1, 0, 0, 0, 1], [0, 1, 0, 1, 0]], bool)).tolist() == [[True, False, True]]


def test_progress_counts_to_the_end_with_time_left(flat: Path, tmp_path: Path) -> None:
    with open_image(flat) as source:
        progress, cached = build(source, tmp_path / "cache")
        cached.close()

    assert [step.done for step in progress] == sorted(step.done for step in progress)
    assert progress[-1].done == progress[-1].total
    assert progress[-1].fraction == 1
    assert progress[0].seconds_left is not None
    assert progress[-1].seconds_left == 0


def test_the_cache_speaks_for_the_original(flat: Path, tmp_path: Path) -> None:
    with open_image(flat, channel_names=["r", "g", "b"]) as source:
        _, cached = build(source, tmp_path / "cache")
        original = source.describe()

    with cached:
        assert (cached.name, cached.path, cached.format) == ("flat.tif", flat, "tiff")
        assert cached.channel_names == ("r", "g", "b")
        assert cached.fingerprint == source.fingerprint
        assert cached.describe()["file_bytes"] == original["file_bytes"]
        assert [level.scale for level in cached.levels] == [(2.0**k, 2.0**k) for k in range(4)]


def test_the_cache_is_an_ome_zarr_for_everybody(flat: Path, tmp_path: Path) -> None:
    with open_image(flat) as source:
        build(source, tmp_path / "cache")[1].close()
    (path,) = (tmp_path / "cache").glob("*.ome.zarr")

    with open_image(path) as plain:
        assert plain.format == "ome-zarr 0.5"
        assert len(plain.levels) == 4
        np.testing.assert_array_equal(plain.read(Box(0, 0, 2500, 1300)), rgb(2500, 1300))


@pytest.mark.usefixtures("small_limit")
def test_a_finished_pyramid_is_found_on_opening(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RELAY_CACHE_DIR", str(tmp_path / "cache"))
    with open_image(flat) as source:
        assert needs_pyramid(source)
        build(source, tmp_path / "cache")[1].close()

    with open_image(flat) as found:
        assert len(found.levels) == 4
        assert not needs_pyramid(found)
    with open_image(flat, cache_dir=tmp_path / "elsewhere") as other:
        assert len(other.levels) == 1


@pytest.mark.usefixtures("small_limit")
def test_a_file_edited_in_place_is_not_shown_with_its_old_pixels(flat: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_image(flat) as source:
        build(source, cache)[1].close()
    os.utime(flat, ns=(1, 1))

    with open_image(flat, cache_dir=cache) as changed:
        assert len(changed.levels) == 1
        build(changed, cache)[1].close()
    with open_image(flat, cache_dir=cache) as again:
        assert len(again.levels) == 4


@pytest.mark.usefixtures("small_limit")
def test_a_stopped_build_is_not_believed_and_goes_on_where_it_stopped(flat: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_image(flat) as source:
        steps = build_pyramid(source, cache)
        next(steps)
        steps.close()
    before = chunk_times(cache)
    assert before

    with open_image(flat, cache_dir=cache) as source:
        assert len(source.levels) == 1
        _, cached = build(source, cache)

    with cached:
        np.testing.assert_array_equal(cached.read(Box(0, 0, 2500, 1300)), rgb(2500, 1300))
    after = chunk_times(cache)
    assert before.items() <= after.items(), "chunks that were there were written again"


KILLED = """
import sys
from pathlib import Path
from napari_relay.sources import build_pyramid, open_image

source = open_image(sys.argv[1])
for step in build_pyramid(source, Path(sys.argv[2])):
    print(step.done, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_build_goes_on_where_it_stopped(flat: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(flat), str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    child.stdin.write(b"\n")  # on to the next block, and into the middle of it
    child.stdin.flush()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    before = chunk_times(cache)
    assert before
    assert not list(cache.glob("*.json"))

    with open_image(flat) as source:
        _, cached = build(source, cache)

    with cached:
        for level, truth in zip(cached.levels, halved(rgb(2500, 1300), 3), strict=True):
            np.testing.assert_array_equal(cached.read(Box(0, 0, *level.shape), level.index), truth)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_a_storage_error_and_nothing_half_written_counts(flat: Path, tmp_path: Path) -> None:
    """The system itself refuses to write more than a few kilobytes to a file."""
    import resource

    cache = tmp_path / "cache"
    with open_image(flat) as source:
        source.fingerprint  # noqa: B018 - read before the limit falls
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"Cannot write the pyramid of .*flat\.tif.*Make room"):
                build(source, cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert not list(cache.glob("*.json"))
        _, cached = build(source, cache)
    with cached:
        np.testing.assert_array_equal(cached.read(Box(0, 0, 2500, 1300)), rgb(2500, 1300))


def test_a_cache_folder_that_cannot_be_made_is_a_storage_error(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with open_image(flat) as source, pytest.raises(StorageError, match="NAPARI_RELAY_CACHE_DIR"):
        build(source, tmp_path / "file" / "cache")


def test_an_image_that_breaks_while_it_is_read_is_an_image_error(flat: Path, tmp_path: Path) -> None:
    with tifffile.TiffFile(flat) as tif:
        offset = tif.pages.first.dataoffsets[0]
    with open_image(flat) as source:
        with flat.open("r+b") as stream:
            stream.seek(offset + 500_000)  # behind what the reader may have buffered
            stream.write(b"\xff" * 5000)

        with pytest.raises(DamagedImageError, match="Cannot read level 0"):
            build(source, tmp_path / "cache")


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("vandal", ["marker", "pixels", "level"])
def test_a_cache_that_was_tampered_with_is_not_used(vandal: str, flat: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with open_image(flat) as source:
        build(source, cache)[1].close()
    (marker,), (path,) = cache.glob("*.json"), cache.glob("*.ome.zarr")
    if vandal == "marker":
        marker.write_text("{not json")
    else:
        victim = path / ("zarr.json" if vandal == "pixels" else "2/zarr.json")
        victim.unlink()

    with open_image(flat, cache_dir=cache) as source:
        assert len(source.levels) == 1


def test_a_stack_of_many_channels_keeps_all_planes(tmp_path: Path) -> None:
    image = made_up(2, 3, 2, 600, 700, dtype=np.float32)
    image[0, 0, 0, :50, :50] = np.nan

    progress, cached = build(open_image(image, axes="tczyx"), tmp_path)

    with cached:
        assert (cached.sizes_t, cached.sizes_z, cached.channels) == (2, 2, 3)
        for level, truth in zip(cached.layer_data(), (image, halve(image)), strict=True):
            np.testing.assert_array_equal(np.asarray(level), np.moveaxis(truth, 1, -1))
    assert progress[-1].total == 4 * (2 * 2 + 1)


@pytest.mark.parametrize("layout", [{"rowsperstrip": 1}, {"rowsperstrip": 700}, {"tile": (1024, 256)}])
def test_every_stored_piece_is_decoded_once(
    layout: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid_module, "BLOCK_AREA", 4 * 512 * 512)
    image = made_up(1300, 2900)
    tifffile.imwrite(tmp_path / "wide.tif", image, compression="zstd", **layout)
    decoded: list[int] = []
    original = SegmentArray._decode
    monkeypatch.setattr(
        SegmentArray, "_decode", lambda self, page, index: decoded.append(index) or original(self, page, index)
    )

    with open_image(tmp_path / "wide.tif") as source:
        _, cached = build(source, tmp_path / "cache")

    with cached:
        np.testing.assert_array_equal(cached.read(Box(700, 1000, 1300, 2900))[..., 0], image[700:, 1000:])
    assert len(decoded) == len(set(decoded))


def test_a_blank_image_is_finished_only_once(tmp_path: Path) -> None:
    """Chunks of nothing but the fill value are written too, or a resumed build would start from the beginning."""
    image = np.zeros((1500, 1500), np.uint16)
    steps = build_pyramid(open_image(image), tmp_path)
    next(steps)
    steps.close()
    before = chunk_times(tmp_path)

    assert before
    build(open_image(image), tmp_path)[1].close()
    assert before.items() <= chunk_times(tmp_path).items()
    (path,) = tmp_path.glob("*.ome.zarr")
    assert zarr.open_group(path, mode="r")["0"].shape == (1, 1, 1, 1500, 1500)
