"""What every reader must do: one contract, inherited by a class for each kind of file.

A case makes a small true file and says what its pixels are: one array [t, z, y, x, c] a level.
"""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any, ClassVar

import dask.array as da
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_multiscale
from PIL import Image

from napari_relay.errors import ImageError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, build_pyramid, open_image
from napari_relay.sources.pyramid import halve
from napari_relay.sources.slides import open_slide

Pixels = npt.NDArray[Any]


def made_up(*shape: int, dtype: npt.DTypeLike = np.uint8, seed: int = 0) -> Pixels:
    """Smooth pixels of any shape [..., y, x] with some noise: they survive lossy codecs, and no two rows are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    wave = np.sin(x / 23) * 50 + np.cos(y / 17) * 50 + 120 + rng.integers(0, 9, shape)
    lift = np.arange(int(np.prod(shape[:-2]))).reshape(*shape[:-2], 1, 1) * 7 % 50
    values = wave + lift
    return (values > 130).astype(dtype) if np.dtype(dtype).kind == "b" else values.astype(dtype)


def rgb(height: int, width: int, channels: int = 3, dtype: npt.DTypeLike = np.uint8) -> Pixels:
    return np.ascontiguousarray(np.moveaxis(made_up(channels, height, width, dtype=dtype), 0, -1))


def halved(pixels: Pixels, times: int) -> list[Pixels]:
    """Levels of [y, x, c] or [..., y, x] by area mean."""
    levels = [pixels]
    last = pixels.shape[-1] <= 4
    for _ in range(times):
        finer = np.moveaxis(levels[-1], -1, 0) if last else levels[-1]
        coarser = halve(finer)
        levels.append(np.moveaxis(coarser, 0, -1) if last else coarser)
    return levels


def planes(*levels: Pixels, axes: str) -> list[Pixels]:
    """Arrays with `axes` as [t, z, y, x, c]."""
    out = []
    for level in levels:
        order = [axes.index(axis) for axis in "tzyxc" if axis in axes]
        moved = level.transpose(order)
        missing = [at for at, axis in enumerate("tzyxc") if axis not in axes]
        out.append(np.expand_dims(moved, tuple(missing)))
    return out


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


class TestNumpyGrey(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(130, 97, dtype=np.float32)
        return image, planes(image, axes="yx")


class TestNumpyStackOfChannels(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(2, 3, 4, 60, 70, dtype=np.int16)
        return image, planes(image, axes="tczyx")


class TestNumpyBool(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(80, 90, dtype=bool)
        return image, planes(image, axes="yx")


class TestListOfLevels(SourceContract):
    movable, rgb = False, True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(rgb(200, 301), 2)
        return levels, planes(*levels, axes="yxc")


class TestDask(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(5, 120, 140, dtype=np.uint16)
        return da.from_array(image, chunks=(1, 50, 60)), planes(image, axes="cyx")


class ZarrContract(SourceContract):
    """OME-Zarr as the reference writer makes it."""

    format: ClassVar[Any] = FormatV05()
    axes: ClassVar[str] = "tczyx"

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(2, 3, 2, 150, 131, dtype=np.uint16)
        levels = [image, halve(image), halve(halve(image))]
        group = zarr.open_group(folder / "image.zarr", mode="w", zarr_format=self.format.zarr_format)
        write_multiscale(levels, group, fmt=self.format, axes=list(self.axes))
        return folder / "image.zarr", planes(*levels, axes=self.axes)


class TestOmeZarr05(ZarrContract):
    pass


class TestOmeZarr04(ZarrContract):
    format = FormatV04()


class TestShardedOmeZarr(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(3, 150, 131)
        group = zarr.open_group(folder / "sharded.zarr", mode="w", zarr_format=3)
        array = group.create_array("0", shape=image.shape, chunks=(1, 16, 16), shards=(3, 64, 64), dtype="u1")
        array[:] = image
        axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
        scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return folder / "sharded.zarr", planes(image, axes="cyx")


class TestZippedZarr(ZarrContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        path, truth = super().make(folder)
        return Path(shutil.make_archive(str(path), "zip", path)), truth


class TestRemoteZarr(ZarrContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        path, truth = super().make(folder)
        return path.as_uri(), truth


class TestPlainZarrGroup(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(made_up(2, 128, 128, dtype=np.float64), 1)
        group = zarr.open_group(folder / "plain.zarr", mode="w", zarr_format=2)
        for name, level in zip(("fine", "coarse"), levels, strict=True):
            group.create_array(name, data=level, chunks=(1, 50, 50))
        return folder / "plain.zarr", planes(*levels, axes="cyx")


class TestTiffStrips(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(110, 95, dtype=np.int32)
        tifffile.imwrite(folder / "strips.tif", image, rowsperstrip=7, compression="lzw", predictor=True)
        return folder / "strips.tif", planes(image, axes="yx")


class TestTiffInOneRun(SourceContract):
    """Uncompressed and contiguous: memory-mapped. Big-endian, as instruments write it."""

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(3, 110, 95, dtype=np.uint16)
        tifffile.imwrite(folder / "run.tif", image, byteorder=">", imagej=True, metadata={"axes": "ZYX"})
        return folder / "run.tif", planes(image, axes="zyx")


class TestTiffOneCompressedStrip(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(110, 95)
        tifffile.imwrite(folder / "one.tif", image, rowsperstrip=110, compression="zlib", photometric="rgb")
        return folder / "one.tif", planes(image, axes="yxc")


class TestTiffPlanarBands(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(5, 110, 95, dtype=np.float32)
        tifffile.imwrite(
            folder / "planar.tif", image, tile=(32, 48), compression="zstd", planarconfig="separate",
            photometric="minisblack",
        )  # fmt: skip
        return folder / "planar.tif", planes(image, axes="cyx")


class TestTiffBilevel(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(110, 95, dtype=bool)
        tifffile.imwrite(folder / "bilevel.tif", image, compression="packbits")
        return folder / "bilevel.tif", planes(image, axes="yx")


class TestTiffPyramidOfSubIfds(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(rgb(300, 201), 2)
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb", "metadata": None}
        with tifffile.TiffWriter(folder / "pyramid.tif", bigtiff=True) as writer:
            writer.write(levels[0], subifds=2, **options)
            for level in levels[1:]:
                writer.write(level, subfiletype=1, **options)
        return folder / "pyramid.tif", planes(*levels, axes="yxc")


class TestTiffPyramidOfUnmarkedPages(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(made_up(300, 201, dtype=np.uint16), 2)
        with tifffile.TiffWriter(folder / "unmarked.tif") as writer:
            for level in levels:
                writer.write(level, tile=(64, 64), compression="zlib", metadata=None)
        return folder / "unmarked.tif", planes(*levels, axes="yx")


class TestOmeTiffPyramid(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(2, 3, 2, 150, 131, dtype=np.uint16)
        levels = [image, halve(image)]
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"}
        with tifffile.TiffWriter(folder / "stack.ome.tif", ome=True) as writer:
            writer.write(levels[0], subifds=1, metadata={"axes": "TCZYX"}, **options)
            writer.write(levels[1], subfiletype=1, **options)
        return folder / "stack.ome.tif", planes(*levels, axes="tczyx")


class TestSvsJpeg2000(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(256, 256)
        tiles = [image[y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128)]
        coded = (imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), level=0, codecformat="j2k") for tile in tiles)
        tifffile.imwrite(
            folder / "slide.svs", coded, shape=image.shape, dtype="u1", tile=(128, 128), compression=33005,
            photometric="rgb", description="Aperio Image Library v10|AppMag = 40|MPP = 0.25", metadata=None,
        )  # fmt: skip
        return folder / "slide.svs", planes(image, axes="yxc")


class TestTiffJpegTiles(SourceContract):
    rgb, tolerance = True, 12

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(200, 180)
        tifffile.imwrite(
            folder / "jpeg.tif", image, tile=(64, 64), compression="jpeg", compressionargs={"level": 95},
            photometric="rgb",
        )  # fmt: skip
        return folder / "jpeg.tif", planes(image, axes="yxc")


class TestPng16Bit(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(60, 80, 4, np.uint16)
        (folder / "deep.png").write_bytes(imagecodecs.png_encode(image))
        return folder / "deep.png", planes(image, axes="yxc")


class TestJpegOnItsSide(SourceContract):
    rgb, tolerance = True, 12

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = rgb(80, 120)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(image)).save(folder / "side.jpg", exif=exif, quality=97, subsampling=0)
        return folder / "side.jpg", planes(image, axes="yxc")


class TestJpeg2000(SourceContract):
    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        image = made_up(90, 70, dtype=np.uint16)
        (folder / "photo.jp2").write_bytes(imagecodecs.jpeg2k_encode(image, level=0))
        return folder / "photo.jp2", planes(image, axes="yx")


class TestSlideThroughOpenSlide(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        pytest.importorskip("openslide")
        levels = halved(rgb(512, 512), 1)
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb", "metadata": None}
        with tifffile.TiffWriter(folder / "slide.tif", bigtiff=True) as writer:
            writer.write(levels[0], **options)
            writer.write(levels[1], subfiletype=1, **options)
        return folder / "slide.tif", planes(*levels, axes="yxc")

    def open(self, what: Any) -> Source:
        return open_slide(what)


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
