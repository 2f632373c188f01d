"""The session's `Predicts`, filled with an engine: pixels travel only where an encoding is missing, and no click is
lost with a worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from napari_relay.engine import Engine
from napari_relay.errors import MissingEncodingError, RelayError, SupersededError, WorkerDiedError
from napari_relay.views.values import Crops, Float32, Prediction, ViewClick
from napari_relay.workspace.service import Answer

log = logging.getLogger(__name__)

CropsSource = Callable[[], Crops]


class EnginePredicts:
    """Predicts through an engine that runs a `PredictorService`. Who makes it closes it, before the engine.

    `predict` waits for its answer; of several at a time the newest wins. A prefetch reads its pixels in one thread
    of its own and is given up for any click that comes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._lock = threading.Lock()
        self._asked = 0  # predictions so far
        self._wished = 0  # predictions, prefetches and cancels so far: a prefetch of an older count is given up
        self._checkpoint = ""

    @property
    def checkpoint(self) -> str:
        """Hash that names the weights of the latest prediction; empty before the first one."""
        return self._checkpoint

    def predict(
        self,
        crops_source: CropsSource,
        key: str,
        clicks: list[ViewClick],
        previous: Float32 | None,
        /,
    ) -> Prediction:
        """Predict from the encoding of `key`; `crops_source` is called where it is not cached.

        When the worker dies, the pixels are sent again, once, to the one that takes its place.

        Raises
        ------
        SupersededError
            A newer prediction was asked for.
        EngineError, CheckpointError, ImageError
        """
        with self._lock:
            self._asked += 1
            self._wished += 1
            number = self._asked
        method: str = "predict"
        subject: str | Crops = key
        lives = 2
        while True:
            try:
                answer: Answer = self._engine.call(method, subject, clicks, previous)
                self._checkpoint = answer.checkpoint
                return answer.prediction
            except MissingEncodingError:
                log.debug("View %s is not encoded; its pixels are sent", key)
            except WorkerDiedError:
                lives -= 1
                if lives == 0:
                    raise
                log.warning("The click is sent to a new worker")
            # A request that is repeated must not take the place of one that was made meanwhile.
            self._check_newest(number)
            if method == "predict":
                method, subject = "encode_predict", crops_source()
                self._check_newest(number)

    def prefetch(self, crops_source: CropsSource, key: str, /) -> None:
        """Encode `key` on idle time; returns at once and never raises because of the computing side."""
        with self._lock:
            self._wished += 1
            number = self._wished
        try:
            self._reader.submit(self._read_and_send, crops_source, key, number)
        except RuntimeError:  # closed
            log.debug("No prefetch of %s: closed", key)

    def cancel_prefetch(self) -> None:
        """Give up a prefetch, also one whose pixels are still being read (the view moved)."""
        with self._lock:
            self._wished += 1
        self._engine.cancel("prefetch")

    def close(self) -> None:
        """Give up a prefetch and end the reading thread; waits for a read that is under way."""
        self.cancel_prefetch()
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _read_and_send(self, crops_source: CropsSource, key: str, number: int) -> None:
        try:
            if self._is_latest(number):
                crops = crops_source()
                if self._is_latest(number):
                    self._engine.submit("prefetch", crops, lane="prefetch").add_done_callback(_note)
        except RelayError as error:
            log.debug("No prefetch of %s: %s", key, error)

    def _is_latest(self, number: int) -> bool:
        with self._lock:
            return number == self._wished

    def _check_newest(self, number: int) -> None:
        with self._lock:
            newest = number == self._asked
        if not newest:
            raise SupersededError("A newer click took the place of this one.", "Its mask follows.")


def _note(future: Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.debug("A prefetch ended early: %s", error)
