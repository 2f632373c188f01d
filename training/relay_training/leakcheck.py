"""Which training pictures look like a picture of the benchmark: a hash of gradients and the thumbnails'
correlation.

Pairs are found by content, whatever the files are called, mirrored ones too. Crops and turned copies are
not: sets that were cut from one original have to be compared by origin.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from napari_relay.errors import UsageError
from relay_training.bench_data import read_rgb

HASH_SIDE, THUMB_SIDE = 16, 32
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
LABEL_FOLDERS = ("labels", "masks")
BLOCK = 512

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """What is compared of some pictures.

    bits : float32 [n, 512] of -1 and 1: whether grey falls to the right and downwards, on a 16 x 16 grid.
    thumbs : float32 [n, 1024]: grey at 32 x 32, mean 0 and length 1 (all 0 of an even picture).
    """

    bits: Rows
    thumbs: Rows


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that look alike: bits in which their hashes differ (of 512), and the thumbnails'
    correlation.
    """

    train: str
    bench: str
    distance: int
    correlation: float
    mirrored: bool


def find_pictures(folder: Path) -> list[Path]:
    """Pictures in `folder` and below it, label maps and masks left out, sorted.

    Raises
    ------
    UsageError
        There is none.
    """
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not set(LABEL_FOLDERS) & set(path.relative_to(folder).parts[:-1])
    ]
    if not found:
        raise UsageError(f"There are no pictures in {folder}.", "Give a folder of pictures or of sets.")
    return found


def fingerprints(paths: Sequence[Path]) -> Prints:
    """Hashes and thumbnails of pictures."""
    bits, thumbs = [], []
    for path in paths:
        grey = Image.fromarray(read_rgb(path)).convert("L")
        across = np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX), np.int16)
        down = np.asarray(grey.resize((HASH_SIDE, HASH_SIDE + 1), Image.Resampling.BOX), np.int16)
        bits.append(np.concatenate([(across[:, :-1] > across[:, 1:]).ravel(), (down[:-1] > down[1:]).ravel()]))
        thumb = np.asarray(grey.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX), np.float32).ravel()
        thumb = thumb - thumb.mean()
        # An even picture has no content to compare: the noise of its JPEG must not be stretched to one.
        thumbs.append(thumb / np.linalg.norm(thumb) if thumb.std() > 2 else np.zeros_like(thumb))
    return Prints(np.array(bits, np.float32) * 2 - 1, np.array(thumbs, np.float32))


def mirrored(prints: Prints) -> Prints:
    """Prints of the mirrored pictures."""
    n = len(prints.bits)
    across, down = np.split(prints.bits.reshape(n, 2, HASH_SIDE, HASH_SIDE), 2, axis=1)
    # Equal neighbours count as "does not fall" both ways; that moves few bits of a real picture.
    turned = np.concatenate([-across[..., ::-1], down[..., ::-1]], axis=1)
    thumbs = prints.thumbs.reshape(n, THUMB_SIDE, THUMB_SIDE)[..., ::-1]
    return Prints(turned.reshape(n, -1), np.ascontiguousarray(thumbs).reshape(n, -1))


def suspicious_pairs(
    train: Sequence[Path], bench: Sequence[Path], *, max_distance: int = 40, min_correlation: float = 0.93
) -> Iterator[list[Pair]]:
    """Pairs that are alike by either measure; yields those of `BLOCK` training pictures at a time.

    Parameters
    ----------
    max_distance : hashes that differ in at most so many of 512 bits are alike (random pictures differ in
    about 200). min_correlation : thumbnails are alike from here on.
    """
    of_bench = fingerprints(bench)
    for start in range(0, len(train), BLOCK):
        block = train[start : start + BLOCK]
        of_train = fingerprints(block)
        pairs = []
        for flip, prints in ((False, of_train), (True, mirrored(of_train))):
            distance = (prints.bits.shape[1] - prints.bits @ of_bench.bits.T) / 2
            correlation = prints.thumbs @ of_bench.thumbs.T
            content = np.outer(prints.thumbs.any(axis=1), of_bench.thumbs.any(axis=1))
            alike = ((distance <= max_distance) & content) | (correlation >= min_correlation)
            for i, j in np.argwhere(alike).tolist():
                pairs.append(
                    Pair(str(block[i]), str(bench[j]), round(float(distance[i, j])), float(correlation[i, j]), flip)
                )
        yield pairs


def command(
    train: Annotated[Path, typer.Argument(help="Folder of training pictures.")],
    bench: Annotated[Path, typer.Argument(help="Folder of benchmark pictures.")],
    max_distance: Annotated[int, typer.Option(help="Hashes that differ in at most so many of 512 bits.")] = 40,
    min_correlation: Annotated[float, typer.Option(help="Thumbnails that correlate at least so much.")] = 0.93,
    json: Annotated[Path | None, typer.Option(help="Write the pairs here too.")] = None,
) -> None:
    """List training pictures that look like a benchmark picture; exit code 1 when there are any.

    Example: python -m relay_training leakcheck data/train data/bench
    """
    pictures, others = find_pictures(train), find_pictures(bench)
    blocks = suspicious_pairs(pictures, others, max_distance=max_distance, min_correlation=min_correlation)
    count = -(-len(pictures) // BLOCK)
    pairs = [pair for block in track(blocks, total=count, description="comparing") for pair in block]
    table = Table("training picture", "benchmark picture", "bits", "correlation", "mirrored")
    for pair in pairs:
        row = (str(Path(pair.train).relative_to(train)), str(Path(pair.bench).relative_to(bench)))
        table.add_row(*row, str(pair.distance), f"{pair.correlation:.3f}", "yes" if pair.mirrored else "")
    console = Console()
    if pairs:
        console.print(table)
    console.print(f"{len(pairs)} suspicious pairs of {len(pictures)} training and {len(others)} benchmark pictures.")
    if json is not None:
        json.write_text(jsonlib.dumps([asdict(pair) for pair in pairs], indent=1) + "\n", encoding="utf-8")
    if pairs:
        raise typer.Exit(1)
