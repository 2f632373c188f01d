"""Where a GeoTIFF lies: affine and CRS from its tags, the same as GDAL finds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.sources import open_image
from napari_relay.sources.geo import affine_from_tags

UTM = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32618]
DEGREES = [1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326]
USER_DEFINED = [1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32767]


def write(path: Path, keys: list[int], **tags: list[float]) -> Path:
    """A GeoTIFF with its keys, and ModelPixelScale, ModelTiepoint or ModelTransformation."""
    codes = {"ModelPixelScale": 33550, "ModelTiepoint": 33922, "ModelTransformation": 34264}
    extra: list[tuple[Any, ...]] = [(34735, "H", len(keys), keys, True)]
    extra += [(codes[name], "d", len(values), values, True) for name, values in tags.items()]
    tifffile.imwrite(path, np.zeros((40, 50), np.uint8), extratags=extra, metadata=None)
    return path


FILES: dict[str, tuple[list[int], dict[str, list[float]]]] = {
    "utm": (UTM, {"ModelPixelScale": [0.5, 0.25, 0], "ModelTiepoint": [0, 0, 0, 450000, 4640000, 0]}),
    "degrees": (DEGREES, {"ModelPixelScale": [0.001, 0.001, 0], "ModelTiepoint": [10, 20, 0, -75, 45, 0]}),
    "points": (
        [*UTM[:7], 1, 1025, 0, 1, 2, *UTM[12:]],
        {"ModelPixelScale": [2, 2, 0], "ModelTiepoint": [0, 0, 0, 450000, 4640000, 0]},
    ),
    "rotated": (
        UTM,
        {"ModelTransformation": [0.4, 0.3, 0, 450000, 0.3, -0.4, 0, 4640000, 0, 0, 0, 0, 0, 0, 0, 1]},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_affine_and_crs_are_those_of_gdal(name: str, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra `geo` is not installed")
    keys, tags = FILES[name]
    path = write(tmp_path / "map.tif", keys, **tags)

    with open_image(path) as source, rasterio.open(path) as truth:
        assert source.format == "geotiff"
        assert source.affine == pytest.approx(tuple(truth.transform)[:6], abs=1e-9)
        assert source.crs == truth.crs.to_string()


def test_neither_is_needed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((40, 50), np.uint8))

    with open_image(tmp_path / "plain.tif") as source:
        assert (source.crs, source.affine) == (None, None)


def test_the_extra_is_not_needed_for_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    keys, tags = FILES["utm"]

    with open_image(write(tmp_path / "map.tif", keys, **tags)) as source:
        assert source.crs == "EPSG:32618"
        assert source.affine == (0.5, 0.0, 450000.0, 0.0, -0.25, 4640000.0)


def test_a_system_without_a_code_comes_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rasterio = pytest.importorskip("rasterio", reason="the extra `geo` is not installed")
    path = tmp_path / "map.tif"
    laea = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=47 +lon_0=9 +x_0=1000 +y_0=2000 +units=m +ellps=GRS80")
    with rasterio.open(
        path, "w", driver="GTiff", width=50, height=40, count=1, dtype="uint8", crs=laea,
        transform=rasterio.Affine(1, 0, 5, 0, -1, 6),
    ) as dataset:  # fmt: skip
        dataset.write(np.zeros((1, 40, 50), np.uint8))

    with open_image(path) as source:
        assert source.crs is not None
        assert rasterio.crs.CRS.from_string(source.crs) == laea

    monkeypatch.setitem(sys.modules, "rasterio", None)
    with open_image(path) as source:
        assert source.crs != "EPSG:32767"


numbers = st.floats(-100, 100).filter(lambda value: abs(value) > 0.01)


@given(numbers, numbers, numbers, numbers, st.floats(-1e7, 1e7), st.floats(-1e7, 1e7))
def test_control_points_of_an_affine_give_it_back(a: float, b: float, d: float, e: float, c: float, f: float) -> None:
    if abs(a * e - b * d) < 0.01:
        return
    corners = [(0, 0), (900, 0), (0, 700), (900, 700)]
    points = [[x, y, 0, a * x + b * y + c, d * x + e * y + f, 0] for x, y in corners]

    found = affine_from_tags({"ModelTiepoint": points})

    assert found is not None
    for x, y in [*corners, (333, 444)]:
        world = (found[0] * x + found[1] * y + found[2], found[3] * x + found[4] * y + found[5])
        assert world == pytest.approx((a * x + b * y + c, d * x + e * y + f), abs=0.01 * max(map(abs, (a, b, d, e))))


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0, 0, 5, 5, 0]],
        [[0, 0, 0, 5, 5, 0], [10, 0, 0, 6, 5, 0]],
        [[0, 0, 0, 0, 0, 0], [10, 0, 0, 1, 0, 0], [20, 0, 0, 2, 0, 0]],
        [[0, 0, 0, 0, 0, 0], [10, 0, 0, 10, 0, 0], [0, 10, 0, 0, 10, 0], [10, 10, 0, 15, 15, 0]],
    ],
)
def test_points_that_fix_no_affine_give_none(points: list[list[float]]) -> None:
    assert affine_from_tags({"ModelTiepoint": points}) is None
