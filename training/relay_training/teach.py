"""The teacher's masks: what MobileSAM sees under points of the training pictures, made once and kept.

    <out>/<set>/<picture>.npz    points float32 [n, 2] (y, x); quality float32 [n, 3]; shape int64 [2];
                                 bits uint8 [n, 3, ceil(h w / 8)], the masks' packed bits

A network that only sees label maps forgets what the start weights know of everything that no map names. Half of
a batch is therefore clicked where a teacher answered: the student learns the nearest of its three masks (SAM's
ambiguity, Kirillov et al., ICCV 2023; distillation, Hinton et al., arXiv 1503.02531).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from napari_relay.errors import UsageError
from napari_relay.views.values import LOGIT_SIDE, VIEW_SIDE, View
from relay_training.bench_data import read_rgb
from relay_training.index import Index

MASKS = 3
GOOD = 0.8
"""Least quality that the teacher itself gives a mask that counts (its predicted IoU)."""


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What the teacher answered to `n` points of a picture.

    points : float32 [n, 2], (y, x), pixel centres on whole numbers.
    masks : bool [n, 3, h, w].
    quality : float32 [n, 3], predicted IoU; masks under `GOOD` do not count.
    """

    points: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    quality: npt.NDArray[np.float32]


class TeacherCache:
    """Teacher's masks in a folder, by set and picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, set_name: str, picture: Path) -> Path:
        return self.folder / set_name / f"{picture.stem}.npz"

    def looked_at(self, index: Index) -> npt.NDArray[np.bool_]:
        """Which pictures of an index it holds, [P]."""
        names = (self.path(index.set_name(row), Path(str(image))) for row, image in enumerate(index.images))
        return np.array([path.exists() for path in names], bool)

    def read(self, set_name: str, picture: Path) -> Taught | None:
        """None where the teacher has not looked at the picture."""
        path = self.path(set_name, picture)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            height, width = (int(v) for v in kept["shape"])
            bits = np.unpackbits(kept["bits"], axis=2, count=height * width)
            masks = bits.reshape(*bits.shape[:2], height, width).astype(bool)
            return Taught(kept["points"], masks, kept["quality"])

    def write(self, set_name: str, picture: Path, taught: Taught) -> None:
        path = self.path(set_name, picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        bits = np.packbits(taught.masks.reshape(*taught.masks.shape[:2], -1), axis=2)
        shape = np.array(taught.masks.shape[2:])
        np.savez_compressed(partial, points=taught.points, quality=taught.quality, shape=shape, bits=bits)
        partial.replace(path)


@dataclass(frozen=True, slots=True, eq=False)
class TaughtView:
    """The teacher's answers in a training view, at a quarter of its resolution.

    points : float32 [T, 2], (y, x) in view pixels.
    masks : bool [T, 3, 112, 112].
    valid : bool [T, 3], masks that count; an answer without any is padding.
    """

    points: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]

    @classmethod
    def nothing(cls, count: int) -> TaughtView:
        """A view of which the teacher said nothing."""
        empty = np.zeros((count, MASKS, LOGIT_SIDE, LOGIT_SIDE), bool)
        return cls(np.zeros((count, 2), np.float32), empty, np.zeros((count, MASKS), bool))


LEAST_PX = 12
"""A mask with fewer pixels of 112 x 112 in the view does not count."""


Turn = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def view_taught(taught: Taught, view: View, turn: Turn, count: int, rng: np.random.Generator) -> TaughtView:
    """Up to `count` answers whose points lie in a view, drawn at random.

    Parameters
    ----------
    view : of the turned picture.
    turn : turns an array [y, x, ...] of the picture as the view's picture was.
    """
    where = np.full(taught.masks.shape[2:], -1, np.int32)
    y, x = taught.points.astype(np.int64).T
    where[y, x] = np.arange(len(taught.points))
    where = turn(where)
    rows, columns = np.nonzero(where >= 0)
    spots = (np.stack([rows, columns], 1) + 0.5 - (view.box.y0, view.box.x0)) / view.scale - 0.5
    inside = np.flatnonzero(((spots >= 0) & (spots <= VIEW_SIDE - 1)).all(1))
    chosen = rng.permutation(inside)[:count]
    found = TaughtView.nothing(count)
    if not len(chosen):
        return found
    answers = where[rows[chosen], columns[chosen]]
    planes = turn(taught.masks[answers].reshape(-1, *taught.masks.shape[2:]).transpose(1, 2, 0))
    small = _covered(planes, view).transpose(2, 0, 1).reshape(len(chosen), MASKS, LOGIT_SIDE, LOGIT_SIDE)
    n = len(chosen)
    found.points[:n], found.masks[:n] = spots[chosen], small
    found.valid[:n] = (taught.quality[answers] >= GOOD) & (small.sum((2, 3)) >= LEAST_PX)
    return found


def _covered(planes: npt.NDArray[np.bool_], view: View) -> npt.NDArray[np.bool_]:
    """Cells of the stride-4 grid that the masks [y, x, n] cover by half or more; nothing outside the picture."""
    spans = []
    for start, limit in ((view.box.y0, planes.shape[0]), (view.box.x0, planes.shape[1])):
        at = np.floor(start + (np.arange(VIEW_SIDE) + 0.5) * view.scale).astype(np.int64)
        spans.append((np.clip(at, 0, limit - 1), (at >= 0) & (at < limit)))
    (y, y_in), (x, x_in) = spans
    full = planes[y][:, x] & (y_in[:, None] & x_in)[..., None]
    block = VIEW_SIDE // LOGIT_SIDE
    cells = full.reshape(LOGIT_SIDE, block, LOGIT_SIDE, block, -1).sum((1, 3), dtype=np.uint8)
    covered: npt.NDArray[np.bool_] = cells >= block * block / 2
    return covered


def spread_points(shape: tuple[int, int], count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """About `count` random points (y, x), one in each cell of a grid with square cells, so that none are close."""
    step = math.sqrt(shape[0] * shape[1] / count)
    rows, columns = (max(1, round(side / step)) for side in shape)
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    share = (grid + rng.random(grid.shape)) / (rows, columns)
    points: npt.NDArray[np.float32] = np.floor(share * shape).astype(np.float32)
    return points


def ask(predictor: Any, image: npt.NDArray[np.uint8], points: npt.NDArray[np.float32]) -> Taught:
    """Answers of a `SamPredictor` to single positive clicks; points without a good mask are left out."""
    import torch
    import torch.nn.functional as F

    predictor.set_image(image)
    shape = image.shape[:2]
    coords = torch.from_numpy(predictor.transform.apply_coords(points[:, None, ::-1].copy(), shape)).float()
    _, quality, logits = predictor.predict_torch(
        coords, torch.ones(len(points), 1, dtype=torch.int), multimask_output=True, return_logits=True
    )
    keep = (quality >= GOOD).any(1)
    side, known = logits.shape[-1], predictor.input_size
    height, width = (max(1, round(side * extent / max(known))) for extent in known)
    # As its own postprocessing, without the detour over 1024 pixels: the picture's part of the padded square.
    masks = F.interpolate(logits[keep][..., :height, :width].float(), shape, mode="bilinear", align_corners=False) > 0
    return Taught(points[keep.numpy()], masks.numpy(), quality[keep].float().numpy())


def pictures_of(index: Index, sets: Collection[str] | None = None) -> npt.NDArray[np.intp]:
    """Rows of an index's pictures, each picture once, of some sets only."""
    rows = np.unique(index.images, return_index=True)[1]
    kept = [row for row in rows.tolist() if not sets or index.set_name(row) in sets]
    return np.array(kept, np.intp)


def teach(
    index: Index,
    cache: TeacherCache,
    predictor: Any,
    *,
    points: int = 16,
    sets: Collection[str] | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Let the teacher look at every picture of an index once, in an order that mixes the sets; yields how many
    are done. Pictures that are in the cache are not looked at again.
    """
    rows = pictures_of(index, sets)
    order = np.random.default_rng(seed).permutation(rows)
    for done, picture in enumerate(order.tolist(), start=1):
        path, set_name = Path(str(index.images[picture])), index.set_name(picture)
        if not cache.path(set_name, path).exists():
            image = read_rgb(path)
            rng = np.random.default_rng((seed, picture))
            spots = spread_points((image.shape[0], image.shape[1]), points, rng)
            cache.write(set_name, path, ask(predictor, image, spots))
        yield done


def command(
    data: Annotated[Path, typer.Argument(help="Folder of training sets: SET/images, SET/labels.")],
    out: Annotated[Path, typer.Argument(help="Folder of the teacher's masks.")],
    weights: Annotated[Path, typer.Option(help="MobileSAM's vit_t as safetensors.")],
    points: Annotated[int, typer.Option(help="Clicks a picture.")] = 16,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set (repeatable).")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this time; the next call resumes.")] = None,
    dtype: Annotated[str, typer.Option(help="auto (bfloat16 where it is fast), float32 or bfloat16.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of torch; 0 = its own choice.")] = 0,
) -> None:
    """Keep what MobileSAM sees under points of the training pictures, for `encode --teacher`; resumes.

    Example: python -m relay_training teach train runs/teacher --weights mobile_sam_vit_t.safetensors
    """
    import time

    import torch
    from rich.progress import Progress

    from napari_relay.predictor.device import choose
    from relay_training.index import load_index
    from relay_training.mobilesam import load_sam

    if threads:
        torch.set_num_threads(threads)
    sam = load_sam(weights)
    from mobile_sam import SamPredictor

    precision = choose("cpu", dtype).dtype
    index, begun = load_index(data, out / "index.npz"), time.monotonic()
    total = len(pictures_of(index, sets))
    if not total:
        raise UsageError(f"No set of {data} is named {', '.join(sets or [])}.", "Look at the folder's names.")
    with Progress() as bar, torch.inference_mode():
        task = bar.add_task("teacher", total=total)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            for done in teach(index, TeacherCache(out), SamPredictor(sam), points=points, sets=sets):
                bar.update(task, completed=done)
                if minutes and time.monotonic() - begun > minutes * 60:
                    break
    typer.echo(f"{done} of {total} pictures in {out}")
