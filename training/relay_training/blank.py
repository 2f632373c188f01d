"""`blank`: what the global view and the local relay set are worth, on views of a quarter of a picture's side.

Each object is clicked once, in a local view that is at most a quarter of the picture wide, and predicted several times:
with both relay sets, with a blanked global view, without one, and with shut gates to the view's own relay tokens. On
a context set (`context_set`) the click is at the flower's core, where the pictures of a group look alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import content_hash, load_checkpoint
from napari_relay.model.encoder import Stem
from napari_relay.model.network import FIRST, ClickModel
from napari_relay.model.relay import OWN
from napari_relay.predictor.device import Compute, choose
from napari_relay.views.values import VIEW_SIDE
from relay_training.bench_data import find_sets
from relay_training.quarter import Sample, samples
from relay_training.report import describe_machine
from relay_training.robot import intersection_over_union

FORMAT = "napari-relay blank 1"
ATOMS = 10
DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Condition:
    """What the encoder gets to see.

    global_ : the wider view as it is, blanked (0, the mean colour), or absent (k = 0).
    own : gates from patches to their own view's relay tokens. head : the gate by which the head reads them.
    """

    global_: Literal["seen", "blank", "absent"] = "seen"
    own: bool = True
    head: bool = True


BOTH = "both sets"
CONDITIONS: Mapping[str, Condition] = {
    BOTH: Condition(),
    "global view blanked": Condition(global_="blank"),
    "no global view": Condition(global_="absent"),
    "local set shut": Condition(own=False),
    "local set shut, in the head too": Condition(own=False, head=False),
}


class RelayProbe:
    """One model, shown the same samples under several conditions."""

    def __init__(self, model: ClickModel, compute: Compute) -> None:
        self._model = model.to(compute.device).eval()
        self._compute = compute
        self._blank = lru_cache(1)(lambda: self._stem(np.zeros((3, VIEW_SIDE, VIEW_SIDE), np.float32)))

    def ious(self, sample: Sample, conditions: Mapping[str, Condition] = CONDITIONS) -> dict[str, float]:
        """IoU of the shown mask of the first click (of three the one that is predicted to be best), a condition."""
        with torch.inference_mode(), self._autocast():
            local = self._stem(sample.crops.local)
            assert sample.crops.global_ is not None
            wide = self._stem(sample.crops.global_)
            return {name: self._iou(sample, local, wide, condition) for name, condition in conditions.items()}

    def _iou(self, sample: Sample, local: Stem, wide: Stem, condition: Condition) -> float:
        seen = {"seen": wide, "blank": self._blank(), "absent": None}[condition.global_]
        geometry = torch.tensor([sample.crops.pair.geometry], device=self._compute.device)
        clicks = torch.tensor([[[sample.click.y, sample.click.x, 1.0]]], device=self._compute.device)
        with shut(self._model, own=not condition.own, head=not condition.head):
            f16 = None if seen is None else seen.f16
            prepared = self._model.head.prepare(self._model.encoder.pair(local, f16, geometry))
            output = self._model.head(prepared, clicks, which=FIRST)
        best = int(output.iou[0].argmax())
        return intersection_over_union((output.logits[0, best] > 0).cpu().numpy(), sample.truth, sample.ignore)

    def _stem(self, view: npt.NDArray[np.float32]) -> Stem:
        with torch.inference_mode(), self._autocast():
            return self._model.encoder.stem(torch.from_numpy(view)[None].to(self._compute.device))

    def _autocast(self) -> torch.autocast:
        dtype = self._compute.dtype
        return torch.autocast(self._compute.device.type, dtype, enabled=dtype != torch.float32)


@contextmanager
def shut(model: ClickModel, *, own: bool, head: bool) -> Iterator[None]:
    """Gates at 0 for a while: those of patches to their own view's relay tokens, and the head's to them."""
    gates: list[Tensor] = []
    if own and model.encoder.relay is not None:
        gates += [block.get_parameter("gate")[OWN] for block in model.encoder.relay.blocks]
    if head and model.config.relay_tokens:
        gates.append(model.head.relay_gate)
    with torch.no_grad(), ExitStack() as stack:
        for gate in gates:
            stack.callback(gate.copy_, gate.clone())
            gate.zero_()
        yield


@dataclass(frozen=True, slots=True)
class Worth:
    """Mean IoU under each condition, and what it lies below that with both sets.

    lost : condition -> (mean difference, lower and upper end of its 95 % interval: bootstrap over groups).
    ceiling : mean IoU that no answer of the local view alone can pass, or None where no two samples look alike.
    """

    objects: int
    miou: dict[str, float]
    lost: dict[str, tuple[float, float, float]]
    ceiling: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "objects": self.objects,
            "miou": {name: round(value, 4) for name, value in self.miou.items()},
            "lost": {name: [round(v, 4) for v in values] for name, values in self.lost.items()},
            "ceiling": None if self.ceiling is None else round(self.ceiling, 4),
        }


def all_ious(
    model: ClickModel, found: Sequence[Sample], compute: Compute, conditions: Mapping[str, Condition] = CONDITIONS
) -> list[dict[str, float]]:
    """IoU of every sample under every condition."""
    probe = RelayProbe(model, compute)
    return [probe.ious(sample, conditions) for sample in track(found, "blanking", console=Console(stderr=True))]


def measure(
    model: ClickModel, found: Sequence[Sample], compute: Compute, conditions: Mapping[str, Condition] = CONDITIONS
) -> Worth:
    """Click every sample under every condition.

    Raises
    ------
    UsageError
        There is no sample.
    """
    if not found:
        raise UsageError("No object fits into a view of a quarter of its picture.", "Give a context set.")
    rows = all_ious(model, found, compute, conditions)
    table = {name: np.array([row[name] for row in rows]) for name in conditions}
    groups = [sample.group for sample in found]
    lost = {name: _interval(table[BOTH] - ious, groups) for name, ious in table.items() if name != BOTH}
    return Worth(len(rows), {name: float(ious.mean()) for name, ious in table.items()}, lost, ceiling(found))


def _interval(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean and its 95 % interval; samples of a group are drawn together."""
    _, rows = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(rows, differences), np.bincount(rows)
    drawn = np.random.default_rng(0).integers(0, len(counts), (DRAWS, len(counts)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return float(differences.mean()), float(low), float(high)


def ceiling(found: Sequence[Sample]) -> float | None:
    """Mean IoU of the best answers that are the same for all samples with equal local views and clicks.

    An answer is any union of the parts into which the truths of a group divide the view.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in found:
        groups.setdefault(sample.group, []).append(sample)
    if len(groups) == len(found):
        return None
    return float(sum(len(members) * _best_answer(members) for members in groups.values()) / len(found))


def _best_answer(members: Sequence[Sample]) -> float:
    truths = np.stack([sample.truth & ~sample.ignore for sample in members]).reshape(len(members), -1)
    kinds, areas = np.unique(truths[:, truths.any(0)], axis=1, return_counts=True)
    if not areas.size or areas.size > ATOMS:
        return 1.0  # nothing to see, or too many parts to try: no limit is claimed
    chosen = (np.arange(1, 2**areas.size)[:, None] >> np.arange(areas.size)) & 1  # [answers, parts]
    common = (chosen * areas) @ kinds.T
    union = (chosen * areas).sum(1, keepdims=True) + (kinds * areas).sum(1) - common
    return float((common / union).mean(1).max())


def table(worth: Mapping[str, Worth]) -> Table:
    """A line a set and condition."""
    shown = Table(title="First click in views of a quarter of the picture", title_justify="left", box=SIMPLE_HEAD)
    for column in ("set", "n", "condition", "mIoU", "lost", "95 %"):
        shown.add_column(column, justify="left" if column in ("set", "condition") else "right")
    for name, values in worth.items():
        for condition, miou in values.miou.items():
            lost = values.lost.get(condition)
            cells = ("", "") if lost is None else (f"{lost[0]:.3f}", f"{lost[1]:.3f} .. {lost[2]:.3f}")
            shown.add_row(name, str(values.objects), condition, f"{miou:.3f}", *cells)
        if values.ceiling is not None:
            shown.add_row(name, "", "at most, without the global view", f"{values.ceiling:.3f}", "", "")
    return shown


def command(
    checkpoint: Annotated[str, typer.Argument(help="A bundled checkpoint's name, or a file.")],
    data: Annotated[Path, typer.Option(help="A context set, another set, or a folder of sets.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many objects a set.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of torch; 0 = its own choice.")] = 0,
    json_path: Annotated[Path | None, typer.Option("--json", help="Keep the result here.")] = None,
) -> None:
    """What the global view and the local relay set are worth: mIoU with both, and with one of them taken away.

    Example: python -m relay_training blank small --data runs/context_eval --json blank.json
    """
    if threads:
        torch.set_num_threads(threads)
    compute = choose(device, dtype)
    model, card = load_checkpoint(checkpoint)
    worth = {}
    for pictures in find_sets(data):
        worth[pictures.name] = measure(model, list(islice(samples(pictures), limit)), compute)
    Console().print(table(worth))
    if json_path is not None:
        about = {
            "format": FORMAT,
            "checkpoint": card.name,
            "encoder_hash": content_hash(model.encoder.state_dict()),
            "head_hash": content_hash(model.head.state_dict()),
            "dtype": str(compute.dtype).removeprefix("torch."),
            "machine": describe_machine(),
            "sets": {name: values.to_json() for name, values in worth.items()},
        }
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(about, indent=1) + "\n")
