"""Numbers of a click benchmark: clicks needed (NoC), failures, IoU after n clicks, times.

Everything is computed from `ObjectRun`s, so that stored runs can be counted again in another way.
Definitions are those of RITM (Sofiiuk et al. 2022) and SegNext (Liu et al. 2024); where they differ both
numbers are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from relay_training.robot import MAX_CLICKS, mask_box

Mask = npt.NDArray[np.bool_]

NOC_TARGETS = (80, 85, 90, 95)
"""IoU targets of NoC, in percent."""
MIOU_CLICKS = (1, 3, 5)
"""Numbers of clicks after which the mean IoU is given."""


@dataclass(frozen=True, slots=True)
class ObjectRun:
    """What happened on one object.

    ious : IoU after each click, at most `MAX_CLICKS` of them; fewer where the robot was content earlier.
    ms : time of each click, in milliseconds: the model's work only, not the robot's.
    cpu_ms : processor time of the same work; on a busy machine it says more. Empty where it was not measured.
    encodings : how many encoder runs each click had to wait for; 0 where everything was cached.
    clicks : (y, x, positive) of each click.
    """

    picture: str
    label: int
    ious: tuple[float, ...]
    ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    encodings: tuple[int, ...]
    clicks: tuple[tuple[int, int, bool], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "picture": self.picture,
            "label": self.label,
            "ious": list(self.ious),
            "ms": list(self.ms),
            "cpu_ms": list(self.cpu_ms),
            "encodings": list(self.encodings),
            "clicks": [list(click) for click in self.clicks],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ObjectRun:
        return cls(
            data["picture"],
            int(data["label"]),
            tuple(data["ious"]),
            tuple(data["ms"]),
            tuple(data.get("cpu_ms", ())),
            tuple(data["encodings"]),
            tuple((int(y), int(x), bool(positive)) for y, x, positive in data["clicks"]),
        )


@dataclass(frozen=True, slots=True)
class SetMetrics:
    """Numbers of one set; the field names are those of the JSON file.

    noc : target in percent -> mean number of clicks to reach it, 20 where it was not reached.
    nof : target -> objects that never reached it (true failures).
    ge20 : target -> objects that needed 20 clicks or more, reached or not (RITM's count of failures).
    miou : n -> mean IoU after n clicks; an object that stopped earlier keeps its last IoU.
    auc : mean over n = 1..20 of the mean IoU after n clicks.
    first_ms, first_p95_ms : first clicks that waited for an encoding (all first clicks where nothing
    encodes). first_warm_ms : first clicks that found their encoding in the cache.
    further_ms, further_p95_ms : all later clicks. further_cached_ms : those that waited for no encoding.
    encodings : mean number of encodings an object.
    falls, fall : clicks after which the IoU fell, as a mean an object, and the mean size of such a fall.
    """

    objects: int
    noc: dict[int, float]
    nof: dict[int, int]
    ge20: dict[int, int]
    miou: dict[int, float]
    auc: float
    first_ms: float | None
    first_p95_ms: float | None
    first_cpu_ms: float | None
    first_warm_ms: float | None
    further_ms: float | None
    further_p95_ms: float | None
    cached_ms: float | None
    cached_cpu_ms: float | None
    encodings: float
    falls: float
    fall: float

    def to_json(self) -> dict[str, Any]:
        return {field.name: _rounded(getattr(self, field.name)) for field in fields(self)}


def clicks_to_reach(ious: Sequence[float], target: float, max_clicks: int = MAX_CLICKS) -> int:
    """Number of the first click after which the IoU is at least `target`; `max_clicks` when none is."""
    for number, iou in enumerate(ious[:max_clicks], start=1):
        if iou >= target:
            return number
    return max_clicks


def iou_after(ious: Sequence[float], clicks: int) -> float:
    """IoU after exactly `clicks` clicks; an object that stopped earlier keeps its last IoU."""
    return ious[min(clicks, len(ious)) - 1]


def summarise(runs: Sequence[ObjectRun], max_clicks: int = MAX_CLICKS) -> SetMetrics:
    """Metrics of the objects of one set (at least one)."""
    curves = [run.ious for run in runs]
    targets = {percent: percent / 100 for percent in NOC_TARGETS}
    needed = {p: [clicks_to_reach(ious, target, max_clicks) for ious in curves] for p, target in targets.items()}
    drops = [a - b for ious in curves for a, b in pairwise(ious) if b < a]
    return SetMetrics(
        objects=len(runs),
        noc={p: float(np.mean(values)) for p, values in needed.items()},
        nof={p: sum(1 for ious in curves if max(ious) < target) for p, target in targets.items()},
        ge20={p: sum(1 for n in values if n >= max_clicks) for p, values in needed.items()},
        miou={n: float(np.mean([iou_after(ious, n) for ious in curves])) for n in MIOU_CLICKS},
        auc=float(np.mean([iou_after(ious, n) for ious in curves for n in range(1, max_clicks + 1)])),
        **_times(runs),
        encodings=float(np.mean([sum(run.encodings) for run in runs])),
        falls=len(drops) / len(runs),
        fall=float(np.mean(drops)) if drops else 0.0,
    )


def _times(runs: Sequence[ObjectRun]) -> dict[str, float | None]:
    """The fields of `SetMetrics` that are times."""
    cold = [run for run in runs if run.encodings[0] > 0]
    first, warm = (cold, [run for run in runs if run.encodings[0] == 0]) if cold else (runs, [])
    cached = [(run, n) for run in runs for n in range(1, len(run.ms)) if run.encodings[n] == 0]
    further = [ms for run in runs for ms in run.ms[1:]]
    return {
        "first_ms": _percentile([run.ms[0] for run in first], 50),
        "first_p95_ms": _percentile([run.ms[0] for run in first], 95),
        "first_cpu_ms": _percentile([run.cpu_ms[0] for run in first if run.cpu_ms], 50),
        "first_warm_ms": _percentile([run.ms[0] for run in warm], 50),
        "further_ms": _percentile(further, 50),
        "further_p95_ms": _percentile(further, 95),
        "cached_ms": _percentile([run.ms[n] for run, n in cached], 50),
        "cached_cpu_ms": _percentile([run.cpu_ms[n] for run, n in cached if run.cpu_ms], 50),
    }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    return value


def boundary_iou(prediction: Mask, truth: Mask, width: int, ignore: Mask | None = None) -> float:
    """IoU of the bands along two masks' borders (Cheng et al., "Boundary IoU", CVPR 2021, equation 2).

    Parameters
    ----------
    prediction, truth : bool [y, x].
    width : width of the bands in pixels, inside each mask; the paper takes 2 % of the picture's diagonal
        (`boundary_width`). The picture's border counts as a border of the mask, as in the authors' code.
    ignore : bool [y, x], pixels that do not count.

    Returns
    -------
    float
        1 when both masks are empty.
    """
    counted = True if ignore is None else ~ignore
    bands = [_band(mask, width) & counted for mask in (prediction, truth)]
    union = int(np.count_nonzero(bands[0] | bands[1]))
    return int(np.count_nonzero(bands[0] & bands[1])) / union if union else 1.0


def boundary_width(shape: tuple[int, int], share: float = 0.02) -> int:
    """Width of the band in a picture of `shape`: `share` of its diagonal, at least one pixel."""
    return max(1, round(share * float(np.hypot(*shape))))


def _band(mask: Mask, width: int) -> Mask:
    """Pixels of a mask that lose a 3 x 3 erosion `width` times over: at most `width` from the outside, counted in
    steps to any of the eight neighbours."""
    box = mask_box(mask)
    band = np.zeros_like(mask)
    if not box.empty:
        inside = np.pad(mask[box.slices], 1)
        depth = ndimage.distance_transform_cdt(inside, metric="chessboard")[1:-1, 1:-1]
        band[box.slices] = mask[box.slices] & (depth <= width)
    return band
