"""Crops that the start weights know, shown again while a project is learned, so that nothing else is forgotten.

The crops ship with the program (`sample_data/replay.zip`, made by `replay-crops`). Those with a label map are clicked
as in training; in all of them the start itself says what lies under some points, and the learner keeps saying so
(Li and Hoiem, "Learning without forgetting", ECCV 2016).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
import torch
from PIL import Image

from napari_relay.model.encoder import Encoding, Stem
from napari_relay.predictor import Predictor
from napari_relay.samples import sample_path
from napari_relay.views import ViewClick
from napari_relay.views.crops import DEVIATION, MEAN
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE
from relay_training.encodings import ANSWERS, CachedBatch
from relay_training.finetune.cache import Encodings, Rows
from relay_training.finetune.objective import LearnTasks, replayed
from relay_training.regions import Generators
from relay_training.tasks import draw_tasks
from relay_training.teach import GOOD, LEAST_PX, MASKS

FILE = "replay.zip"
POINTS = 10
"""Places asked about in each crop, of which the first `ANSWERS` good ones are kept."""


def cache_folder() -> Path:
    """Where what the encoder made of the crops lies, for all projects of this user."""
    return Path(platformdirs.user_cache_dir("napari-relay")) / "replay"


class Replay:
    """The crops, encoded and answered by one checkpoint.

    Parameters
    ----------
    predictor : the start.
    folder : of the encodings. limit : so many crops at most. kind : what is kept of them.
    """

    def __init__(
        self,
        predictor: Predictor,
        folder: Path | None = None,
        limit: int | None = None,
        kind: type[Encodings] = Encodings,
    ) -> None:
        with zipfile.ZipFile(sample_path(FILE)) as file:
            names = sorted(name for name in file.namelist() if name.endswith(".jpg"))[:limit]
            self._pixels = {name: file.read(name) for name in names}
            maps = {name: name.replace(".jpg", ".png") for name in names}
            present = set(file.namelist())
            self._labels = [
                _labels(file.read(maps[name])) if maps[name] in present else np.zeros((LOGIT_SIDE,) * 2, np.int64)
                for name in names
            ]
        self._names, self._predictor = names, predictor
        self._encodings = kind(folder or cache_folder(), predictor.encoder_hash)
        self._answers: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float32]]] = []

    def __len__(self) -> int:
        return len(self._names)

    def make(self) -> Iterator[int]:
        """Encode and ask; yields how many crops are done. What is there is kept."""
        wanted: list[tuple[str, Callable[[], npt.NDArray[np.float32]]]] = [
            (self._key(name), partial(_view, self._pixels[name])) for name in self._names
        ]
        for number in self._encodings.make(wanted, self._predictor):
            self._answers.append(self._ask(number - 1))
            yield number

    def rows(self, numbers: list[int]) -> Rows:
        """Inputs of some crops."""
        return self._encodings.rows([self._key(self._names[n]) for n in numbers])

    def tasks(self, numbers: list[int], rngs: Generators) -> LearnTasks:
        """What is to be cut out in them."""
        nothing, b = torch.zeros(len(numbers), 0), len(numbers)
        masks, valid, points = (np.stack(parts) for parts in zip(*(self._answers[n] for n in numbers), strict=True))
        batch = CachedBatch(
            Encoding(*[nothing] * 6),
            Stem(nothing, nothing, nothing),
            torch.from_numpy(np.stack([self._labels[n] for n in numbers])),
            nothing,
            torch.zeros(b, 4),
            ["none"] * b,
            torch.from_numpy(masks),
            torch.from_numpy(valid),
            torch.from_numpy(points),
        )
        return replayed(draw_tasks(batch, rngs))

    def _key(self, name: str) -> str:
        return f"replay/{name}"

    def _ask(self, number: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """Masks bool [A, 3, 112, 112], which of them count [A, 3], and the points (y, x) in view pixels [A, 2]."""
        path = self._encodings.path(f"{self._key(self._names[number])}/{self._predictor.head_hash}").with_suffix(".npz")
        if not path.exists():
            masks, valid, points = _answers(self._predictor, _view(self._pixels[self._names[number]]), number)
            partial_path = path.with_name(f"{path.name}.partial")
            with partial_path.open("wb") as file:
                np.savez(file, bits=np.packbits(masks), valid=valid, points=points)
            partial_path.replace(path)
        with np.load(path, allow_pickle=False) as kept:
            shape = (ANSWERS, MASKS, LOGIT_SIDE, LOGIT_SIDE)
            bits = np.unpackbits(kept["bits"], count=int(np.prod(shape)))
            return bits.reshape(shape).astype(bool), kept["valid"], kept["points"]


def _answers(
    predictor: Predictor, view: npt.NDArray[np.float32], seed: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    encoded, rng = predictor.encode(view), np.random.default_rng(seed)
    masks = np.zeros((ANSWERS, MASKS, LOGIT_SIDE, LOGIT_SIDE), bool)
    valid, points, found = np.zeros((ANSWERS, MASKS), bool), np.zeros((ANSWERS, 2), np.float32), 0
    for y, x in rng.uniform(16, VIEW_SIDE - 16, (POINTS, 2)):
        answer = predictor.predict(encoded, [ViewClick(float(y), float(x))])
        here = answer.logits > 0
        good = (np.array(answer.scores) >= GOOD) & (here.sum((1, 2)) >= LEAST_PX)
        if good.any() and found < ANSWERS:
            masks[found], valid[found], points[found] = here, good, (y, x)
            found += 1
    return masks, valid, points


def _view(jpeg: bytes) -> npt.NDArray[np.float32]:
    """A crop's pixels as the encoder sees them, float32 [3, 448, 448]."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        pixels = np.asarray(picture.convert("RGB"), np.float32) / 255
    return np.ascontiguousarray(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1))


def _labels(png: bytes) -> npt.NDArray[np.int64]:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture).astype(np.int64)
