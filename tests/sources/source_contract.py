"""What every reader must do: one contract, inherited by a class for each kind of file.

A case makes a small true file and says what its pixels are: one array [t, z, y, x, c] a level.
"""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from made_images import Pixels

from napari_relay.errors import ImageError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image


class SourceContract:
    """Tests that hold for every reader. A case overrides `make`."""

    tolerance: ClassVar[int] = 0
    """Largest difference that a lossy or interpolating reader may have."""
    rgb: ClassVar[bool] = False
    movable: ClassVar[bool] = True
    """Whether the image is a file or folder that can be copied elsewhere."""

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        """Write the image; (what to open, true pixels of each level)."""
        raise NotImplementedError

    def open(self, what: Any) -> Source:
        return open_image(what)

    @pytest.fixture
    def case(self, tmp_path: Path) -> Any:
        what, truth = self.make(tmp_path)
        with self.open(what) as source:
            yield source, truth, what

    def check(self, pixels: Pixels, truth: Pixels) -> None:
        assert pixels.shape == truth.shape
        assert pixels.dtype == truth.dtype
        if self.tolerance:
            difference = np.abs(pixels.astype(float) - truth.astype(float))
            assert difference.max() <= self.tolerance
        else:
            np.testing.assert_array_equal(pixels, truth)

    def test_says_what_the_image_is(self, case: Any) -> None:
        source, truth, _ = case

        t, z, height, width, channels = truth[0].shape
        assert source.shape == (height, width)
        assert (source.sizes_t, source.sizes_z, source.channels) == (t, z, channels)
        assert len(source.channel_names) == channels
        assert source.dtype == truth[0].dtype
        assert source.is_rgb == self.rgb
        described = json.loads(json.dumps(source.describe()))
        assert described["sizes"] == {"t": t, "z": z, "c": channels, "y": height, "x": width}
        assert source.name
        assert source.name in repr(source)

    def test_levels_are_finest_first_and_cover_the_image(self, case: Any) -> None:
        source, truth, _ = case

        assert [level.shape for level in source.levels] == [level.shape[2:4] for level in truth]
        assert source.levels[0].scale == (1.0, 1.0)
        for index, level in enumerate(source.levels):
            assert level.index == index
            for axis in (0, 1):
                assert abs(level.shape[axis] * level.scale[axis] - source.shape[axis]) < level.scale[axis]

    def test_random_boxes_are_the_true_pixels(self, case: Any) -> None:
        source, truth, _ = case
        rng = np.random.default_rng(1)

        for level, pixels in enumerate(truth):
            t, z, height, width, _ = pixels.shape
            for _ in range(12):
                y0, y1 = sorted(rng.integers(0, height + 1, 2))
                x0, x1 = sorted(rng.integers(0, width + 1, 2))
                plane = Plane(int(rng.integers(t)), int(rng.integers(z)))
                found = source.read(Box(int(y0), int(x0), int(y1), int(x1)), level, plane)
                self.check(found, pixels[plane.t, plane.z, y0:y1, x0:x1])

    def test_corners_and_single_pixels(self, case: Any) -> None:
        source, truth, _ = case

        for level, pixels in enumerate(truth):
            height, width = pixels.shape[2:4]
            for y, x in [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]:
                self.check(source.read(Box(y, x, y + 1, x + 1), level), pixels[0, 0, y : y + 1, x : x + 1])

    def test_an_empty_box_has_no_pixels(self, case: Any) -> None:
        source, _, _ = case

        assert source.read(Box(3, 3, 3, 8)).shape == (0, 5, source.channels)

    def test_pixels_belong_to_the_caller(self, case: Any) -> None:
        source, truth, _ = case
        box = Box(0, 0, 20, 20)

        mine = source.read(box)
        assert mine.flags.writeable
        mine[:] = 0

        self.check(source.read(box), truth[0][0, 0, :20, :20])

    def test_wrong_requests_are_named(self, case: Any) -> None:
        source, _, _ = case
        height, width = source.shape

        with pytest.raises(UsageError, match="not inside level 0"):
            source.read(Box(0, 0, height + 1, width))
        with pytest.raises(UsageError, match="not inside"):
            source.read(Box(-1, 0, 5, 5))
        with pytest.raises(UsageError, match="no level 99"):
            source.read(Box(0, 0, 1, 1), 99)
        with pytest.raises(UsageError, match="no plane t=0, z=999"):
            source.read(Box(0, 0, 1, 1), 0, Plane(0, 999))
        with pytest.raises(UsageError, match="no channel 'nothing'"):
            source.channel_index("nothing")

    def test_many_threads_read_the_same_pixels(self, case: Any) -> None:
        source, truth, _ = case
        failures: list[BaseException] = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                for _ in range(8):
                    level = int(rng.integers(len(truth)))
                    height, width = truth[level].shape[2:4]
                    y, x = int(rng.integers(height)), int(rng.integers(width))
                    box = Box(y, x, y + 40, x + 40).clip((height, width))
                    self.check(source.read(box, level), truth[level][0, 0][box.slices])
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert not failures

    def test_closed_source_raises(self, case: Any) -> None:
        source, _, _ = case

        source.close()
        source.close()

        with pytest.raises(ImageError, match="is closed"):
            source.read(Box(0, 0, 1, 1))

    def test_layers_show_what_is_read(self, case: Any) -> None:
        source, truth, _ = case

        layers = source.layer_data()

        kwargs = source.layer_kwargs()
        assert kwargs.get("multiscale", False) == (len(truth) > 1)
        for layer, pixels in zip(layers, truth, strict=True):
            kept = tuple(
                0 if size == 1 and axis not in "yx" else slice(None)
                for axis, size in zip("tzyxc", pixels.shape, strict=True)
            )
            self.check(np.asarray(layer), pixels[kept])
            self.check(np.asarray(layer[..., 3:30:2, :])[..., :1], pixels[kept][..., 3:30:2, :][..., :1])
        if source.channels > 1 and not source.is_rgb:
            axis = kwargs["channel_axis"]
            part = layers[0][(slice(None),) * axis + (1,)]
            self.check(np.asarray(part), np.take(np.asarray(layers[0]), 1, axis))

    def test_fingerprint_follows_the_content(self, case: Any, tmp_path: Path) -> None:
        source, _, what = case
        assert len(source.fingerprint) == 32
        with self.open(what) as again:
            assert again.fingerprint == source.fingerprint

        if self.movable:
            elsewhere = tmp_path / "elsewhere" / what.name
            elsewhere.parent.mkdir()
            (shutil.copytree if what.is_dir() else shutil.copy)(what, elsewhere)
            with self.open(elsewhere) as moved:
                assert moved.fingerprint == source.fingerprint
