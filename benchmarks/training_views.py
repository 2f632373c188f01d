"""How long a training view takes, and what the views look like.

    python benchmarks/training_views.py DATA [--config training/configs/data.toml] [--views 200] [--sheet
    sheet.png]

`sheet` writes the first 24 views with the outlines of their objects (the one a view was placed for in
green) and the wider view in the corner, to be looked at. Times are CPU times of this process, one thread.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from relay_training.bench_data import read_rgb
from relay_training.data import TrainingView
from relay_training.data_config import DataConfig, read_data_config
from relay_training.index import load_index

CELL, COLUMNS, SHOWN = 320, 6, 24


def main() -> None:
    """Draw views, print their times, write the sheet."""
    args = _arguments()
    config = DataConfig() if args.config is None else read_data_config(args.config)
    sampler = config.sampler(load_index(args.data), args.seed)
    views, times, decoding = [], [], []
    for number in range(args.views):
        start = time.process_time()
        view = sampler.view(number)
        times.append(time.process_time() - start)
        start = time.process_time()
        read_rgb(Path(str(sampler.index.images[view.picture])))
        decoding.append(time.process_time() - start)
        views.append(view if number < SHOWN else None)
    print(f"{platform.processor() or platform.machine()}, {args.views} views of {len(sampler.index)} objects")
    print(f"a view: median {np.median(times) * 1e3:.1f} ms, mean {np.mean(times) * 1e3:.1f} ms")
    print(f"of that decoding the picture: median {np.median(decoding) * 1e3:.1f} ms")
    if args.sheet is not None:
        contact_sheet([view for view in views if view is not None]).save(args.sheet)


def contact_sheet(views: list[TrainingView]) -> Image.Image:
    """Views with outlines, six a row."""
    rows = -(-len(views) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + 14)))
    pen = ImageDraw.Draw(sheet)
    for number, view in enumerate(views):
        x, y = number % COLUMNS * CELL, number // COLUMNS * (CELL + 14)
        sheet.paste(_outlined(view), (x, y + 14))
        wide = "" if view.global_image is None else f", wider x {2 ** view.geometry[2]:.1f}"
        text = f"{view.set}: {len(view.ids)} objects, scale {view.pair.local.scale:.2f}{wide}"
        pen.text((x + 2, y + 1), text, fill=(255, 255, 255))
    return sheet


def _outlined(view: TrainingView) -> Image.Image:
    pixels, labels = view.image.copy(), view.labels
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    focus = (labels == view.focus) & (view.focus > 0)
    pixels[edge] = (255, 40, 40)
    pixels[edge & (focus | np.roll(focus, 1, 0) | np.roll(focus, 1, 1))] = (60, 255, 60)
    cell = Image.fromarray(pixels).resize((CELL, CELL))
    if view.global_image is not None and view.pair.global_ is not None:
        small = Image.fromarray(view.global_image).resize((CELL // 3, CELL // 3))
        local, wide = view.pair.local.box.relative_to(view.pair.global_.box), view.pair.global_.box.height
        corners = [v * (CELL // 3) / wide for v in (local.x0, local.y0, local.x1, local.y1)]
        ImageDraw.Draw(small).rectangle(corners, outline=(255, 255, 0))
        cell.paste(small, (CELL - CELL // 3, CELL - CELL // 3))
    return cell


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--views", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
