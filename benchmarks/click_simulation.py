"""How many training samples a second can be clicked, one at a time and a batch at a time.

    python benchmarks/click_simulation.py [--side 112] [--batch 32] [--repeats 5] [--threads 1]

`loop` is the form of RITM (Sofiiuk, Petrov, Konushin, arXiv 2102.06583): one sample after the other, OpenCV's
dilation, erosion and distance transform, numpy draws. `batch` is `relay_training.clicks`. Both draw the first
clicks of a sample and one correction of a wrong mask. The last lines compare what finds the deep part of an
error.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from relay_training.clicks import ClickLaw, initial_clicks, next_clicks
from relay_training.regions import deep_half, sample_generators

Mask = npt.NDArray[np.bool_]
Click = tuple[int, int, int]
LAW = ClickLaw(single_p=0, centre_p=0, error_p=0, late_p=0)


def main() -> None:
    """Measure and print a table."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    targets, shown = (_blobs(seed, args.batch, args.side) for seed in (0, 1))
    target, logits = torch.from_numpy(targets).long(), torch.from_numpy((shown * 8.0 - 4.0).astype(np.float32))
    rngs = sample_generators(0, 0, range(args.batch))
    errors = targets & ~shown
    cases: dict[str, Callable[[], object]] = {
        "first clicks, loop": lambda: [_first_loop(m, r) for m, r in zip(targets, rngs, strict=True)],
        "first clicks, batch": lambda: initial_clicks(target, rngs, LAW),
        "correction, loop": lambda: [_next_loop(*x) for x in zip(target.numpy(), logits.numpy(), rngs, strict=True)],
        "correction, batch": lambda: next_clicks(logits, target, rngs),
        "single first click, batch": lambda: initial_clicks(target, rngs, ClickLaw(single_p=1)),
        "depth alone, OpenCV mask 5": lambda: [
            cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in errors
        ],
        "depth alone, OpenCV exact": lambda: [
            cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 0) for m in errors
        ],
        "depth alone, scipy exact": lambda: [ndimage.distance_transform_edt(np.pad(m, 1)) for m in errors],
        "depth alone, batch": lambda: deep_half(errors),
    }
    print(f"{platform.processor() or platform.machine()}, {args.threads} thread(s), torch {torch.__version__}")
    print(f"{args.side} x {args.side} px, batch {args.batch}, best of {args.repeats}")
    for name, run in cases.items():
        print(f"{name:32s}{args.batch / _best_time(run, args.repeats):10.0f} samples/s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _best_time(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _blobs(seed: int, batch: int, side: int) -> Mask:
    noise = np.random.default_rng(seed).standard_normal((batch, side, side))
    smooth: npt.NDArray[np.float64] = ndimage.gaussian_filter(noise, (0, side / 20, side / 20))
    return smooth > smooth.std() * 0.5


def _first_loop(mask: Mask, rng: np.random.Generator) -> list[Click]:
    """First clicks of one sample by RITM's sampler."""
    kernel, thin = np.ones((3, 3), np.uint8), mask
    if rng.random() < LAW.erode_p:
        smaller = cv2.erode(mask.astype(np.uint8), kernel, iterations=3).astype(bool)
        thin = smaller if smaller.sum() > 10 else mask
    reach = int(np.ceil(LAW.expand * np.sqrt(mask.sum())))
    border = cv2.dilate(mask.astype(np.uint8), kernel, iterations=reach).astype(bool) & ~mask
    weights = LAW.gamma ** np.arange(LAW.max_clicks + 1)
    positives = 1 + rng.choice(LAW.max_clicks, p=weights[:-1] / weights[:-1].sum())
    negatives = rng.choice(LAW.max_clicks + 1, p=weights / weights.sum())
    clicks = []
    for _ in range(positives):
        clicks.append((*_one_of(thin, rng), 1))
    for _ in range(negatives):
        place = (~mask, ~mask, border)[rng.choice(3, p=(LAW.background, LAW.other, LAW.border))]
        if place.any():
            clicks.append((*_one_of(place, rng), 0))
    return clicks


def _next_loop(target: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], rng: np.random.Generator) -> Click:
    """One correction of one sample by RITM's rule."""
    shown, wanted = 1 / (1 + np.exp(-logits)), target == 1
    missed, extra = (
        cv2.distanceTransform(np.pad(e, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        for e in (wanted & (shown < 0.49), (target == 0) & (shown > 0.49))
    )
    positive = bool(missed.max() > extra.max())
    distance = missed if positive else extra
    return (*_one_of(distance > distance.max() / 2, rng), int(positive))


def _one_of(region: Mask, rng: np.random.Generator) -> tuple[int, int]:
    places = np.argwhere(region)
    y, x = places[rng.integers(len(places))]
    return int(y), int(x)


if __name__ == "__main__":
    main()
