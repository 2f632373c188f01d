"""The service that the engine runs: a predictor, with its slow methods as generators that can be stopped.

Loaded in the engine's thread or process, and the only file outside the predictor's room that reaches torch, by
importing that room when the service is made.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_relay.errors import WorkerDiedError
from napari_relay.views.values import Crops, Float32, Prediction, ViewClick

if TYPE_CHECKING:
    from napari_relay.predictor import Encoded, Predictor
    from napari_relay.predictor.portable import PortableModel
    from napari_relay.predictor.whole import WholeViews

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How the predictor is loaded; see `napari_relay.predictor.load_predictor`."""

    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    cache_bytes: int = 512 << 20

    def load(self) -> Predictor:
        from napari_relay.predictor import load_predictor

        return load_predictor(
            self.checkpoint,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            cache_bytes=self.cache_bytes,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """A prediction and the hash of the weights that made it."""

    prediction: Prediction
    checkpoint: str


class PredictorService:
    """A predictor as the engine runs it: one job at a time, always in the same thread.

    An encoding that was stopped (a click came) is kept where it stood, and goes on if its view is asked for next.
    Whatever goes wrong on a GPU is a WorkerDiedError: the process may hold a GPU that answers no more, and the
    engine starts the service again on the CPU.

    Attributes
    ----------
    device : "cpu", "cuda:0" ...
    notes : words for the user about what was chosen on their behalf.
    """

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options
        self._paused: tuple[str, Generator[str, None, Encoded]] | None = None
        self._predictor, self.notes = _load(options)
        self._whole: WholeViews | None = None

    @property
    def device(self) -> str:
        return str(self._predictor.device)

    @property
    def checkpoint(self) -> str:
        """Hash of encoder and head (with its pixel path): names the weights in an object's history."""
        return f"{self._predictor.encoder_hash}-{self._predictor.head_hash}"

    def has(self, key: str) -> bool:
        """Whether the encoding of `key` is cached."""
        return self._predictor.has(key)

    def predict(self, key: str, clicks: Sequence[ViewClick], previous: Float32 | None) -> Answer:
        """Predict from a cached encoding; MissingEncodingError where it is not cached (any more)."""
        with self._gpu_faults():
            return Answer(self._predictor.predict(key, clicks, previous), self.checkpoint)

    def encode_predict(
        self, crops: Crops, clicks: Sequence[ViewClick], previous: Float32 | None
    ) -> Generator[str, None, Answer]:
        """Encode (or take from the cache), then predict."""
        with self._gpu_faults():
            encoded = yield from self._encode(crops)
            return Answer(self._predictor.predict(encoded, clicks, previous), self.checkpoint)

    def prefetch(self, crops: Crops) -> Generator[str, None, None]:
        """Encode into the cache."""
        with self._gpu_faults():
            yield from self._encode(crops)

    def look(self, crops: Crops) -> Generator[str, None, tuple[Float32, str]]:
        """A view of a whole-image job: its contrast space [28, 28, D], and `checkpoint`."""
        with self._gpu_faults():
            space = yield from self._views().look(crops)
            return space, self.checkpoint

    def ask(self, key: str, clicks: Float32) -> tuple[Float32, Float32]:
        """Logits [n, M, 112, 112] and predicted IoU [n, M] of n sets of clicks [n, k, 3] in a view that was looked at;
        MissingEncodingError where it is forgotten."""
        with self._gpu_faults():
            return self._views().ask(key, clicks)

    def kernel(self, key: str, clicks: Float32) -> Float32:
        """The click kernel [D] of positive clicks [k, 3] in a view that was looked at."""
        with self._gpu_faults():
            return self._views().kernel(key, clicks)

    def classify(self, crops: Crops, head: str) -> Generator[str, None, tuple[Float32, str]]:
        """Class logits [K, 112, 112] of a view by the class head in a file, and `checkpoint`."""
        with self._gpu_faults():
            logits = yield from self._views().classify(crops, head)
            return logits, self.checkpoint

    def portable(self) -> PortableModel:
        """The weights and number type in use, to carry them to other machines."""
        from napari_relay.predictor.portable import portable_model

        return portable_model(self._predictor)

    def _views(self) -> WholeViews:
        from napari_relay.predictor.whole import WholeViews

        if self._whole is None:
            self._whole = WholeViews(self._predictor)
        return self._whole

    def info(self) -> dict[str, Any]:
        """Card, hashes, device, dtype and notes, as JSON values."""
        predictor = self._predictor
        return {
            "card": predictor.card.to_json(),
            "checkpoint": self.checkpoint,
            "encoder_hash": predictor.encoder_hash,
            "pixel_hash": predictor.pixel_hash,
            "head_hash": predictor.head_hash,
            "device": self.device,
            "dtype": str(predictor.dtype).removeprefix("torch."),
            "notes": list(self.notes),
        }

    def set_checkpoint(self, checkpoint: str | None) -> dict[str, Any]:
        """Use another checkpoint from now on; returns its `info`. When it cannot be loaded the old one stays.

        Raises
        ------
        CheckpointError
        """
        self._drop_paused()
        options = replace(self._options, checkpoint=checkpoint)
        before = self._predictor
        self._predictor, self.notes = _load(options)
        # Learning a head leaves the encoder alone: what is encoded stays.
        self._predictor.share_encodings(before)
        self._options, self._whole = options, None
        return self.info()

    def _encode(self, crops: Crops) -> Generator[str, None, Encoded]:
        if self._paused is not None and self._paused[0] == crops.key:
            _, steps = self._paused
            self._paused = None
        else:
            self._drop_paused()
            steps = self._predictor.encode_steps(crops)
        while True:
            try:
                part = next(steps)
            except StopIteration as end:
                encoded: Encoded = end.value
                return encoded
            try:
                yield part
            except GeneratorExit:
                self._paused = (crops.key, steps)
                raise

    def _drop_paused(self) -> None:
        if self._paused is not None:
            self._paused[1].close()
            self._paused = None

    @contextmanager
    def _gpu_faults(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # torch's class for a driver's faults and for a full GPU
            if self.device == "cpu":
                raise
            log.exception("The GPU failed")
            raise WorkerDiedError(
                f"The GPU failed: {_first_line(error)}.", "The program goes on with the CPU; repeat the click."
            ) from error


def make_service(
    checkpoint: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    cache_bytes: int = 512 << 20,
) -> PredictorService:
    """Load a predictor and wrap it for the engine; loads torch.

    Raises
    ------
    CheckpointError, UsageError
    """
    return PredictorService(ServiceOptions(checkpoint, device, dtype, threads, cache_bytes))


def _load(options: ServiceOptions) -> tuple[Predictor, tuple[str, ...]]:
    try:
        predictor = options.load()
    except RuntimeError as error:
        if options.device == "cpu":
            raise
        log.exception("Loading onto the GPU failed")
        predictor = replace(options, device="cpu").load()
        return predictor, (*predictor.notes, f"The GPU failed ({_first_line(error)}); computing on the CPU instead.")
    return predictor, tuple(predictor.notes)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
