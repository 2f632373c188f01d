"""The peer: MobileSAM, clicked as its own predictor is meant to be clicked.

Needs the package `mobilesam-mirror` (imported here only, when it is asked for) and its weights as
safetensors.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_relay.errors import CheckpointError, MissingExtraError, RelayError
from napari_relay.geometry import Box, Click
from relay_training.bench_data import read_rgb
from relay_training.contest import Answer, Clicker, OpenPicture, Stopwatch

NAME = "mobilesam"


def load_sam(weights: Path) -> Any:
    """MobileSAM in float32 on the CPU, ready for inference.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    CheckpointError
        The file cannot be read or holds other weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
        sam = sam_registry()["vit_t"](checkpoint=None)
        sam.load_state_dict(state, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RelayError):
            raise
        raise CheckpointError(
            f"{weights} cannot be loaded as MobileSAM: {str(error).splitlines()[0]}.",
            "Give its vit_t weights as a safetensors file.",
        ) from error
    # TinyViT caches its attention biases when it is put in eval mode, and the builder did that before the
    # weights came; without a second change of mode the encoder runs without biases and says nothing.
    return sam.train().eval()


def sam_registry() -> Any:
    """The package's table of networks.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mobile_sam import sam_model_registry
    except ImportError as error:
        raise MissingExtraError(
            f"The package of MobileSAM cannot be imported: {error}.",
            "Install it with: pip install --no-deps mobilesam-mirror",
        ) from error
    _give_names_back_to_timm()
    return sam_model_registry


def _give_names_back_to_timm() -> None:
    """Importing the package registers its own classes under timm's TinyViT names; our encoder is timm's."""
    from timm.models import register_model, tiny_vit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in dir(tiny_vit):
            if name.startswith("tiny_vit_"):
                register_model(getattr(tiny_vit, name))


class MobileSam:
    """MobileSAM as a contender: `SamPredictor` at its own 1024 px, float32.

    The first click asks for three masks and takes the one of the best predicted quality; later clicks ask
    for one, with the logits shown before fed back. The time of a first click includes `set_image`, on every
    object of a picture: that is what a user waits for on the first one.

    Parameters
    ----------
    weights : Path
        Safetensors file in the key layout of the package.
    """

    def __init__(self, weights: Path) -> None:
        sam = load_sam(weights)
        from mobile_sam import SamPredictor

        self.name = NAME
        self.card = {"kind": NAME, "weights_sha256": _sha256(weights), "dtype": "float32", "side": 1024}
        self._predictor = SamPredictor(sam)

    @contextmanager
    def open(self, path: Path) -> Iterator[OpenPicture]:
        rgb = read_rgb(path)
        with Stopwatch() as set_image:
            self._predictor.set_image(rgb)
        try:
            yield SamPicture(self._predictor, (rgb.shape[0], rgb.shape[1]), set_image)
        finally:
            self._predictor.reset_image()


class SamPicture:
    """A picture that the peer has encoded."""

    def __init__(self, predictor: Any, shape: tuple[int, int], set_image: Stopwatch) -> None:
        self.shape = shape
        self._predictor = predictor
        self._set_image = set_image

    def start(self) -> Clicker:
        clicks: list[Click] = []
        previous: list[npt.NDArray[np.float32]] = []

        def click(new: Click) -> Answer:
            first = not previous
            clicks.append(new)
            with Stopwatch() as watch:
                masks, scores, logits = self._predictor.predict(
                    point_coords=np.array([[c.x, c.y] for c in clicks]),
                    point_labels=np.array([int(c.positive) for c in clicks]),
                    mask_input=None if first else previous[-1],
                    multimask_output=first,
                )
                best = int(np.argmax(scores))
            previous[:] = [logits[best][None]]
            ms = watch.ms + self._set_image.ms * first
            cpu_ms = watch.cpu_ms + self._set_image.cpu_ms * first
            return Answer(Box(0, 0, *self.shape), masks[best], ms, cpu_ms, encodings=int(first))

        return click


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
