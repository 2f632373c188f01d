"""TIFF and its relatives, written by tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from made_images import Pixels, halved, made_up, planes, rgb
from source_contract import SourceContract

from napari_relay.sources.pyramid import halve


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


class TestRemoteTiff(SourceContract):
    movable = False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        levels = halved(made_up(300, 201, dtype=np.uint16), 1)
        with tifffile.TiffWriter(folder / "remote.tif") as writer:
            writer.write(levels[0], tile=(64, 64), compression="zlib", subifds=1, metadata=None)
            writer.write(levels[1], tile=(64, 64), compression="zlib", subfiletype=1, metadata=None)
        return (folder / "remote.tif").as_uri(), planes(*levels, axes="yx")


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
