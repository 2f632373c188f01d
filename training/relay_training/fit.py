"""Train the click model on cached encodings: `python -m relay_training fit CONFIG.toml`. Stops and resumes anywhere.

    setup   read the configuration, choose device and precision
    fit     the loop: learning rate -> batch -> losses -> backward -> clip -> step -> average -> log and save

A run folder holds `state.pt` (everything that a resume needs, written atomically), `ema.safetensors` (the averaged
weights as a checkpoint, what is evaluated and bundled), `log.csv` and TensorBoard events.
"""

from __future__ import annotations

import math
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from lightning_fabric import Fabric

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import Card, load_checkpoint, save_checkpoint
from napari_relay.model.encoder import Encoding
from relay_training.encodings import CachedBatch, EncodingCache
from relay_training.objective import Objective, Weights
from relay_training.regions import sample_generators
from relay_training.reporting import Reporter
from relay_training.targets import TargetLaw
from relay_training.tasks import draw_tasks
from relay_training.trainable import Average, open_gates, parameter_groups, plain_attention, set_trainable

SAVE_EVERY_S = 120.0


@dataclass(frozen=True, slots=True)
class FitConfig:
    """One run.

    cache, out : folders of the encodings and of the run.
    start : checkpoint to begin with (name or file).
    samples : length of the run; the learning rate falls to 2 % of its start by a cosine over it.
    train : `head` (encoder frozen) or `trunk` (stages 3 and 4, neck and relay tokens too).
    lr_new, lr_peer, lr_relay : rates of new head parts, of parts that come trained, of relay tokens and gates.
    global_p : share of the steps of a `trunk` run whose views all have a global one, which they see.
    alike : so many consecutive views are taken together where their local views are one (`data.ViewLaw.alike`): what
        differs between them is all that can tell their targets apart.
    open_gates : relay gates that are nearer to 0 begin there.
    teacher_p : share of the samples whose target is the teacher's, where it answered.
    weights, targets, card : fields of `objective.Weights`, `targets.TargetLaw` and of the checkpoint's card.
    """

    cache: Path
    out: Path
    start: str = "step0"
    samples: int = 20_000
    batch: int = 8
    train: str = "head"
    lr_new: float = 1e-3
    lr_peer: float = 1e-4
    lr_relay: float = 5e-3
    weight_decay: float = 0.01
    warmup: int = 50
    ema: float = 0.998
    clip: float = 1.0
    rounds: int = 3
    first_p: float = 0.4
    global_p: float = 0.5
    alike: int = 1
    open_gates: float = 0.0
    teacher_p: float = 0.5
    seed: int = 0
    precision: str = "auto"
    threads: int = 0
    weights: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.train not in ("head", "trunk"):
            raise UsageError(f"train is {self.train!r}.", "Use head or trunk.")


def read_config(path: Path) -> FitConfig:
    """Read a TOML file; raises UsageError that names an unknown key."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"Cannot read the configuration {path}: {error}.", "Check the file.") from error
    unknown = set(values) - set(FitConfig.__slots__)
    if unknown:
        raise UsageError(f"{path} has unknown keys: {', '.join(sorted(unknown))}.", "See docs of `fit`.")
    return FitConfig(**{**values, "cache": Path(values["cache"]), "out": Path(values["out"])})


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Factor of the base rate: linear warm-up, then cosine to 0.02."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


class Run:
    """A run in progress: model, optimiser, average and how far it is. `save` and `resume` are exact."""

    def __init__(self, config: FitConfig, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.model, self.start_card = load_checkpoint(config.start)
        set_trainable(self.model, config.train)
        open_gates(self.model, config.open_gates)
        self.model.train()
        self.average = Average(self.model, config.ema)
        self.step, self.seconds = 0, 0.0
        self.objective = Objective(Weights(**config.weights), rounds=config.rounds, first_p=config.first_p)
        self.targets = TargetLaw(**config.targets)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(
                self.model,
                new=config.lr_new,
                peer=config.lr_peer,
                relay=config.lr_relay,
                weight_decay=config.weight_decay,
            ),
            betas=(0.9, 0.999),
        )

    @property
    def steps(self) -> int:
        return self.config.samples // self.config.batch

    def encode(self, batch: CachedBatch, wide: bool) -> Encoding:
        """The cached encoding, or, in a `trunk` run, stages 3 and 4 on the cached stem."""
        if self.config.train == "head":
            return batch.encoding
        return self.model.encoder.pair(batch.stem, batch.global_f16 if wide else None, batch.geometry)

    def _views(self, cache: EncodingCache, rng: np.random.Generator) -> tuple[bool, npt.NDArray[np.intp]]:
        """Whether this step's views show their global ones, and the views to draw from.

        In a `trunk` run a view that has a global one is drawn with it only: what it says may decide the label.
        """
        every, with_global = np.arange(len(cache)), cache.wide()
        if self.config.train == "head" or not len(with_global):
            return False, every
        without = np.setdiff1d(every, with_global)
        wide = rng.random() < self.config.global_p or not len(without)
        return wide, with_global if wide else without

    def train_step(self, cache: EncodingCache) -> dict[str, float]:
        config = self.config
        rngs = sample_generators(config.seed, self.step, range(config.batch))
        wide, views = self._views(cache, rngs[0])
        drawn = [int(views[rng.integers(len(views))]) for rng in rngs]
        for i in range(len(drawn)):
            # The first of each run says which views they are; views that are not alike stay as they were drawn.
            first = drawn[i - i % config.alike]
            other = first // config.alike * config.alike + i % config.alike
            drawn[i] = other if cache.alike(first, other) else drawn[i]
        batch = cache.batch(drawn, wide=wide)
        tasks = draw_tasks(batch, rngs, self.targets, teacher_p=config.teacher_p)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * learning_rate(self.step, self.steps, config.warmup)
        with plain_attention():
            with self.fabric.autocast():
                prepared = self.model.head.prepare(self.encode(batch, wide))
                losses = self.objective(self.model.head, prepared, tasks, rngs)
            self.fabric.backward(losses.total)
        norm = torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.model, self.step)
        self.step += 1
        return {**losses.parts, "norm": float(norm)}

    def save(self) -> None:
        out = self.config.out
        state = {
            "model": self.model.state_dict(),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, out / "state.partial")
        (out / "state.partial").replace(out / "state.pt")
        card = Card(
            **{
                "name": out.name,
                "title": f"Run {out.name}",
                "licence": self.start_card.licence,
                "config": self.model.config.to_dict(),
                "start": f"{self.start_card.name}; {self.start_card.start}",
                "metrics": {"samples": self.step * self.config.batch, "hours": round(self.seconds / 3600, 2)},
                **self.config.card,
            }
        )
        save_checkpoint(out / "ema.safetensors", self.average.state(self.model), card)

    def resume(self) -> None:
        """Continue from `state.pt` where there is one."""
        path = self.config.out / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.values = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def make_fabric(precision: str) -> Fabric:
    """CPU or one GPU; bfloat16 where it is faster."""
    cuda = torch.cuda.is_available()
    if precision == "auto":
        from napari_relay.predictor.device import best_cpu_dtype

        fast = cuda or best_cpu_dtype() == torch.bfloat16
        precision = "bf16-mixed" if fast else "32-true"
    return Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)  # type: ignore[arg-type]


def fit(config: FitConfig, *, minutes: float | None = None) -> Run:
    """Train until `samples` are seen, or for `minutes`; saves every two minutes and at the end."""
    if config.threads:
        torch.set_num_threads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    fabric = make_fabric(config.precision)
    fabric.seed_everything(config.seed, verbose=False)
    run, cache = Run(config, fabric), EncodingCache(config.cache)
    run.resume()
    if not len(cache):
        raise UsageError(f"There are no finished encodings in {config.cache}.", "Make them: `encode`.")
    begun, saved, seconds_before = time.monotonic(), time.monotonic(), run.seconds
    with Reporter(config.out, run.steps, run.step) as reporter:
        while run.step < run.steps and not (minutes and time.monotonic() - begun > minutes * 60):
            torch.manual_seed((config.seed << 20) + run.step)
            parts = run.train_step(cache)
            run.seconds = seconds_before + time.monotonic() - begun
            reporter.step(run.step, run.step * config.batch, run.seconds, parts)
            if time.monotonic() - saved > SAVE_EVERY_S:
                run.save()
                cache.refresh()
                saved = time.monotonic()
    run.save()
    return run


def command(
    config: Annotated[Path, typer.Argument(help="TOML file; keys are those of FitConfig.")],
    minutes: Annotated[float | None, typer.Option(help="Stop after this time; the next call resumes.")] = None,
) -> None:
    """Train on cached encodings; resumes where the last call stopped.

    Example: python -m relay_training fit training/configs/head.toml --minutes 20
    """
    run = fit(read_config(config), minutes=minutes)
    typer.echo(f"{run.step} of {run.steps} steps; checkpoint: {run.config.out / 'ema.safetensors'}")
