"""The click head learns: batches of the project's objects and replayed crops, step by step, resumable anywhere."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from napari_relay.model.encoder import freeze
from napari_relay.model.network import ClickModel
from relay_training.finetune.cache import Encodings, Row, Rows, Stems
from relay_training.finetune.objective import LearnObjective, LearnTasks, joined, part_of, tasks_of
from relay_training.finetune.parts import groups, merged_state, open_parts
from relay_training.finetune.recipe import Recipe
from relay_training.fit import learning_rate
from relay_training.objective import Weights
from relay_training.regions import sample_generators
from relay_training.trainable import Average, plain_attention

log = logging.getLogger(__name__)


class Replays(Protocol):
    """Base crops by number; see `replay`."""

    def __len__(self) -> int: ...

    def rows(self, numbers: list[int]) -> Rows: ...

    def tasks(self, numbers: list[int], rngs: Sequence[np.random.Generator]) -> LearnTasks: ...


class ClickTraining:
    """One training of the click head in progress. `state` and `restore` are exact.

    Parameters
    ----------
    model : the start; it is copied.
    lessons : rows of each object.
    encodings : of the rows' views; `Stems` to train the rest of the encoder too.
    replay : base crops, kept as the views are.
    dtype : of the computation.
    """

    def __init__(
        self,
        model: ClickModel,
        lessons: Sequence[Sequence[Row]],
        encodings: Encodings,
        recipe: Recipe,
        *,
        steps: int,
        replay: Replays | None = None,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        self.model = copy.deepcopy(model)
        open_parts(self.model, recipe.rank, recipe.alpha, seed, deep=isinstance(encodings, Stems))
        self.model.train()
        self.recipe, self.steps, self.step = recipe, steps, 0
        self._plain = model
        self._lessons, self._encodings, self._dtype, self._seed = lessons, encodings, dtype, seed
        self._replay = replay if replay is not None and len(replay) else None
        self._average = Average(self.model, recipe.ema)
        self._objective = LearnObjective(
            Weights(contrast=recipe.contrast),
            rounds=recipe.rounds,
            first_p=recipe.first_p,
            recorded_p=recipe.recorded_p,
        )
        rates = (recipe.lr_new, recipe.lr_peer, recipe.lr_lora)
        self._optimiser = torch.optim.AdamW(groups(self.model, *rates, recipe.decay), betas=(0.9, 0.999))
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.chunk = recipe.batch
        """Samples computed at a time; fewer after memory ran out."""

    def train_step(self) -> dict[str, float]:
        """One step. Where memory runs out it is done again in smaller parts, and so are those that follow.

        Raises
        ------
        MemoryError
            Not even one sample fits.
        """
        while True:
            try:
                return self._step()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.chunk == 1:
                    raise MemoryError("There is not enough memory to learn from one object.") from error
                self.chunk = (self.chunk + 1) // 2
                log.warning("Memory ran out: from now on %d samples at a time", self.chunk)
            self._optimiser.zero_grad(set_to_none=True)

    def _step(self) -> dict[str, float]:
        recipe = self.recipe
        torch.manual_seed((self._seed << 20) + self.step)
        rngs = sample_generators(self._seed, self.step, range(recipe.batch))
        inputs, tasks = self._batch(rngs)
        for group in self._optimiser.param_groups:
            group["lr"] = group["base"] * learning_rate(self.step, self.steps, recipe.warmup)
        sums: dict[str, float] = {}
        for first in range(0, recipe.batch, self.chunk):
            rows = slice(first, min(first + self.chunk, recipe.batch))
            share = (rows.stop - rows.start) / recipe.batch
            for name, value in self._backward(inputs, tasks, rows, rngs[rows], share).items():
                sums[name] = sums.get(name, 0.0) + share * value
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, recipe.clip)
        if torch.isfinite(norm):
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._average.update(self.model, self.step)
        self.step += 1
        return sums

    def _batch(self, rngs: Sequence[np.random.Generator]) -> tuple[Rows, LearnTasks]:
        """Own samples first, then replayed ones."""
        own = len(rngs) - (self.recipe.replay if self._replay is not None else 0)
        rows = []
        for rng in rngs[:own]:
            lesson = self._lessons[int(rng.integers(len(self._lessons)))]
            rows.append(lesson[int(rng.integers(len(lesson)))])
        inputs = self._encodings.rows([row.key for row in rows])
        tasks = tasks_of(rows, rngs[:own], self.recipe.recorded_p)
        if self._replay is not None:
            numbers = [int(rng.integers(len(self._replay))) for rng in rngs[own:]]
            again = self._replay.rows(numbers)
            tasks = joined(tasks, self._replay.tasks(numbers, rngs[own:]))
            inputs = {name: torch.cat([value, again[name]]) for name, value in inputs.items()}
        return inputs, tasks

    def _backward(
        self, inputs: Rows, tasks: LearnTasks, rows: slice, rngs: Sequence[np.random.Generator], share: float
    ) -> dict[str, float]:
        part = {name: value[rows] for name, value in inputs.items()}
        with plain_attention():
            with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
                prepared = self.model.head.prepare(self._encodings.encode(self.model, part))
                losses = self._objective(self.model.head, prepared, part_of(tasks, rows), rngs)
            (losses.total * share).backward()
        return {**losses.parts, "loss": float(losses.total.detach())}

    def trained(self) -> ClickModel:
        """The averaged network as it stands, in eval mode, its additions merged and rounded as they are stored."""
        moved = {name: p for name, p in self.model.named_parameters() if name in self._average.values}
        now = {name: p.detach().clone() for name, p in moved.items()}
        model = copy.deepcopy(self._plain)
        with torch.no_grad():
            for name, parameter in moved.items():
                parameter.copy_(self._average.values[name])
            state = merged_state(self.model)
            for name, parameter in moved.items():
                parameter.copy_(now[name])
            for name, value in model.state_dict().items():
                if not torch.equal(value, state[name]):
                    value.copy_(state[name].half())
        freeze(model)
        return model.eval()

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        moved = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        return {
            "moved": moved,
            "average": self._average.values,
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "chunk": self.chunk,
        }

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(state["moved"][name])
        self._average.values = state["average"]
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.chunk = state["step"], state["chunk"]


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that a reader sees the old or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or a GPU."""
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "out of memory" in words or "can't allocate memory" in words or "not enough memory" in words
    )


def between(start: ClickModel, learned: ClickModel, share: float) -> ClickModel:
    """The network that lies `share` of the way from the start to what was learned, rounded as it is stored."""
    if share == 1:
        return learned
    model, from_, to = copy.deepcopy(learned), start.state_dict(), learned.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not torch.equal(from_[name], to[name]):
                value.copy_(torch.lerp(from_[name], to[name], share).half())
    return model.eval()


def changed_tensors(model: ClickModel, start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that differ from the start's."""
    state = model.state_dict()
    return {name: value.detach().clone() for name, value in state.items() if not torch.equal(value, start[name])}
