"""The benchmark of borders: a model that knows the truth at the resolution it is asked for gains by finer views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from napari_relay.geometry import from_scaled
from napari_relay.views import Prediction

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CENTRE, RADIUS = 500.0, 400.0


@pytest.fixture
def edges(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("edges")


class Blunt:
    """Knows the disc, but errs by half a cell of its grid of 112 x 112, so by less in finer views."""

    checkpoint = "none"

    def predict(self, crops_source, key, clicks, previous, /) -> Prediction:
        view = crops_source().pair.local
        cell = view.box.height / 112
        y, x = (from_scaled(np.arange(112), cell, origin) for origin in (view.box.y0, view.box.x0))
        outside = np.hypot(y[:, None] - CENTRE, x[None] - CENTRE) - RADIUS - cell / 2
        return Prediction(np.clip(-outside[None] / cell, -9, 9).astype(np.float32), (0.9,))

    def prefetch(self, crops_source, key, /) -> None: ...


def test_borders_are_better_after_refining(edges, tmp_path):
    y, x = np.indices((1000, 1000)) - CENTRE
    disc, small = np.hypot(y, x) < RADIUS, np.hypot(y, x) < 100
    for kind in ("images", "labels"):
        (tmp_path / "discs" / kind).mkdir(parents=True)
    for name, mask in {"large": disc, "small": small}.items():
        Image.fromarray((60 + 120 * mask).astype(np.uint8)).save(tmp_path / "discs" / "images" / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "discs" / "labels" / f"{name}.png")

    found = list(edges.measured(tmp_path, Blunt(), 5, 5, 2))

    # The small disc's view is native, so it is not asked for.
    (edge,) = found
    assert edge.picture == "discs/large"
    assert edge.scale > 2
    assert edge.tiles > 8
    for name in edges.METRICS:
        assert edge.after[name] > edge.before[name]
    assert edge.after["boundary IoU, 0.5 %"] > edge.before["boundary IoU, 0.5 %"] + 0.2
    shown = {figure.key: figure for figure in edges.figures(found)}
    assert shown["edges, gain of IoU"].value == pytest.approx(edge.after["IoU"] - edge.before["IoU"])
    assert "1 better, 0 worse of 1" in shown["edges, gain of IoU"].text
