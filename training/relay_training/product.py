"""The product as a contender: source, views, session and predictor, as the app uses them without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from napari_relay.errors import ProjectError
from napari_relay.geometry import Box, Click
from napari_relay.sources import Source, open_image
from napari_relay.views import Crops, Prediction, ViewClick
from relay_training.contest import Answer, Clicker, Contender, Mask, OpenPicture, Stopwatch

if TYPE_CHECKING:
    from napari_relay.predictor import Predictor
    from napari_relay.session import ClickSession
    from napari_relay.views.values import Float32


class Shown(Protocol):
    """What a session answers: a proposal."""

    @property
    def box(self) -> Box: ...

    @property
    def mask(self) -> Mask: ...


class Session(Protocol):
    """What is clicked: one object of one picture."""

    def click(self, y: float, x: float, positive: bool = True) -> Shown: ...


SessionFactory = Callable[[Source], Session]
"""Makes a fresh session on an open picture."""


class SessionContender:
    """Anything that makes sessions on a source.

    Parameters
    ----------
    make_session : SessionFactory
        Called once an object.
    count_encodings : callable, optional
        Number of encoder runs so far; its growth during a click is what that click had to wait for.
    """

    def __init__(
        self,
        name: str,
        make_session: SessionFactory,
        card: dict[str, Any] | None = None,
        count_encodings: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.card = card or {"kind": name}
        self._make_session = make_session
        self._count_encodings = count_encodings

    @contextmanager
    def open(self, path: Path) -> Iterator[OpenPicture]:
        with open_image(path) as source:
            yield _SessionPicture(source, self._make_session, self._count_encodings)


class _SessionPicture:
    """An open source, clicked through sessions."""

    def __init__(self, source: Source, make_session: SessionFactory, count_encodings: Callable[[], int]) -> None:
        self.shape = source.shape
        self._source = source
        self._make_session = make_session
        self._count_encodings = count_encodings

    def start(self) -> Clicker:
        session = self._make_session(self._source)

        def click(new: Click) -> Answer:
            before = self._count_encodings()
            with Stopwatch() as watch:
                proposal = session.click(new.y, new.x, positive=new.positive)
            encoded = self._count_encodings() - before
            return Answer(proposal.box, proposal.mask, watch.ms, watch.cpu_ms, encoded)

        return click


class DirectPredicts:
    """A predictor in this process without a queue. Nothing is encoded ahead, so that each click shows its full cost.

    `encodings` counts the views that were encoded.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.encodings = 0
        self._predictor = predictor
        self._global_keys: set[str] = set()

    @property
    def checkpoint(self) -> str:
        return self._predictor.head_hash

    def predict(
        self,
        crops_source: Callable[[], Crops],
        key: str,
        clicks: Sequence[ViewClick],
        previous: Float32 | None,
        /,
    ) -> Prediction:
        if self._predictor.has(key):
            return self._predictor.predict(key, clicks, previous)
        crops = crops_source()
        self.encodings += 1
        if crops.global_key is not None and crops.global_key not in self._global_keys:
            self._global_keys.add(crops.global_key)
            self.encodings += 1
        return self._predictor.predict(self._predictor.encode(crops), clicks, previous)

    def prefetch(self, crops_source: Callable[[], Crops], key: str, /) -> None:
        """Nothing is encoded ahead."""


class KeepsNothing:
    """A measurement accepts no object."""

    def accept(self, box: Box, mask: Mask, /, **about: object) -> NoReturn:
        raise ProjectError("A session of a measurement keeps no objects.", "Open a workspace to annotate.")

    def undo(self) -> None:
        return None

    def redo(self) -> None:
        return None


def product_contender(predictor: Predictor) -> Contender:
    """The product with a loaded checkpoint: every object gets a `ClickSession` of its own."""
    from napari_relay.session import ClickSession

    predicts = DirectPredicts(predictor)

    def make_session(source: Source) -> ClickSession:
        session = ClickSession(source, predicts, KeepsNothing())
        session.prepare()
        return session

    card = {
        "kind": "napari-relay",
        "checkpoint": predictor.card.name,
        "encoder_hash": predictor.encoder_hash,
        "pixel_hash": predictor.pixel_hash,
        "head_hash": predictor.head_hash,
        "device": predictor.device.type,
        "dtype": str(predictor.dtype).removeprefix("torch."),
    }
    return SessionContender("relay", make_session, card, lambda: predicts.encodings)


def set_threads(threads: int | None) -> None:
    """Let torch compute with so many threads in this process."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
