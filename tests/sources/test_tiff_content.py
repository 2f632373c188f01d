"""What TIFF files say and hide: colour, names, pixel sizes, scenes, missing tiles."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from made_images import Pixels, made_up, rgb
from PIL import Image
from ranges_server import RangesServer

from napari_relay.errors import DamagedImageError, ImageError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box
from napari_relay.sources import open_image, tiff
from napari_relay.sources.segments import SegmentCache


def whole(path: Path, **options: Any) -> Pixels:
    with open_image(path, **options) as source:
        return source.read(Box(0, 0, *source.shape))


@pytest.mark.parametrize("space", ["rgb", "ycbcr"])
def test_aperio_jpeg_2000_comes_out_as_rgb(space: str, tmp_path: Path) -> None:
    """Kind 33003 holds YCbCr without saying so."""
    image = rgb(256, 256)
    stored = np.asarray(Image.fromarray(image).convert("YCbCr")) if space == "ycbcr" else image
    tiles = [stored[y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128)]
    coded = (
        imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), level=0, codecformat="j2k", mct=False) for tile in tiles
    )
    tifffile.imwrite(
        tmp_path / "slide.svs", coded, shape=image.shape, dtype="u1", tile=(128, 128), photometric="rgb",
        compression=33003 if space == "ycbcr" else 33005, metadata=None,
        description="Aperio Image Library v10|AppMag = 40|MPP = 0.2498",
    )  # fmt: skip

    with open_image(tmp_path / "slide.svs") as source:
        assert source.format == "svs"
        assert source.pixel_size_um == (0.2498, 0.2498)
    difference = np.abs(whole(tmp_path / "slide.svs").astype(int) - image)
    assert difference.max() <= (4 if space == "ycbcr" else 0)


def test_uncompressed_ycbcr_becomes_rgb(tmp_path: Path) -> None:
    image = rgb(60, 70)
    stored = np.asarray(Image.fromarray(image).convert("YCbCr"))
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", rowsperstrip=16, compression="zlib", metadata=None,
        extratags=[(530, "H", 2, (1, 1), True)],
    )  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages.first.tags["PhotometricInterpretation"].overwrite(6)

    assert np.abs(whole(tmp_path / "a.tif").astype(int) - image).max() <= 4


def test_a_palette_becomes_colour(tmp_path: Path) -> None:
    indices = made_up(60, 70) % 16
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "map.tif", indices, photometric="palette", colormap=table * 257, compression="zlib")

    with open_image(tmp_path / "map.tif") as source:
        assert source.is_rgb
        assert source.dtype == np.uint8

    np.testing.assert_array_equal(whole(tmp_path / "map.tif"), table.T[indices])


@pytest.mark.parametrize(
    ("extra", "is_rgb", "names"),
    [
        ("unassalpha", True, ("red", "green", "blue", "alpha")),
        ("unspecified", False, ("red", "green", "blue", "band 4")),
    ],
)
def test_a_fourth_band_is_alpha_only_if_the_file_says_so(
    extra: str, is_rgb: bool, names: tuple[str, ...], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "four.tif", rgb(60, 70, 4), photometric="rgb", extrasamples=[extra])

    with open_image(tmp_path / "four.tif") as source:
        assert source.is_rgb == is_rgb
        assert source.channel_names == names


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_in_both_byte_orders(dtype: str, order: str, tmp_path: Path) -> None:
    image = made_up(40, 50, dtype=np.dtype(dtype))
    for compression in (None, "zlib"):
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, image, byteorder=order, compression=compression, rowsperstrip=9)

        found = whole(path)

        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found[..., 0], image)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}, (0.5, 0.25)),
        ({"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (0.5, 0.25)),
        ({"imagej": True, "resolution": (4, 2)}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 500,
                                    "PhysicalSizeYUnit": "nm"}}, (0.5, 0.25)),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0, "PhysicalSizeY": 0.5}}, None),
    ],
)  # fmt: skip
def test_pixel_sizes_that_are_meant_are_believed(options: Any, size: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "sized.tif", made_up(40, 50), **options)

    with open_image(tmp_path / "sized.tif") as source:
        assert source.pixel_size_um == (pytest.approx(size) if size else None)


def test_channel_names_come_from_ome(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", made_up(2, 40, 50, dtype=np.uint16), metadata=metadata)

    with open_image(tmp_path / "a.ome.tif") as source:
        assert source.channel_names == ("DAPI", "GFP")
        assert not source.is_rgb


def test_one_of_several_images_is_picked_by_index_or_name(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(np.zeros((40, 50), np.uint8), metadata={"Name": "overview"})
        writer.write(np.ones((60, 70), np.uint16), metadata={"Name": "detail"})

    with open_image(path) as first, open_image(path, scene=1) as second, open_image(path, scene="detail") as named:
        assert (first.shape, second.shape, named.shape) == ((40, 50), (60, 70), (60, 70))
        assert first.fingerprint != second.fingerprint == named.fingerprint
        assert first.describe()["scenes"] == ["overview", "detail"]
    with pytest.raises(UsageError, match=r"no image 'macro'. It has: 0 \(overview\), 1 \(detail\)"):
        open_image(path, scene="macro")


def test_a_multi_file_ome_tiff_reads_its_other_files(tmp_path: Path) -> None:
    planes_ = made_up(2, 40, 50)
    uuids = ["urn:uuid:00000000-0000-0000-0000-00000000000" + str(i) for i in (1, 2)]
    entries = "".join(
        f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="part{c}.ome.tif">{uuids[c]}</UUID></TiffData>'
        for c in (0, 1)
    )
    for c in (0, 1):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuids[c]}"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="50" SizeY="40" SizeC="2" SizeZ="1" '
            f'SizeT="1"><Channel ID="Channel:0:0"/><Channel ID="Channel:0:1"/>{entries}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / f"part{c}.ome.tif", planes_[c], description=xml, metadata=None, compression="zlib")

    found = whole(tmp_path / "part0.ome.tif")

    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), planes_)


def test_unknown_axes_of_short_stacks_are_channels_and_of_long_ones_planes(tmp_path: Path) -> None:
    for count, expected in ((4, (1, 4)), (20, (20, 1))):
        tifffile.imwrite(tmp_path / f"{count}.tif", np.zeros((count, 40, 50)), photometric="minisblack")

        with open_image(tmp_path / f"{count}.tif") as source:
            assert (source.sizes_z, source.channels) == expected


def test_only_the_tiles_under_the_box_are_decoded(tmp_path: Path) -> None:
    """All tiles but one are garbage: reading that one must not notice."""
    image = made_up(256, 256)
    path = tmp_path / "tiles.tif"
    tifffile.imwrite(path, image, tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    coded = bytearray(path.read_bytes())
    for index, (offset, count) in enumerate(places):
        if index != 5:
            coded[offset : offset + count] = b"\xff" * count
    path.write_bytes(coded)

    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(Box(64, 64, 128, 128))[..., 0], image[64:128, 64:128])
        with pytest.raises(DamagedImageError, match=r"Cannot read level 0 of .*tiles\.tif at y=0\.\.10, x=0\.\.10"):
            source.read(Box(0, 0, 10, 10))


def test_tiles_that_the_file_leaves_out_are_blank(tmp_path: Path) -> None:
    """100,000 x 100,000 pixels with one tile: opening and reading need no more memory than that tile."""
    path = tmp_path / "sparse.tif"
    tile = made_up(1024, 1024)
    coded = zlib.compress(tile)
    tiles = (coded if index == 98 * 50 + 50 else b"" for index in range(98 * 98))
    tifffile.imwrite(
        path, tiles, shape=(100_000, 100_000), dtype="u1", tile=(1024, 1024), compression="zlib", bigtiff=True,
        photometric="minisblack", metadata=None,
    )  # fmt: skip
    y = x = 50 * 1024

    tracemalloc.start()
    with open_image(path) as source:
        assert source.shape == (100_000, 100_000)
        np.testing.assert_array_equal(source.read(Box(y, x, y + 300, x + 300))[..., 0], tile[:300, :300])
        assert not source.read(Box(0, 0, 300, 300)).any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 30 << 20


def test_a_strip_too_large_to_decode_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "MAX_SEGMENT_BYTES", 10_000)
    tifffile.imwrite(tmp_path / "one.tif", made_up(200, 300), rowsperstrip=200, compression="zlib")

    with pytest.raises(UnsupportedImageError, match=r"compressed pieces.*Convert it"):
        open_image(tmp_path / "one.tif")


def test_a_strip_is_decoded_once_for_many_boxes() -> None:
    made = []
    cache = SegmentCache(limit_bytes=250)

    def segment(key: int) -> Pixels:
        return cache.get((0, 0, key), lambda: made.append(key) or np.zeros(100, np.uint8))  # type: ignore[func-returns-value]

    for key in (1, 1, 2, 1, 3, 1, 2):  # room for two: 2 is dropped for 3, because 1 was used after it
        segment(key)

    assert made == [1, 2, 3, 2]
    cache.get((0, 0, 9), lambda: np.zeros(10_000, np.uint8))
    assert cache.get((0, 0, 9), lambda: np.ones(1, np.uint8)).size == 10_000, "the newest is kept even if too big"


def test_the_orientation_tag_is_described_and_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.tif"
    tifffile.imwrite(path, made_up(40, 50), extratags=[(274, "H", 1, 6, True)])

    with open_image(path) as source:
        assert source.shape == (40, 50)
        assert source.describe()["orientation_not_applied"] == 6


def test_a_url_reads_parts_over_http(tmp_path: Path, ranges_server: RangesServer) -> None:
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
    image = made_up(2000, 1900)
    tifffile.imwrite(tmp_path / "cog.tif", image, tile=(256, 256), compression="zlib")

    with open_image(ranges_server.url("cog.tif")) as source:
        assert (source.name, source.path) == ("cog.tif", None)
        np.testing.assert_array_equal(source.read(Box(10, 20, 200, 240))[..., 0], image[10:200, 20:240])
        assert ranges_server.sent < (tmp_path / "cog.tif").stat().st_size / 2
    with pytest.raises(ImageError, match="There is no file"):
        open_image(ranges_server.url("other.tif"))
