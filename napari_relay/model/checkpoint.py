"""Checkpoints: a card and tensors. Bundled ones are folders that share shards; a carried one is a single file.

    weights/small/card.json             what it is, and the shards it is made of, in order
    weights/shards/*.safetensors        tensors; float16, or int8 with a scale per row
    anything.safetensors                a carried checkpoint: the card in the file's metadata, all tensors inside; or,
                                        when its card names a `base`, only those that differ from that checkpoint's

A shard entry `name` sets a tensor; `name::q` (int8) with `name::scale` sets it too; `name::delta_q` with
`name::delta_scale` is added to what earlier shards set. So a trained checkpoint can share its start's shards.

Cards are read without torch.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_relay.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_relay.model.network import ClickModel

FORMAT = 1
WEIGHTS = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True, slots=True)
class Card:
    """What a checkpoint is: shown before anybody uses it.

    `licence` is the weights' own; `data` lists the training sets with their terms; `metrics` holds measured numbers.
    `base` names the checkpoint that a learned one is a difference to, and the hash of its tensors.
    """

    name: str
    title: str
    licence: str
    config: dict[str, Any]
    start: str = ""
    data: tuple[str, ...] = ()
    recipe: str = ""
    limits: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    shards: tuple[dict[str, str], ...] = ()
    base: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT
    path: Path = Path()

    def to_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__ if name != "path"}
        return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _card(values: Any, path: Path) -> Card:
    if not isinstance(values, dict) or "config" not in values or "name" not in values:
        raise CheckpointError(
            f"{path} is not a napari-relay checkpoint: it has no model card.",
            "Choose a file written by napari-relay (its weights carry a card).",
        )
    if int(values.get("format", 0)) > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {values['format']}; this program knows up to {FORMAT}.",
            "Update napari-relay.",
        )
    known = {k: v for k, v in values.items() if k in Card.__slots__ and k != "path"}
    known["data"], known["shards"] = tuple(known.get("data", ())), tuple(known.get("shards", ()))
    return Card(**{"title": known["name"], "licence": "not stated", **known}, path=path)


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file; checks that the file is whole."""
    damaged = "Copy it again from where it came from."
    try:
        with path.open("rb") as file:
            raw = file.read(8)
            size = struct.unpack("<Q", raw)[0] if len(raw) == 8 else 0
            if not 2 <= size <= 100_000_000:
                raise CheckpointError(f"{path} is not a checkpoint: it is no safetensors file.", damaged)
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint at {path}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}.", damaged) from error
    end = max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
    if path.stat().st_size != 8 + size + end:
        raise CheckpointError(f"{path} is truncated: {path.stat().st_size} of {8 + size + end} bytes.", damaged)
    return dict(header)


def read_card(checkpoint: str | Path) -> Card:
    """Card of a bundled checkpoint (by name) or of a file. Raises CheckpointError."""
    folder = WEIGHTS / str(checkpoint)
    if (folder / "card.json").is_file():
        return _card(json.loads((folder / "card.json").read_text()), folder)
    path = Path(checkpoint)
    if path.is_dir() and (path / "card.json").is_file():
        return _card(json.loads((path / "card.json").read_text()), path)
    if path.suffix == "" and not path.exists():
        names = ", ".join(card.name for card in list_bundled())
        raise CheckpointError(
            f"There is no checkpoint {str(checkpoint)!r}.", f"Bundled are: {names}. Or give the path of a file."
        )
    metadata = _header(path).get("__metadata__", {})
    try:
        values = json.loads(metadata["card"])
    except (KeyError, ValueError):
        values = None
    return _card(values, path)


def list_bundled() -> list[Card]:
    """Cards of the checkpoints that ship with the program; the default first."""
    cards = [_card(json.loads(p.read_text()), p.parent) for p in sorted(WEIGHTS.glob("*/card.json"))]
    return sorted(cards, key=lambda card: card.name != "small")


def default_checkpoint() -> str:
    """Name of the checkpoint used when none is asked for."""
    return list_bundled()[0].name


def _dequantised(tensors: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        base, _, kind = name.partition("::")
        if not kind:
            state[base] = tensor.float() if tensor.is_floating_point() else tensor
        elif kind in ("q", "delta_q"):
            scale = tensors[base + "::" + kind.replace("q", "scale")].float()
            value = tensor.float() * scale.view(-1, *[1] * (tensor.dim() - 1))
            state[base] = state[base] + value if kind == "delta_q" else value


def load_state(card: Card) -> dict[str, Tensor]:
    """All tensors of a checkpoint, float32. Raises CheckpointError for a damaged or missing shard."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    files = [(card.path / s["file"], s.get("sha256")) for s in card.shards] or [(card.path, None)]
    state: dict[str, Tensor] = _base_state(card) if card.base else {}
    for path, digest in files:
        _header(path)
        if digest and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise CheckpointError(f"{path} is not the shard that the card names.", "Install napari-relay again.")
        try:
            _dequantised(load_file(path), state)
        except (SafetensorError, KeyError) as error:
            raise CheckpointError(f"{path} cannot be loaded: {error}.", "Copy it again.") from error
    return state


def _base_state(card: Card) -> dict[str, Tensor]:
    """Tensors of the checkpoint that `card` is a difference to."""
    state = load_state(read_card(card.base["name"]))
    if content_hash(state) != card.base["hash"]:
        raise CheckpointError(
            f"{card.path} was learned from another version of {card.base['name']!r} than this program has.",
            "Learn again, or use the version of napari-relay that it was learned with.",
        )
    return state


def load_checkpoint(checkpoint: str | Path) -> tuple[ClickModel, Card]:
    """Model in eval mode, float32, and its card. Raises CheckpointError."""
    import torch

    from napari_relay.model.config import ModelConfig
    from napari_relay.model.network import ClickModel

    card = read_card(checkpoint)
    with torch.random.fork_rng(devices=[]):
        # What a checkpoint does not hold must be the same at every load: its hash keys caches and projects.
        torch.manual_seed(0)
        model = ClickModel(ModelConfig.from_dict(card.config))
    state = load_state(card)
    missing, unexpected = model.load_state_dict(state, strict=False)
    # `step0` has no trained additions: they stay at their start, where they change nothing.
    allowed = card.metrics.get("untrained", False)
    lost = [name for name in missing if "num_batches_tracked" not in name]
    if unexpected or (lost and not allowed):
        names = ", ".join((list(unexpected) + lost)[:4])
        raise CheckpointError(f"{card.path} does not fit this program's network: {names}.", "Update napari-relay.")
    return model.train().eval(), card


def save_checkpoint(path: Path, state: dict[str, Tensor], card: Card) -> None:
    """Write a carried checkpoint (float16, one file, atomically)."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        k: (v.detach().to(torch.float16) if v.is_floating_point() else v.detach()).contiguous().cpu()
        for k, v in state.items()
        if "num_batches_tracked" not in k
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"card": json.dumps(card.to_json())})
    partial.replace(path)


def content_hash(tensors: dict[str, Tensor]) -> str:
    """Hash of names and values; equal weights have equal hashes wherever they come from."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
