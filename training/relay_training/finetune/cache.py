"""Encodings of a job's views on disk, one file each, in float16: made once, kept for the next job, resumable.

`Encodings` are what the whole encoder made, for training the head; `Stems` what its first part made, for training the
rest of it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_relay.model.encoder import Encoding, Stem, stack
from napari_relay.model.network import ClickModel
from napari_relay.predictor import Predictor
from napari_relay.views import Crops
from napari_relay.views.values import Float32

FEATURES = ("f4", "f8", "f16a", "f16b", "image", "relay")
LIMIT_BYTES = 3 << 30
"""What the folder may hold of views that this job does not use."""


Rows = dict[str, Tensor]
"""Inputs of some views by name, float32 [B, ...]."""


class Encodings:
    """The folder of encodings of one encoder."""

    names: tuple[str, ...] = FEATURES
    kind = ""

    def __init__(self, folder: Path, encoder_hash: str) -> None:
        self.folder, self._encoder = folder, encoder_hash
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        digest = hashlib.blake2b(f"{self.kind}{self._encoder}/{key}".encode(), digest_size=16).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def make(self, keys: Sequence[tuple[str, Callable[[], Crops | Float32]]], predictor: Predictor) -> Iterator[int]:
        """Encode what is missing or damaged; yields how many are there."""
        for number, (key, read) in enumerate(keys, 1):
            if not self.whole(key):
                self.write(key, self._computed(read(), predictor))
            yield number

    def _computed(self, crops: Crops | Float32, predictor: Predictor) -> Rows:
        """What is kept of one view, with a batch of 1."""
        encoding = predictor.encode(crops).encoding
        return {name: getattr(encoding, name) for name in FEATURES}

    def write(self, key: str, values: Rows) -> None:
        """Keep what was computed of one view, a batch of 1."""
        path = self.path(key)
        partial = path.with_suffix(".partial")
        save_file({name: value[0].half().cpu().contiguous() for name, value in values.items()}, partial)
        partial.replace(path)

    def rows(self, keys: Iterable[str]) -> Rows:
        """Inputs of some views, float32."""
        found = [load_file(self.path(key)) for key in keys]
        return {name: torch.stack([row[name] for row in found]).float() for name in self.names}

    def encode(self, model: ClickModel, rows: Rows) -> Encoding:
        """What the head sees of such inputs."""
        return Encoding(**rows)

    def whole(self, key: str) -> bool:
        """Whether the encoding of a key is there and can be read; a torn file is removed."""
        path = self.path(key)
        try:
            load_file(path)
        except FileNotFoundError:
            return False
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return False
        return True

    def tidy(self, used: Iterable[str], limit: int = LIMIT_BYTES) -> None:
        """Remove files of other views, the oldest first, while those take more than `limit` bytes."""
        keep = {self.path(key).name for key in used}
        others = sorted(
            (p for p in self.folder.glob("*.safetensors") if p.name not in keep), key=lambda p: p.stat().st_mtime
        )
        total = sum(p.stat().st_size for p in others)
        for path in others:
            if total <= limit:
                break
            total -= path.stat().st_size
            path.unlink(missing_ok=True)


class Stems(Encodings):
    """The folder of what the encoder's first part made of views; the rest is computed anew, with gradients."""

    names = ("f4", "f8", "f16", "wide", "geometry")
    kind = "stem/"

    def _computed(self, crops: Crops | Float32, predictor: Predictor) -> Rows:
        local, wide = predictor.stem(crops)
        pair = crops.pair if isinstance(crops, Crops) else None
        return {
            "f4": local.f4, "f8": local.f8, "f16": local.f16,
            "wide": torch.zeros_like(local.f16) if wide is None else wide,
            "geometry": torch.tensor([(0.0,) * 4 if wide is None or pair is None else pair.geometry]),
        }  # fmt: skip

    def encode(self, model: ClickModel, rows: Rows) -> Encoding:
        """Stages 3 and 4 and the neck; views with a global one see it, where the model looks at it."""
        encoder, wide = model.encoder, rows["wide"].flatten(1).any(1)
        if not encoder.reads_global():
            wide = torch.zeros_like(wide)
        order, parts = [], []
        for chosen in (wide.nonzero()[:, 0], (~wide).nonzero()[:, 0]):
            if len(chosen):
                part = {name: value[chosen] for name, value in rows.items()}
                stem, seen = Stem(part["f4"], part["f8"], part["f16"]), bool(wide[chosen[0]])
                parts.append(encoder.pair(stem, part["wide"] if seen else None, part["geometry"]))
                order.append(chosen)
        back = torch.cat(order).argsort()
        return stack(parts).map(lambda values: values[back])


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """An object in a view: what one training sample is made of.

    key : of the encoding. target : int8 [112, 112], 1 the object, 0 not, -1 outside the image (all -1 for a rejected
    proposal, whose pixels are `refused`). others : what is known to be something else. known : what is known at all.
    clicks : float32 [n, 3], the recorded ones in the view, (y, x) of 112 x 112 and 1 or 0 for the sign.
    """

    key: str
    target: npt.NDArray[np.int8]
    others: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]
    clicks: npt.NDArray[np.float32]

    @property
    def rejected(self) -> bool:
        return bool(self.refused.any())
