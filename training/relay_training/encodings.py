"""Encodings of training views on disk: what a frozen encoder made of them, once, in float16.

    <folder>/shard_0003/f4.npy f8.npy f16.npy f16a.npy f16b.npy image.npy relay.npy    [128, ...] each
    <folder>/shard_0003/labels.npy     int16 [128, 112, 112]; 0 not an object, -1 ignore, 1.. objects
    <folder>/shard_0003/global.npy     float16 [128, 160, 28, 28], input of stage 3 of the global view (zeros without)
    <folder>/shard_0003/geometry.npy   float32 [128, 4]; log2 k = 0 where there is no global view
    <folder>/shard_0003/merge.npy      int8 [128], which of `targets.MERGES` may be one object
    <folder>/shard_0003/taught.npy     uint8 [128, 6, 3, 1568], the teacher's masks, packed bits of 112 x 112
    <folder>/shard_0003/points.npy     float32 [128, 6, 5], their clicks (y, x) and which of the three masks count
    <folder>/shard_0003/done.json      written last: a shard without it is made again

`f16` is the input of stage 3: with it stages 3 and 4 can be trained without running the frozen stem again.
About 4 MB a view. Shards are made one after the other, so a fit can begin while later ones are being made.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.progress import Progress
from torch import Tensor

from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.model.encoder import Encoding, Stem
from napari_relay.model.network import ClickModel
from napari_relay.views.crops import DEVIATION, MEAN
from napari_relay.views.values import LOGIT_SIDE
from relay_training.data import TrainingView
from relay_training.targets import MERGES
from relay_training.teach import MASKS, TaughtView, TeacherCache

SHARD = 128
FEATURES = ("f4", "f8", "f16", "f16a", "f16b", "image", "relay")
OTHERS = ("labels", "global", "geometry", "merge", "taught", "points")
ANSWERS = 6


class TrainingViews(Protocol):
    """Draws training views by number; see `data.ViewSampler`."""

    def view(self, number: int) -> TrainingView: ...


@dataclass(frozen=True, eq=False, slots=True)
class CachedBatch:
    """Encodings, labels and global inputs of some cached views.

    labels : int64 [B, 112, 112]; merge : what may be one object in each view.
    masks, valid, points : the teacher's, bool [B, T, 3, 112, 112], bool [B, T, 3] and float32 [B, T, 2] (y, x).
    """

    encoding: Encoding
    stem: Stem
    labels: Tensor
    global_f16: Tensor
    geometry: Tensor
    merge: list[str]
    masks: Tensor
    valid: Tensor
    points: Tensor


def _pixels(image: npt.NDArray[np.uint8]) -> Tensor:
    values = (image.astype(np.float32) / 255 - MEAN) / DEVIATION
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def make_shard(folder: Path, number: int, views: TrainingViews, model: ClickModel, dtype: torch.dtype) -> Iterator[int]:
    """Encode the views of one shard; yields how many are done. A finished shard is left alone."""
    target = folder / f"shard_{number:04d}"
    if (target / "done.json").exists():
        return
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*FEATURES, *OTHERS)}
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        image: npt.NDArray[np.uint8] | None = None
        for i in range(SHARD):
            view = views.view(number * SHARD + i)
            if image is None or not np.array_equal(image, view.image):
                image = view.image
                stem = model.encoder.stem(_pixels(image))
                encoding = model.encoder.trunk(stem)
            for name in FEATURES:
                rows[name].append(getattr(stem if name == "f16" else encoding, name)[0].half().numpy())
            rows["labels"].append(view.labels_small.astype(np.int16))
            wide = view.global_image
            empty = np.zeros((160, 28, 28), np.float16)
            rows["global"].append(empty if wide is None else model.encoder.stem(_pixels(wide)).f16[0].half().numpy())
            rows["geometry"].append(np.asarray(view.pair.geometry, np.float32))
            rows["merge"].append(np.int8(MERGES.index(view.merge)))  # type: ignore[arg-type]
            taught = view.taught or TaughtView.nothing(ANSWERS)
            rows["taught"].append(np.packbits(taught.masks.reshape(ANSWERS, MASKS, -1), axis=2))
            rows["points"].append(np.concatenate([taught.points, taught.valid], axis=1, dtype=np.float32))
            yield i + 1
    for name, values in rows.items():
        np.save(partial / f"{name}.npy", np.stack(values))
    (partial / "done.json").write_text(json.dumps({"views": SHARD}))
    partial.rename(target)


class EncodingCache:
    """The finished shards of a folder, memory-mapped. `refresh` picks up new ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays: list[dict[str, np.ndarray]] = []
        self._names: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self._arrays) * SHARD

    def refresh(self) -> int:
        """Open shards that were finished since; returns the number of views."""
        for done in sorted(self.folder.glob("shard_*/done.json")):
            if done.parent.name not in self._names:
                self._names.add(done.parent.name)
                names = (*FEATURES, *OTHERS)
                self._arrays.append({n: np.load(done.parent / f"{n}.npy", mmap_mode="r") for n in names})
        return len(self)

    def wide(self) -> npt.NDArray[np.intp]:
        """Numbers of the views that have a global one."""
        ratios = [np.asarray(arrays["geometry"][:, 2]) for arrays in self._arrays]
        return np.flatnonzero(np.concatenate([*ratios, []]) > 0)

    def alike(self, first: int, second: int) -> bool:
        """Whether two views with a global one lie at one place of it, and so were drawn as `data.ViewLaw.alike`."""
        a, b = (self._arrays[i // SHARD]["geometry"][i % SHARD] for i in (first, second))
        return bool(a[2] > 0 and np.array_equal(a, b))

    def batch(self, indices: list[int], *, wide: bool = False) -> CachedBatch:
        """Read some views. The global inputs are read with `wide` only."""

        def read(name: str) -> Tensor:
            rows = [self._arrays[i // SHARD][name][i % SHARD] for i in indices]
            return torch.from_numpy(np.stack(rows))

        features = {name: read(name).float() for name in FEATURES}
        f16 = features.pop("f16")
        stem = Stem(features["f4"], features["f8"], f16)
        global_f16 = read("global").float() if wide else torch.zeros(len(indices), 0)
        bits, points = read("taught").numpy(), read("points")
        masks = np.unpackbits(bits, axis=3).reshape(*bits.shape[:3], LOGIT_SIDE, LOGIT_SIDE)
        return CachedBatch(
            Encoding(**features),
            stem,
            read("labels").long(),
            global_f16,
            read("geometry"),
            [MERGES[int(kind)] for kind in read("merge")],
            torch.from_numpy(masks).bool(),
            points[..., 2:] > 0,
            points[..., :2],
        )


def command(
    data: Annotated[Path, typer.Argument(help="Folder of training sets: SET/images, SET/labels.")],
    out: Annotated[Path, typer.Argument(help="Folder of the encodings.")],
    views: Annotated[int, typer.Option(help="Views to make; about 3.9 MB of disk each.")] = 3200,
    checkpoint: Annotated[str, typer.Option(help="Whose encoder (name or file).")] = "step0",
    config: Annotated[Path | None, typer.Option(help="Which sets and views, TOML (configs/data.toml).")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Folder of `teach`: its masks go along.")] = None,
    taught_only: Annotated[bool, typer.Option("--taught-only", help="Only pictures the teacher looked at.")] = False,
    first: Annotated[int, typer.Option(help="Number of the first shard; of the views it is 128 times that.")] = 0,
    seed: Annotated[int, typer.Option(help="Views are a function of the seed and their number.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads of torch; 0 = its own choice.")] = 0,
) -> None:
    """Encode training views once; finished shards are kept, so the command resumes.

    Example: python -m relay_training encode train runs/cache --views 3200
    """
    from napari_relay.predictor.device import choose
    from relay_training.data_config import DataConfig, read_data_config
    from relay_training.index import load_index

    if threads:
        torch.set_num_threads(threads)
    compute = choose("cpu", "auto")
    model, _ = load_checkpoint(checkpoint)
    rules = DataConfig() if config is None else read_data_config(config)
    answers = None if teacher is None else TeacherCache(teacher)
    index = load_index(data, out / "index.npz")
    if answers is not None and taught_only:
        index = index.only(answers.looked_at(index))
    sampler = rules.sampler(index, seed, answers)
    shards = math.ceil(views / SHARD)
    with Progress() as bar:
        task = bar.add_task("encoding views", total=shards * SHARD)
        for number in range(shards):
            for done in make_shard(out, first + number, sampler, model, compute.dtype):
                bar.update(task, completed=number * SHARD + done)
            bar.update(task, completed=(number + 1) * SHARD)
