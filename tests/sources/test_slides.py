"""Slides through OpenSlide: true MIRAX and SCN files with bounds, made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tifffile
from made_images import Pixels, halved, planes, rgb, write_mrxs, write_scn
from source_contract import SourceContract

from napari_relay.errors import MissingExtraError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box
from napari_relay.sources import Source, open_image
from napari_relay.sources.slides import open_slide


class TestSlideThroughOpenSlide(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        pytest.importorskip("openslide", reason="the extra `slides` is not installed")
        levels = halved(rgb(512, 512), 1)
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "rgb", "metadata": None}
        with tifffile.TiffWriter(folder / "slide.tif", bigtiff=True) as writer:
            writer.write(levels[0], **options)
            writer.write(levels[1], subfiletype=1, **options)
        return folder / "slide.tif", planes(*levels, axes="yxc")

    def open(self, what: Any) -> Source:
        return open_slide(what)


class TestMirax(SourceContract):
    """Only a part of the glass was scanned: level 0 begins at the corner of that part."""

    rgb, movable = True, False

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        pytest.importorskip("openslide", reason="the extra `slides` is not installed")
        image = rgb(256, 384)
        path = write_mrxs(folder, "slide", image, tile=64, glass=(10, 12), first=(2, 4))
        return path, planes(*halved(image, 1), axes="yxc")


class TestLeica(SourceContract):
    rgb = True

    def make(self, folder: Path) -> tuple[Any, list[Pixels]]:
        pytest.importorskip("openslide", reason="the extra `slides` is not installed")
        image = rgb(256, 256)
        path = write_scn(folder / "slide.scn", image, canvas=1024, offset=(128, 256))
        return path, planes(*halved(image, 1), axes="yxc")


def test_bounds_offset_and_scale_are_described(tmp_path: Path) -> None:
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    path = write_mrxs(tmp_path, "slide", rgb(256, 256), tile=64, glass=(10, 12), first=(2, 4))

    with open_image(path) as slide:
        described = slide.describe()

    assert described["bounds_offset"] == [128, 256]
    assert described["format"] == "mrxs (mirax)"
    assert described["pixel_size_um"] == [0.25, 0.25]
    assert described["objective_power"] == 20


def test_what_was_not_scanned_has_the_background_colour(tmp_path: Path) -> None:
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    path = write_mrxs(tmp_path, "slide", rgb(128, 128), tile=64, glass=(10, 12), first=(2, 4))
    index = (tmp_path / "slide" / "Index.dat").read_bytes()
    hole = index.replace(b"\x1c\x00\x00\x00", b"\x64\x00\x00\x00", 1)  # the first tile now lies elsewhere
    (tmp_path / "slide" / "Index.dat").write_bytes(hole)

    with open_image(path) as slide:
        assert (slide.read(Box(0, 0, 64, 64)) == 255).all()


def test_the_fingerprint_of_a_slide_covers_its_companion_files(tmp_path: Path) -> None:
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    found = set()
    for name, glass in (("a", (10, 12)), ("b", (11, 13))):
        (tmp_path / name).mkdir()
        path = write_mrxs(tmp_path / name, "slide", rgb(128, 128), tile=64, glass=glass, first=(2, 4))
        with open_image(path) as slide:
            found.add(slide.fingerprint)

    assert len(found) == 2


@pytest.mark.parametrize("suffix", [".ndpi", ".mrxs", ".scn", ".vms", ".svslide", ".bif"])
def test_without_the_extra_the_line_that_installs_it_is_named(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    path = tmp_path / f"slide{suffix}"
    path.write_bytes(b"II*\0 whatever a slide begins with")

    with pytest.raises(MissingExtraError, match=r"pip install napari-relay\[slides\]"):
        open_image(path)


def test_a_slide_without_its_folder_is_explained(tmp_path: Path) -> None:
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    path = write_mrxs(tmp_path, "slide", rgb(128, 128), tile=64, glass=(4, 4), first=(0, 0))
    (tmp_path / "slide").rename(tmp_path / "other")

    with pytest.raises(UnsupportedImageError, match="must lie beside it"):
        open_image(path)


def test_a_slide_has_one_scene(tmp_path: Path) -> None:
    pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    path = write_scn(tmp_path / "slide.scn", rgb(128, 128), canvas=256, offset=(0, 0))

    with pytest.raises(UsageError, match="holds one image"):
        open_image(path, scene="label")
