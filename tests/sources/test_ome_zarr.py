"""OME-Zarr in all versions, and zarr that is not OME's."""

from __future__ import annotations

import functools
import http.server
import shutil
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr
from made_images import Pixels, halved, made_up, planes
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_multiscale
from ranges_server import RangesServer
from source_contract import SourceContract

from napari_relay.errors import DamagedImageError, ImageError, MissingExtraError, UsageError
from napari_relay.geometry import Box
from napari_relay.sources import open_image
from napari_relay.sources.pyramid import halve


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


def write(path: Path, levels: list[Pixels], attributes: dict[str, Any] | None = None, zarr_format: int = 3) -> Path:
    """A zarr group with arrays "0", "1", ... and attributes."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    for index, level in enumerate(levels):
        group.create_array(str(index), data=level, chunks=tuple(min(64, side) for side in level.shape))
    group.attrs.update(attributes or {})
    return path


def multiscale(axes: str, scales: list[list[float]], unit: str | None = None) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel"}
    named = [
        {"name": axis, "type": kinds.get(axis, "space"), **({"unit": unit} if unit and axis in "yx" else {})}
        for axis in axes
    ]
    datasets = [
        {"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for index, scale in enumerate(scales)
    ]
    return {"axes": named, "datasets": datasets}


def ome(entry: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"ome": {"version": "0.5", "multiscales": [entry], **more}}


def test_scale_unit_and_channels_come_from_the_metadata(tmp_path: Path) -> None:
    image = made_up(2, 100, 101, dtype=np.uint16)
    entry = multiscale("cyx", [[1, 500, 250], [1, 1000, 500]], "nanometer")
    channels = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    path = write(tmp_path / "a.zarr", [image, image[:, ::2, ::2]], ome(entry, omero=channels))

    with open_image(path) as source:
        assert source.pixel_size_um == (0.5, 0.25)
        assert source.channel_names == ("DAPI", "GFP")
        assert source.levels[1].scale == (2.0, 2.0)
        assert source.format == "ome-zarr 0.5"
        kwargs = source.layer_kwargs()
        assert kwargs["scale"] == [0.5, 0.25]
        assert kwargs["units"] == ["um", "um"]


@pytest.mark.parametrize("scale", [[0, 0], [-1, 1], ["a", 1], [1], None, [1e400, 1]])
def test_a_scale_without_sense_is_not_believed(scale: Any, tmp_path: Path) -> None:
    image = made_up(100, 100)
    entry = multiscale("yx", [scale, scale], "micrometer")
    path = write(tmp_path / "a.zarr", [image, image[::2, ::2]], {"multiscales": [entry]}, zarr_format=2)

    with open_image(path) as source:
        assert source.pixel_size_um is None
        assert source.levels[1].scale == (2.0, 2.0)


@pytest.mark.parametrize(
    ("colours", "dtype", "is_rgb"),
    [
        (None, "u1", True),
        (["FF0000", "00FF00", "0000FF"], "u1", True),
        (["#ff0000", "#00ff00", "#0000ff"], "u1", True),
        (["0000FF", "00FF00", "FF0000"], "u1", False),
        (None, "u2", False),
    ],
)
def test_three_channels_are_colour_unless_they_look_like_stains(
    colours: list[str] | None, dtype: str, is_rgb: bool, tmp_path: Path
) -> None:
    channels = {"channels": [{"label": c, "color": c} for c in colours]} if colours else {}
    path = write(
        tmp_path / "a.zarr", [made_up(3, 80, 90, dtype=dtype)], ome(multiscale("cyx", [[1, 1, 1]]), omero=channels)
    )

    with open_image(path) as source:
        assert source.is_rgb == is_rgb


def test_the_series_of_a_bioformats2raw_group_are_scenes(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "slide.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for index, side in enumerate((90, 70)):
        entry = multiscale("yx", [[1, 1]])
        write(tmp_path / "slide.zarr" / str(index), [made_up(side, side)], {"multiscales": [entry]}, zarr_format=2)

    for scene, side, name in ((None, 90, "slide.zarr/0"), (1, 70, "slide.zarr/1"), ("1", 70, "slide.zarr/1")):
        with open_image(tmp_path / "slide.zarr", scene=scene) as source:
            assert source.shape == (side, side)
            assert source.name == name
    with pytest.raises(UsageError, match="no image 2"):
        open_image(tmp_path / "slide.zarr", scene=2)
    with pytest.raises(UsageError, match="no image 'label'"):
        open_image(tmp_path / "slide.zarr", scene="label")


def test_a_field_of_a_plate_is_a_scene(tmp_path: Path) -> None:
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=3)
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    for well, value in (("A/1", 1), ("B/2", 2)):
        group = plate.create_group(well)
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
        write(tmp_path / "plate.zarr" / well / "0", [np.full((50, 60), value)], ome(multiscale("yx", [[1, 1]])))

    for scene, value in ((None, 1), ("B/2", 2), (1, 2), ("B/2/0", 2)):
        with open_image(tmp_path / "plate.zarr", scene=scene) as source:
            assert source.read(Box(0, 0, 1, 1)) == value


def test_old_metadata_without_axes_means_tczyx(tmp_path: Path) -> None:
    entry = {"version": "0.1", "datasets": [{"path": "0"}]}
    path = write(tmp_path / "old.zarr", [made_up(2, 3, 4, 50, 60)], {"multiscales": [entry]}, zarr_format=2)

    with open_image(path) as source:
        assert (source.sizes_t, source.channels, source.sizes_z) == (2, 3, 4)
        assert source.format == "ome-zarr 0.1"


def test_dimension_names_of_a_plain_array_are_its_axes(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=made_up(6, 50, 60), dimension_names=["time", "y", "x"])
    zarr.create_array(tmp_path / "b.zarr", data=made_up(6, 50, 60), dimension_names=["z", "y", "x"])

    with open_image(tmp_path / "b.zarr") as source:
        assert (source.sizes_z, source.channels) == (6, 1)


def test_a_folder_zipped_with_its_name_opens_too(tmp_path: Path) -> None:
    image = made_up(80, 90)
    write(tmp_path / "in" / "slide.zarr", [image], ome(multiscale("yx", [[1, 1]])))
    archive = Path(shutil.make_archive(str(tmp_path / "slide.zarr"), "zip", tmp_path / "in"))

    with open_image(archive) as source:
        np.testing.assert_array_equal(source.read(Box(0, 0, 80, 90))[..., 0], image)
        assert source.format == "ome-zarr 0.5 (zip)"


def test_its_metadata_file_stands_for_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.zarr", [made_up(80, 90)], ome(multiscale("yx", [[1, 1]])))

    with open_image(path / "zarr.json") as source:
        assert source.path == path


def test_a_copy_in_a_zip_is_the_same_image(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.zarr", [made_up(80, 90)], ome(multiscale("yx", [[1, 1]])))
    archive = Path(shutil.make_archive(str(tmp_path / "slide.zarr"), "zip", path))

    with open_image(path) as folder, open_image(archive) as zipped:
        assert folder.fingerprint == zipped.fingerprint


def test_fingerprint_changes_with_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.zarr", [made_up(80, 90)], ome(multiscale("yx", [[1, 1]])))
    with open_image(path) as source:
        before = source.fingerprint
    zarr.open_group(path)["0"][40:50] = 0

    with open_image(path) as source:
        assert source.fingerprint != before


def test_an_array_of_a_plain_group_is_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "several.zarr", [made_up(80, 90), made_up(80, 91)])

    with pytest.raises(UsageError, match=r"several images: 1 \(80, 91\), 0 \(80, 90\). Choose one by `scene`"):
        open_image(path)
    with open_image(path, scene="1") as source:
        assert source.shape == (80, 91)


def test_a_missing_chunk_is_its_fill_value(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(100, 100), chunks=(50, 50), dtype="u2", fill_value=7)

    with open_image(tmp_path / "a.zarr") as source:
        assert (source.read(Box(0, 0, 100, 100)) == 7).all()


def test_a_truncated_chunk_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", [made_up(128, 128)], ome(multiscale("yx", [[1, 1]])))
    chunk = path / "0" / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:20])

    with open_image(path) as source:
        assert source.read(Box(0, 0, 64, 64)).any()
        with pytest.raises(DamagedImageError, match=r"Cannot read level 0 of .*a\.zarr at y=70\.\.80, x=90\.\.100"):
            source.read(Box(70, 90, 80, 100))


def test_a_level_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", [made_up(80, 90)], ome(multiscale("yx", [[1, 1], [2, 2]])))

    with pytest.raises(DamagedImageError, match="names a level '1' that is not there"):
        open_image(path)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("zcx", (4, 5, 60)), ("czty", (2, 3, 4, 60)), ("yx", (3, 50, 60)), ("abdcyx", (2, 2, 2, 2, 50, 60))],
)
def test_axes_that_make_no_image_are_named(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", [np.zeros(shape, np.uint8)], ome(multiscale(axes, [[1.0] * len(axes)])))

    with pytest.raises(ImageError, match=r"a\.zarr"):
        open_image(path)


def test_a_huge_image_costs_what_is_read_of_it(tmp_path: Path) -> None:
    """100,000 x 100,000 pixels, of which one chunk exists."""
    group = zarr.open_group(tmp_path / "huge.zarr", mode="w", zarr_format=3)
    sides = [100_000, 50_000, 25_000, 12_500, 6_250, 3_125]
    for level, side in enumerate(sides):
        group.create_array(str(level), shape=(side, side), chunks=(512, 512), dtype="u1")
    group["0"][51200:51712, 51200:51712] = 9
    group.attrs.update(ome(multiscale("yx", [[2**level] * 2 for level in range(6)])))

    tracemalloc.start()
    with open_image(tmp_path / "huge.zarr") as source:
        layers = source.layer_data()
        assert layers[0].shape == (100_000, 100_000)
        assert source.read(Box(51000, 51000, 51400, 51400)).sum() == 9 * 200 * 200
        assert len(source.fingerprint) == 32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 40 << 20


def test_a_url_over_http(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
    image = made_up(150, 131, dtype=np.uint16)
    write(tmp_path / "slide.zarr", [image, image[::2, ::2]], ome(multiscale("yx", [[1, 1], [2, 2]])))
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/slide.zarr"
            with open_image(url) as source:
                assert (source.name, source.path) == ("slide.zarr", None)
                np.testing.assert_array_equal(source.read(Box(5, 6, 140, 120))[..., 0], image[5:140, 6:120])
            with pytest.raises(ImageError, match="There is no zarr at"):
                open_image(url + "x")
        finally:
            server.shutdown()


@pytest.mark.parametrize("inner", ["", "slide.zarr/"])
def test_a_zipped_zarr_at_a_url_is_read_in_parts(tmp_path: Path, ranges_server: RangesServer, inner: str) -> None:
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2000, 1500), np.uint8)
    write(tmp_path / "slide.zarr", [image, image[::2, ::2]], ome(multiscale("yx", [[1, 1], [2, 2]])))
    with zipfile.ZipFile(tmp_path / "slide.ome.zarr.zip", "w") as archive:
        for path in sorted((tmp_path / "slide.zarr").rglob("*")):
            archive.write(path, f"{inner}{path.relative_to(tmp_path / 'slide.zarr')}")

    with open_image(ranges_server.url("slide.ome.zarr.zip")) as source:
        assert (source.name, source.path) == ("slide.ome.zarr.zip", None)
        np.testing.assert_array_equal(source.read(Box(5, 6, 140, 120))[..., 0], image[5:140, 6:120])
        assert ranges_server.sent < (tmp_path / "slide.ome.zarr.zip").stat().st_size / 2


def test_a_zip_at_a_url_that_is_damaged_or_holds_no_zarr_is_named(tmp_path: Path, ranges_server: RangesServer) -> None:
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
    (tmp_path / "damaged.zip").write_bytes(b"PK" + bytes(100))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no image")

    with pytest.raises(ImageError, match=r"damaged\.zip is a damaged zip file"):
        open_image(ranges_server.url("damaged.zip"))
    with pytest.raises(ImageError, match=r"^The zip file http\S+other\.zip holds no zarr"):
        open_image(ranges_server.url("other.zip"))
    with pytest.raises(ImageError, match="There is no file"):
        open_image(ranges_server.url("missing.zip"))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_url_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "aiobotocore"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(MissingExtraError, match=r"pip install napari-relay\[remote\]"):
        open_image("s3://bucket/slide.zarr")
