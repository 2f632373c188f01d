"""What a session needs from others; the workspace fills these with a predictor behind an engine and a project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from napari_relay.geometry import Box, Click, Plane
from napari_relay.session.fields import Mask
from napari_relay.views.values import Crops, Float32, Prediction, ViewClick, ViewPair


class Predicts(Protocol):
    """Makes masks from views and clicks. Called from the thread that calls the session."""

    @property
    def checkpoint(self) -> str:
        """Hash that names the weights in use."""
        ...

    def predict(
        self,
        crops_source: Callable[[], Crops],
        key: str,
        clicks: list[ViewClick],
        previous: Float32 | None,
        /,
    ) -> Prediction:
        """Predict from the encoding of `key`; `crops_source` is called where it is not cached.

        Parameters
        ----------
        clicks : in pixels of the local view, in the order they were made.
        previous : float32 [112, 112] logits of the mask before, in the local view; None on the first click.

        Raises
        ------
        EngineError
            The computing side failed, or a newer request took this one's place.
        """
        ...

    def prefetch(self, crops_source: Callable[[], Crops], key: str, /) -> None:
        """Encode `key` on idle time; returns at once and never raises because of the computing side."""
        ...


class Keeps(Protocol):
    """Keeps accepted masks, with their history."""

    def accept(
        self,
        box: Box,
        mask: Mask,
        /,
        *,
        class_name: str | None,
        plane: Plane,
        clicks: Sequence[Click],
        views: ViewPair | None,
        score: float | None,
        seconds: float | None,
        checkpoint: str | None,
    ) -> object:
        """Keep a mask as an object and return it."""
        ...

    def revise(
        self,
        object_id: int,
        box: Box,
        mask: Mask,
        /,
        *,
        clicks: Sequence[Click],
        views: ViewPair | None,
        score: float | None,
        seconds: float | None,
        checkpoint: str | None,
    ) -> object:
        """Give an object that is kept another mask and return it."""
        ...

    def undo(self) -> object | None:
        """Take the last change back; None when there is none."""
        ...

    def redo(self) -> object | None:
        """Do it again; None when there is none."""
        ...
