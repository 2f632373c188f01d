"""The real sample files, compared with other libraries that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.sources import Source, open_image

FACTS: dict[str, dict[str, Any]] = {
    "CMU-1-Small-Region.svs": {
        "format": "svs", "shape": (2967, 2220), "levels": 1, "is_rgb": True, "pixel_size_um": (0.499, 0.499),
    },
    "aerial_cog_epsg3857.tif": {
        "format": "geotiff", "shape": (1024, 1024), "levels": 7, "is_rgb": True, "crs": "EPSG:3857",
    },
    "landsat_rgb_epsg32618.tif": {
        "format": "geotiff", "shape": (718, 791), "levels": 1, "is_rgb": True, "crs": "EPSG:32618",
    },
    "multi-channel.ome.tif": {
        "format": "ome-tiff", "shape": (167, 439), "levels": 1, "is_rgb": False, "channels": 3, "dtype": np.int8,
    },
    "nemo.jp2": {"format": "jpeg2000", "shape": (1456, 2592), "levels": 1, "is_rgb": True},
    "rgba_pyramid_epsg3857.tif": {
        "format": "geotiff", "shape": (600, 600), "levels": 2, "is_rgb": True, "channels": 4, "crs": "EPSG:3857",
    },
    "sample_float32.zarr.zip": {
        "format": "ome-zarr 0.5 (zip)", "shape": (100, 100), "levels": 1, "is_rgb": False, "channels": 4,
        "dtype": np.float32, "channel_names": ("Band 1", "Band 2", "Band 3", "Band 4"),
    },
    "synthetic_10000x5000_pyramid_zstd.tif": {
        "format": "tiff (BigTIFF)", "shape": (5000, 10000), "levels": 5, "is_rgb": True, "pixel_size_um": None,
    },
}  # fmt: skip


def whole(source: Source, level: int = 0) -> Any:
    return source.read(Box(0, 0, *source.levels[level].shape), level)


@pytest.mark.parametrize("name", FACTS)
def test_what_is_known_of_a_sample(name: str, samples: Path) -> None:
    with open_image(samples / name) as source:
        for fact, value in FACTS[name].items():
            found = len(source.levels) if fact == "levels" else getattr(source, fact)
            assert found == value, fact
        pixels = whole(source, len(source.levels) - 1)
        assert pixels.std() > 0


@pytest.mark.parametrize("name", [name for name in FACTS if name.endswith((".tif", ".svs"))])
def test_pixels_are_those_of_tifffile(name: str, samples: Path) -> None:
    with open_image(samples / name) as source, tifffile.TiffFile(samples / name) as tif:
        for index, level in enumerate(tif.series[0].levels):
            if source.levels[index].shape[0] > 3000:
                continue  # the 50 megapixels of one level would take longer than all the rest
            truth = level.asarray()
            if level.axes[0] in "SC":
                truth = np.moveaxis(truth, 0, -1)
            np.testing.assert_array_equal(whole(source, index), truth)


def test_jpeg_2000_is_that_of_pillow(samples: Path) -> None:
    with open_image(samples / "nemo.jp2") as source, Image.open(samples / "nemo.jp2") as image:
        np.testing.assert_array_equal(whole(source), np.asarray(image))


def test_the_slide_is_that_of_openslide(samples: Path) -> None:
    openslide = pytest.importorskip("openslide", reason="the extra `slides` is not installed")
    path = samples / "CMU-1-Small-Region.svs"

    with open_image(path) as source, openslide.OpenSlide(path) as slide:
        truth = np.asarray(slide.read_region((500, 700), 0, (600, 400)))[..., :3]
        np.testing.assert_array_equal(source.read(Box(700, 500, 1100, 1100)), truth)


@pytest.mark.parametrize("name", [name for name in FACTS if "epsg" in name])
def test_place_on_earth_is_that_of_gdal(name: str, samples: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra `geo` is not installed")

    with open_image(samples / name) as source, rasterio.open(samples / name) as truth:
        points, crs = truth.gcps
        transform = rasterio.transform.from_gcps(points) if points else truth.transform
        assert source.affine == pytest.approx(tuple(transform)[:6], rel=1e-9, abs=1e-6)
        assert source.crs == (truth.crs or crs).to_string()


def test_levels_of_a_real_pyramid_lie_on_each_other(samples: Path) -> None:
    """Outer edges meet: the yellow stripe begins and ends at the same place on every level."""
    with open_image(samples / "synthetic_10000x5000_pyramid_zstd.tif") as source:
        edges = []
        for level in source.levels:
            column = source.read(Box(0, 0, level.shape[0], 1), level.index)[:, 0, 0]
            yellow = np.flatnonzero(column > 128)
            edges.append((yellow[0] * level.scale[0], (yellow[-1] + 1) * level.scale[0], level.scale[0]))

    first, last, _ = edges[0]
    assert all(abs(start - first) <= scale / 2 and abs(end - last) <= scale / 2 for start, end, scale in edges)
