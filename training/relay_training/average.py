"""The mean of two checkpoints of one network: `python -m relay_training average FIRST SECOND --out FILE`.

What a second stage of training gained and what the first knew often live side by side half-way between their weights
(Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.model.checkpoint import load_state, read_card, save_checkpoint


def average(first: dict[str, Tensor], second: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) first + share second, tensor by tensor.

    Raises
    ------
    UsageError
        They are not of one network.
    """
    odd = first.keys() ^ second.keys() or {n for n in first if first[n].shape != second[n].shape}
    if odd:
        raise UsageError(f"The two are not of one network: they differ in {sorted(odd)[0]}.", "Give two of one config.")
    return {name: first[name].float().lerp(second[name].float(), share) for name in first}


def command(
    first: Annotated[str, typer.Argument(help="A bundled checkpoint's name, or a file.")],
    second: Annotated[str, typer.Argument(help="Another of the same network, trained on from the first.")],
    out: Annotated[Path, typer.Option(help="Where the mean is written, safetensors; its card is the second's.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the second.")] = 0.5,
) -> None:
    """Write the mean of two checkpoints.

    Example: python -m relay_training average small runs/trunk/ema.safetensors --out runs/mean.safetensors
    """
    card = read_card(second)
    save_checkpoint(out, average(load_state(read_card(first)), load_state(card), share), card)
    typer.echo(f"{out}: {1 - share:.0%} {first}, {share:.0%} {second}")
