"""How a row of the ablation table is measured: by clicks, by context, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_relay.errors import UsageError
from napari_relay.geometry import Click
from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.predictor import load_predictor
from napari_relay.predictor.device import choose
from napari_relay.session import ClickSession
from napari_relay.session.steps import Step
from napari_relay.sources import Source
from napari_relay.views import ViewPair, view_pair, widened_view
from relay_training.bench_data import find_sets
from relay_training.blank import BOTH, CONDITIONS, all_ious
from relay_training.evaluate import evaluate
from relay_training.product import DirectPredicts, KeepsNothing, SessionContender, product_contender
from relay_training.quarter import Sample, samples

KINDS = ("clicks", "context", "both")
VIEWS = ("following", "fixed")
SEES = {"both": BOTH, "local": "no global view"}


@dataclass(frozen=True, slots=True)
class Judge:
    """How a row is measured.

    judge : clicks, context or both.
    views : following the mask after each click as the product's, or fixed: the first view as long as it shows the
        clicks.
    sees : judged by context, the row sees both views, or the local one alone.
    """

    judge: str = "clicks"
    views: str = "following"
    sees: str = "both"

    def __post_init__(self) -> None:
        for name, known in (("judge", KINDS), ("views", VIEWS), ("sees", tuple(SEES))):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"{name} is {value!r}.", f"Choose from {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Bench:
    """What rows are measured on.

    data, quick : bench sets and the list of objects that are clicked.
    context : a context set. limit : so many objects a set of those in small views.
    """

    data: Path
    quick: Path
    context: Path
    limit: int | None = None
    device: str = "auto"
    threads: int = 0


class FixedViews(ClickSession):
    """A session whose view does not follow the mask: it widens only to show a positive click."""

    def _pair_for(self, base: Step | None, clicks: tuple[Click, ...]) -> ViewPair:
        if base is None:
            return super()._pair_for(base, clicks)
        shape, current = self.source.shape, base.proposal.views
        local = widened_view(shape, current.local, clicks)
        return current if local == current.local else view_pair(shape, local)


def judge(checkpoint: str, how: Judge, bench: Bench) -> dict[str, Any]:
    """Numbers of a checkpoint: {"clicks": {...}, "context": {...}}, as far as they are asked for."""
    if bench.threads:
        torch.set_num_threads(bench.threads)
    found: dict[str, Any] = {}
    if how.judge != "context":
        found["clicks"] = by_clicks(checkpoint, how, bench)
    if how.judge != "clicks":
        found["context"] = by_context(checkpoint, how, bench)
    return found


def by_clicks(checkpoint: str, how: Judge, bench: Bench) -> dict[str, Any]:
    """Means over the sets of NoC and of the mean IoU, and each set's."""
    predictor = load_predictor(checkpoint, device=bench.device, threads=bench.threads or None)
    contender = product_contender(predictor)
    if how.views == "fixed":
        predicts = DirectPredicts(predictor)

        def make_session(source: Source) -> FixedViews:
            session = FixedViews(source, predicts, KeepsNothing())
            session.prepare()
            return session

        contender = SessionContender("fixed views", make_session, contender.card, lambda: predicts.encodings)
    metrics = evaluate(bench.data, contender, quick=bench.quick).metrics()
    sets = {name: {"noc": m.noc, "miou": m.miou, "objects": m.objects} for name, m in metrics.items()}
    return {
        "noc85": _mean([m.noc[85] for m in metrics.values()]),
        "noc90": _mean([m.noc[90] for m in metrics.values()]),
        "miou": {str(n): _mean([m.miou[n] for m in metrics.values()]) for n in (1, 3, 5)},
        "sets": sets,
    }


def by_context(checkpoint: str, how: Judge, bench: Bench) -> dict[str, Any]:
    """Mean IoU after one click in views of a quarter of the picture: on the context set, and on the bench's objects
    that fit into such a view."""
    model, _ = load_checkpoint(checkpoint)
    compute = choose(bench.device, "auto")
    condition = {SEES[how.sees]: CONDITIONS[SEES[how.sees]]}
    out: dict[str, Any] = {}
    for name, found in (("context", _small(bench.context, bench.limit)), ("bench", _small(bench.data, bench.limit))):
        ious = [row[SEES[how.sees]] for row in all_ious(model, list(found), compute, condition)]
        out[name] = {"miou1": _mean(ious), "objects": len(ious)}
    return out


def _small(data: Path, limit: int | None) -> Iterator[Sample]:
    for pictures in find_sets(data):
        yield from islice(samples(pictures), limit)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
