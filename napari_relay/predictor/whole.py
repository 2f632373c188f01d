"""A predictor as whole-image work uses it: views are encoded once, asked about, and forgotten.

Their encodings are kept apart from those of the user's clicks, which a job over a million views must not push out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from napari_relay.errors import MissingEncodingError
from napari_relay.model.class_head import ClassHead
from napari_relay.predictor.batch import click_kernel, contrast_space, predict_many
from napari_relay.predictor.classes import class_logits, load_class_head
from napari_relay.predictor.predictor import Encoded, Predictor
from napari_relay.views.values import Crops, Float32

KEPT = 4
"""Encodings that are kept (15 MB each): those of the views that threads ask about just now."""


class WholeViews:
    """The views of a whole-image job. Not thread-safe, as the predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._encoded: OrderedDict[str, Encoded] = OrderedDict()
        self._heads: dict[str, ClassHead] = {}

    @property
    def checkpoint(self) -> str:
        """Hash of encoder and head."""
        return f"{self._predictor.encoder_hash}-{self._predictor.head_hash}"

    def encode(self, crops: Crops) -> Generator[str, None, Encoded]:
        """Encode a view pair, or return its kept encoding; may be stopped at each yield."""
        encoded = self._encoded.pop(crops.key, None)
        if encoded is None:
            encoded = yield from self._predictor.encode_steps(replace(crops, key=""))
        self._encoded[crops.key] = encoded
        while len(self._encoded) > KEPT:
            self._encoded.popitem(last=False)
        return encoded

    def look(self, crops: Crops) -> Generator[str, None, Float32]:
        """Encode a view pair; its contrast space, float32 [28, 28, D]."""
        encoded = yield from self.encode(crops)
        return contrast_space(self._predictor, encoded)

    def ask(self, key: str, clicks: Float32) -> tuple[Float32, Float32]:
        """`batch.predict_many` on a view that was looked at; MissingEncodingError where it is forgotten."""
        return predict_many(self._predictor, self._known(key), clicks)

    def kernel(self, key: str, clicks: Float32) -> Float32:
        """`batch.click_kernel` on a view that was looked at; MissingEncodingError where it is forgotten."""
        return click_kernel(self._predictor, self._known(key), clicks)

    def classify(self, crops: Crops, head: str) -> Generator[str, None, Float32]:
        """Class logits of a view by the class head in the file `head`: float32 [K, 112, 112].

        Raises
        ------
        CheckpointError
        """
        if head not in self._heads:
            self._heads[head] = load_class_head(Path(head), self._predictor)[0]
        # Neither kept nor prepared for clicks: nothing else is asked about this view.
        encoding = yield from self._predictor._encode(crops)
        return class_logits(self._predictor, self._heads[head], encoding)

    def _known(self, key: str) -> Encoded:
        if key not in self._encoded:
            raise MissingEncodingError(f"The view {key} is not encoded.", "Send its pixels again.")
        return self._encoded[key]
