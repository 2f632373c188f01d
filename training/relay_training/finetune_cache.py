"""Encodings of a job's views on disk, one file each, in float16: made once, kept for the next job, resumable."""

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

from napari_relay.model.encoder import Encoding
from napari_relay.predictor import Predictor
from napari_relay.views import Crops

FEATURES = ("f4", "f8", "f16a", "f16b", "image", "relay")
LIMIT_BYTES = 3 << 30
"""What the folder may hold of views that this job does not use."""


class Encodings:
    """The folder of encodings of one encoder."""

    def __init__(self, folder: Path, encoder_hash: str) -> None:
        self.folder, self._encoder = folder, encoder_hash
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        digest = hashlib.blake2b(f"{self._encoder}/{key}".encode(), digest_size=16).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def make(self, keys: Sequence[tuple[str, Callable[[], Crops]]], predictor: Predictor) -> Iterator[int]:
        """Encode what is missing or damaged; yields how many are there."""
        for number, (key, read) in enumerate(keys, 1):
            if not self.whole(key):
                self._write(self.path(key), predictor.encode(read()).encoding)
            yield number

    def _write(self, path: Path, encoding: Encoding) -> None:
        partial = path.with_suffix(".partial")
        save_file({name: getattr(encoding, name)[0].half().cpu().contiguous() for name in FEATURES}, partial)
        partial.replace(path)

    def read(self, keys: Iterable[str], device: torch.device) -> Encoding:
        """A batch, float32 on `device`."""
        rows = [load_file(self.path(key)) for key in keys]
        return Encoding(**{name: torch.stack([row[name] for row in rows]).to(device).float() for name in FEATURES})

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
