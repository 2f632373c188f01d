"""Make the bundled checkpoints: shards that both share, and cards.

    python -m relay_training bundle-start mobile_sam_vit_t.safetensors      writes shards/ and step0/
    python -m relay_training bundle runs/a/best.safetensors --name small    writes small/ on top of the shards

A trained checkpoint is stored as int8 differences to its start (a scale per row) where the start has the
tensor, as int8 with a scale per row where a new tensor is large, and as float16 else. What did not change
is not stored again. A trunk that was trained is stored whole in int8: smaller than its start and the difference.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_relay.model.checkpoint import WEIGHTS, Card, load_state, read_card
from napari_relay.model.config import ModelConfig
from napari_relay.model.weights import from_mobile_sam

START_LICENCE = "Apache-2.0 (MobileSAM and Segment Anything weights, unchanged)"
FROZEN = ("encoder.patch_embed.", "encoder.stages.0.", "encoder.stages.1.", "encoder.stages.2.downsample.")
QUANTISE_FROM = 4096
"""Tensors with fewer values stay float16: their bytes do not count, their error might."""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, tensors: dict[str, Tensor]) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in sorted(tensors.items())}, path)
    path.chmod(0o644)
    relative = path.relative_to(WEIGHTS)
    return {"file": f"../{relative}", "sha256": _sha256(path)}


def _write_card(card: Card) -> None:
    folder = WEIGHTS / card.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card.to_json(), indent=1, sort_keys=True) + "\n")


def quantise(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 values and a float32 scale per row (first axis) of a tensor of two or more axes."""
    scale = tensor.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
    rows = scale.view(-1, *[1] * (tensor.dim() - 1))
    return (tensor / rows).round().clamp(-127, 127).to(torch.int8), scale


def bundle_start(mobile_sam: Path) -> Card:
    """Write the shared shards and the card of `step0` from MobileSAM's weights."""
    state = {k: v.half() for k, v in from_mobile_sam(load_file(mobile_sam)).items()}
    parts: dict[str, dict[str, Tensor]] = {"stem": {}, "trunk": {}, "decoder": {}}
    for name, tensor in state.items():
        part = "decoder" if name.startswith("head.") else "stem" if name.startswith(FROZEN) else "trunk"
        parts[part][name] = tensor
    shards = tuple(_write(WEIGHTS / "shards" / f"{part}.safetensors", t) for part, t in parts.items())
    card = Card(
        name="step0",
        title="Untrained start: MobileSAM's encoder and decoder at a view of 448 pixels",
        licence=START_LICENCE,
        config=ModelConfig().to_dict(),
        start="MobileSAM vit_t (Zhang et al., arXiv 2306.14289)",
        recipe="None: the additions of napari-relay are shut, so it behaves as its start does.",
        limits="Weaker first clicks than `small`; no context from the global view.",
        metrics={"untrained": True},
        shards=shards,
    )
    _write_card(card)
    return card


def bundle(checkpoint: Path, name: str, card: Card | None = None) -> Card:
    """Write a trained checkpoint on top of the shared shards. `card` overrides the file's own."""
    start_card = read_card("step0")
    trained = {key: tensor.float() for key, tensor in load_file(checkpoint).items()}
    start = load_state(start_card)
    known = trained.keys() & start.keys()
    same = {key for key in known if torch.allclose(trained[key], start[key], rtol=0, atol=1e-7)}
    shards = list(start_card.shards)
    trunk = {key for key in start if key.startswith("encoder.") and not key.startswith(FROZEN)}
    if not trunk <= same:
        shards = [shard for shard in shards if "trunk" not in shard["file"]]
        start = {key: value for key, value in start.items() if key not in trunk}
        same -= trunk
    stored = _stored({key: value for key, value in trained.items() if key not in same}, start)
    shards.append(_write(WEIGHTS / name / "trained.safetensors", stored))
    card = replace(card or read_card(checkpoint), name=name, shards=tuple(shards))
    _write_card(card)
    return card


def _stored(trained: dict[str, Tensor], start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are written, by the rule above."""
    stored: dict[str, Tensor] = {}
    for key, value in trained.items():
        large = value.dim() >= 2 and value.numel() >= QUANTISE_FROM
        if key in start and large:
            stored[f"{key}::delta_q"], stored[f"{key}::delta_scale"] = quantise(value - start[key])
        elif large:
            stored[f"{key}::q"], stored[f"{key}::scale"] = quantise(value)
        else:
            stored[key] = value.half()
    return stored


def command_start(weights: Annotated[Path, typer.Argument(help="MobileSAM's weights, safetensors.")]) -> None:
    """Write the shared shards and `step0` from MobileSAM's weights.

    Example: python -m relay_training bundle-start mobile_sam_vit_t.safetensors
    """
    typer.echo(bundle_start(weights).title)


def command(
    checkpoint: Annotated[Path, typer.Argument(help="A trained checkpoint, for example RUN/ema.safetensors.")],
    name: Annotated[str, typer.Option(help="Name of the bundled checkpoint.")] = "small",
    card: Annotated[Path | None, typer.Option(help="JSON file whose entries replace those of the card.")] = None,
) -> None:
    """Store a trained checkpoint among the bundled ones, as differences to the shared shards.

    Example: python -m relay_training bundle runs/head/ema.safetensors --card training/configs/small_card.json
    """
    own = read_card(checkpoint)
    if card is not None:
        own = replace(own, **json.loads(card.read_text()))
    typer.echo(f"{bundle(checkpoint, name, own).title}: {WEIGHTS / name}")
