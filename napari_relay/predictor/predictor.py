"""Encode a view pair (slow, once a place), predict from clicks (fast, once a click). Values in, values out."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_relay.errors import ClickError, MissingEncodingError
from napari_relay.model.checkpoint import Card, content_hash, default_checkpoint, load_checkpoint
from napari_relay.model.encoder import Encoding, Stem
from napari_relay.model.network import FIRST, LATER, ClickModel, Prepared
from napari_relay.predictor.cache import ByteLRU
from napari_relay.predictor.clicks import click_array
from napari_relay.predictor.device import Compute, choose
from napari_relay.views.values import LOGIT_SIDE, Crops, Float32, Prediction, ViewClick


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """An encoded view pair: its key, what the encoder and the head's click-independent part made of it, and the time
    that took (0 when it came from the cache)."""

    key: str
    encoding: Encoding
    prepared: Prepared
    encode_ms: float = 0.0


class Predictor:
    """Encoder and head of one checkpoint on one device, with a cache of encodings.

    Not thread-safe: one thread (or the worker process) drives it. `notes` are sentences for the user about choices
    made on their behalf, for example a GPU that could not be used.
    """

    def __init__(self, model: ClickModel, card: Card, compute: Compute, cache_bytes: int = 512 << 20) -> None:
        self.card = card
        self.device, self.dtype, self.notes = compute.device, compute.dtype, list(compute.notes)
        self.encoder_hash = content_hash(model.encoder.state_dict())
        self.pixel_hash = content_hash(model.head.pixels.state_dict()) if model.config.pixel_path else "none"
        self.head_hash = content_hash(model.head.state_dict())
        self._model = model.to(self.device).eval().requires_grad_(False)
        self._reads_global = model.encoder.reads_global()
        self._encodings: ByteLRU[Encoding] = ByteLRU(cache_bytes, Encoding.nbytes)
        self._prepared: ByteLRU[Prepared] = ByteLRU(cache_bytes // 4, _prepared_bytes)
        self._trajectories: ByteLRU[list[Tensor]] = ByteLRU(16 << 20, lambda states: sum(s.nbytes for s in states))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def has(self, key: str) -> bool:
        """Whether the encoding of `key` is in the cache."""
        return key in self._encodings

    def encode(self, crops: Crops | Float32) -> Encoded:
        """Encode a view pair, or return its cached encoding.

        `crops` may also be a normalised view [3, 448, 448] by itself; such an encoding is not cached.
        """
        steps = self.encode_steps(crops)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def encode_steps(self, crops: Crops | Float32) -> Generator[str, None, Encoded]:
        """`encode` as a generator that can be stopped between the parts of the encoder."""
        if isinstance(crops, np.ndarray):
            crops = Crops("", None, crops)  # type: ignore[arg-type]
        started = time.perf_counter()
        encoding = self._encodings.get(crops.key) if crops.key else None
        if encoding is None:
            encoding = yield from self._encode(crops)
            if crops.key:
                self._encodings.put(crops.key, encoding)
                self._prepared.put(crops.key, self._prepare(encoding))
            spent = (time.perf_counter() - started) * 1000
        else:
            spent = 0.0
        prepared = (self._prepared.get(crops.key) if crops.key else None) or self._prepare(encoding)
        return Encoded(crops.key, encoding, prepared, spent)

    def _encode(self, crops: Crops) -> Generator[str, None, Encoding]:
        encoder = self._model.encoder
        states = geometry = None
        if crops.global_ is not None and self._reads_global:
            states = yield from self._trajectory(crops)
            geometry = torch.tensor([crops.pair.geometry], device=self.device)
        # The modes are left before each yield: they belong to the thread, and other work may run in between.
        with torch.inference_mode(), self._autocast():
            stem = encoder.stem(self._tensor(crops.local))
        yield "stem"
        with torch.inference_mode(), self._autocast():
            return encoder.trunk(stem, states, geometry)

    def stem(self, crops: Crops | Float32) -> tuple[Stem, Tensor | None]:
        """What the encoder's first part makes of a view pair, and the `Stem.f16` of its global view (None without one):
        what training the rest of the encoder starts from."""
        if isinstance(crops, np.ndarray):
            crops = Crops("", None, crops)  # type: ignore[arg-type]
        with torch.inference_mode(), self._autocast():
            local = self._model.encoder.stem(self._tensor(crops.local))
            wide = None if crops.global_ is None else self._model.encoder.stem(self._tensor(crops.global_)).f16
        return local, wide

    def _trajectory(self, crops: Crops) -> Generator[str, None, list[Tensor]]:
        """Relay states of the global view; cached by its own key, since many local views share one."""
        key = crops.global_key or ""
        states = self._trajectories.get(key) if key else None
        if states is None:
            assert crops.global_ is not None
            with torch.inference_mode(), self._autocast():
                stem = self._model.encoder.stem(self._tensor(crops.global_))
            yield "global stem"
            with torch.inference_mode(), self._autocast():
                states = self._model.encoder.global_trajectory(stem.f16)
            if key:
                self._trajectories.put(key, states)
            yield "global"
        return states

    def _tensor(self, view: Float32) -> Tensor:
        clean = np.nan_to_num(view, nan=0.0, posinf=0.0, neginf=0.0)
        return torch.from_numpy(np.ascontiguousarray(clean, np.float32)).to(self.device)[None]

    def _prepare(self, encoding: Encoding) -> Prepared:
        with torch.inference_mode(), self._autocast():
            return self._model.head.prepare(encoding)

    def predict(
        self, encoded: Encoded | str, clicks: Sequence[ViewClick], previous: Float32 | None = None
    ) -> Prediction:
        """Masks for clicks in view pixels.

        One positive click without previous logits gives three masks, best first; everything else gives one.

        Parameters
        ----------
        encoded : an encoding, or the key of a cached one.
        previous : float32 [112, 112], the logits of the last prediction in this view.

        Raises
        ------
        MissingEncodingError : the key is not in the cache (any more).
        ClickError : no click inside the view, no positive click and no previous logits, or a coordinate that is not
            finite.
        """
        if isinstance(encoded, str):
            encoded = self._cached(encoded)
        rows = click_array(clicks)
        if previous is None and not rows[0, :, 2].any():
            raise ClickError("There is no positive click.", "Click inside the object first.")
        started = time.perf_counter()
        first = previous is None and rows.shape[1] == 1
        with torch.inference_mode(), self._autocast():
            output = self._model.head(
                encoded.prepared,
                torch.from_numpy(rows).to(self.device),
                self._previous(previous),
                which=FIRST if first else LATER,
            )
        logits = output.logits[0].float().cpu().numpy()
        scores = output.iou[0].float().clamp(0, 1).cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        return Prediction(
            np.ascontiguousarray(logits[order]),
            tuple(float(s) for s in scores[order]),
            encoded.encode_ms,
            (time.perf_counter() - started) * 1000,
        )

    def _cached(self, key: str) -> Encoded:
        encoding = self._encodings.get(key)
        if encoding is None:
            raise MissingEncodingError(f"The view {key} is not encoded.", "Send its pixels again.")
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(encoding)
            self._prepared.put(key, prepared)
        return Encoded(key, encoding, prepared)

    def _previous(self, previous: Float32 | None) -> Tensor | None:
        if previous is None:
            return None
        if previous.shape != (LOGIT_SIDE, LOGIT_SIDE):
            raise ClickError(
                f"Previous logits have shape {previous.shape}.", f"Give [{LOGIT_SIDE}, {LOGIT_SIDE}]."
            )
        return self._tensor(previous)[None].clamp(-32, 32)

    def share_encodings(self, other: Predictor) -> bool:
        """Use the encodings that another predictor has cached, and it this one's, where both have one encoder on one
        device in one number type (as after learning a head); returns whether they do."""
        same = (self.encoder_hash, self.device, self.dtype) == (other.encoder_hash, other.device, other.dtype)
        if same:
            self._encodings, self._trajectories = other._encodings, other._trajectories
        return same

    def clear(self) -> None:
        """Forget all encodings."""
        self._encodings.clear()
        self._prepared.clear()
        self._trajectories.clear()


def _prepared_bytes(prepared: Prepared) -> int:
    tensors = [prepared.base, prepared.space, *(prepared.scales or ())]
    if prepared.fine is not None:
        tensors += [prepared.fine.stride8, prepared.fine.stride4]
    return sum(t.nbytes for t in tensors if t is not None)


def load_predictor(
    checkpoint: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    cache_bytes: int = 512 << 20,
) -> Predictor:
    """Load a bundled checkpoint by name, or a file.

    Parameters
    ----------
    checkpoint : name or path; None = the default one (`small`).
    device : auto, cpu, cuda or cuda:N; what cannot be used falls back to the CPU with a note.
    dtype : auto (measured on a CPU), float32, bfloat16 or float16.
    threads : threads of torch on the CPU; None leaves torch's choice.
    cache_bytes : limit of the cache of encodings.

    Raises
    ------
    CheckpointError, UsageError
    """
    if threads:
        torch.set_num_threads(threads)
    compute = choose(device, dtype)
    model, card = load_checkpoint(checkpoint or default_checkpoint())
    return Predictor(model, card, compute, cache_bytes)
