"""Small true images for the tests of the readers: pixels, levels, and slides that OpenSlide itself accepts."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from napari_relay.sources.pyramid import halve

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


def write_mrxs(
    folder: Path, name: str, pixels: Pixels, *, tile: int, glass: tuple[int, int], first: tuple[int, int]
) -> Path:
    """A MIRAX slide with two levels, in PNG tiles.

    `glass` is the number of (rows, columns) of tiles of the whole canvas; only `pixels` [y, x, 3], from the tile
    `first` (row, column) on, were scanned.
    """
    home = folder / name
    home.mkdir()
    slide_id = "0123456789ABCDEF0123456789ABCDEF"
    data, index = b"", bytearray(b"01.02" + slide_id.encode() + bytes(8))
    root, table = len(index) - 8, len(index)
    index += bytes(8)
    struct.pack_into("<i", index, root, table)
    for level, scaled in enumerate(halved(pixels, 1)):
        entries = b""
        for row in range(scaled.shape[0] // tile):
            for column in range(scaled.shape[1] // tile):
                part = scaled[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
                coded = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(part)).save(coded, "png")
                at = (first[0] + (row << level)) * glass[1] + first[1] + (column << level)
                entries += struct.pack("<iiii", at, len(data), len(coded.getvalue()), 0)
                data += coded.getvalue()
        struct.pack_into("<i", index, table + 4 * level, len(index))
        index += struct.pack("<iiii", 0, len(index) + 8, len(entries) // 16, 0) + entries
    struct.pack_into("<i", index, root + 4, len(index))
    index += bytes(16)
    (home / "Data0000.dat").write_bytes(data)
    (home / "Index.dat").write_bytes(index)
    (home / "Slidedat.ini").write_text(_slidedat(slide_id, tile, glass))
    path = folder / f"{name}.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xe0 the scanner puts a thumbnail here")
    return path


def _slidedat(slide_id: str, tile: int, glass: tuple[int, int]) -> str:
    levels = "".join(
        f"HIER_0_VAL_{level}=ZoomLevel_{level}\nHIER_0_VAL_{level}_SECTION=LAYER_0_LEVEL_{level}_SECTION\n"
        for level in (0, 1)
    )
    sections = "".join(
        f"[LAYER_0_LEVEL_{level}_SECTION]\nOVERLAP_X=0\nOVERLAP_Y=0\n"
        f"MICROMETER_PER_PIXEL_X={0.25 * 2**level}\nMICROMETER_PER_PIXEL_Y={0.25 * 2**level}\nIMAGE_FORMAT=PNG\n"
        f"IMAGE_FILL_COLOR_BGR=16777215\nDIGITIZER_WIDTH={tile}\nDIGITIZER_HEIGHT={tile}\nIMAGE_CONCAT_FACTOR={level}\n"
        for level in (0, 1)
    )
    return (
        f"[GENERAL]\nSLIDE_VERSION=01.02\nSLIDE_ID={slide_id}\nIMAGENUMBER_X={glass[1]}\nIMAGENUMBER_Y={glass[0]}\n"
        "OBJECTIVE_MAGNIFICATION=20\nCameraImageDivisionsPerSide=1\n"
        "[HIERARCHICAL]\nHIER_COUNT=1\nNONHIER_COUNT=0\nINDEXFILE=Index.dat\nHIER_0_NAME=Slide zoom level\n"
        f"HIER_0_COUNT=2\n{levels}[DATAFILE]\nFILE_COUNT=1\nFILE_0=Data0000.dat\n{sections}"
    )


def write_scn(path: Path, pixels: Pixels, *, canvas: int, offset: tuple[int, int]) -> Path:
    """A Leica SCN slide with two levels: `pixels` [y, x, 3] at `offset` (y, x) on a square canvas."""
    nanometres = 250
    height, width = pixels.shape[:2]
    levels = halved(pixels, 1)
    whole = (0, 0, canvas, canvas)
    scanned = (*offset, height, width)
    images = [("macro", [(64, 64)], whole, 0), ("main", [level.shape[:2] for level in levels], scanned, 1)]
    text = "".join(_scn_image(name, shapes, view, nanometres, ifd) for name, shapes, view, ifd in images)
    side = canvas * nanometres
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:a">'
        f'<collection name="c" uuid="urn:uuid:c" sizeX="{side}" sizeY="{side}">{text}</collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for index, image in enumerate([np.full((64, 64, 3), 230, np.uint8), *levels]):
            writer.write(
                image, tile=(64, 64), photometric="rgb", metadata=None, compression="zlib",
                description=xml if index == 0 else None,
            )  # fmt: skip
    return path


def _scn_image(
    name: str, shapes: list[tuple[int, int]], view: tuple[int, int, int, int], nanometres: int, ifd: int
) -> str:
    y, x, height, width = (value * nanometres for value in view)
    dimensions = "".join(
        f'<dimension sizeX="{shape[1]}" sizeY="{shape[0]}" r="{r}" ifd="{ifd + r}"/>' for r, shape in enumerate(shapes)
    )
    return (
        f'<image name="{name}" uuid="urn:uuid:{name}"><creationDate>2020-01-01T00:00:00Z</creationDate>'
        '<device model="Leica SCN400" version="1.4"/>'
        f'<pixels sizeX="{shapes[0][1]}" sizeY="{shapes[0][0]}">{dimensions}</pixels>'
        f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}" spacingZ="0"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image>"
    )
