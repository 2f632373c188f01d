"""Label maps under a change of scale: which object a pixel of a view belongs to.

Objects are never interpolated as numbers. Enlarging, a pixel takes the label with the largest bilinear
weight round its centre (bilinear + 0.5 for every object at once, on half-pixel centres); shrinking to the
stride-4 grid, the label that covers most of its block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relay_training.index import IGNORE

Labels = npt.NDArray[np.int32]


def crop_labels(labels: Labels, y0: float, x0: float, side: float, size: int) -> Labels:
    """Labels of a square window, resampled to size x size; -1 outside the picture.

    Parameters
    ----------
    labels : int32 [y, x].
    y0, x0, side : the window's corner and side in pixels; pixel i covers [i, i + 1).
    size : side of the result in pixels.
    """
    step = side / size
    y = y0 + (np.arange(size) + 0.5) * step - 0.5
    x = x0 + (np.arange(size) + 0.5) * step - 0.5
    height, width = labels.shape
    # Shrinking by half and more, the four neighbours are not what the pixel covers: the nearest one is as
    # good.
    out = _nearest(labels, y, x) if step >= 1.5 else _bilinear_vote(labels, y, x)
    out[(y < -0.5) | (y >= height - 0.5)] = IGNORE
    out[:, (x < -0.5) | (x >= width - 0.5)] = IGNORE
    return out


def block_mode(labels: Labels, block: int) -> Labels:
    """Label that covers most of each block x block square; a tie goes to the larger label, so to the object.

    `block` must divide both sides.
    """
    h, w = labels.shape[0] // block, labels.shape[1] // block
    cells = labels.reshape(h, block, w, block).swapaxes(1, 2).reshape(h * w, block * block)
    out = cells[:, 0].copy()
    mixed = np.flatnonzero((cells != cells[:, :1]).any(axis=1))
    out[mixed] = _row_modes(cells[mixed])
    return out.reshape(h, w)


def _row_modes(rows: Labels) -> Labels:
    """Most frequent value of each row [n, k]; the larger one of equals."""
    ordered = np.sort(rows, axis=1)
    n, k = ordered.shape
    new_run = np.ones((n, k), bool)
    new_run[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    at = np.arange(k, dtype=np.int32)
    start = np.maximum.accumulate(np.where(new_run, at, 0), axis=1)
    length = at - start  # grows along a run, so its last pixel holds the run's length
    last = k - 1 - np.argmax(length[:, ::-1], axis=1)
    modes: Labels = ordered[np.arange(n), last]
    return modes


def _nearest(labels: Labels, y: npt.NDArray[np.floating], x: npt.NDArray[np.floating]) -> Labels:
    rows = np.clip(np.floor(y + 0.5).astype(np.intp), 0, labels.shape[0] - 1)
    columns = np.clip(np.floor(x + 0.5).astype(np.intp), 0, labels.shape[1] - 1)
    found: Labels = labels[rows][:, columns]
    return found


def _bilinear_vote(labels: Labels, y: npt.NDArray[np.floating], x: npt.NDArray[np.floating]) -> Labels:
    above, left = np.floor(y), np.floor(x)
    fy, fx = (y - above).astype(np.float32), (x - left).astype(np.float32)
    height, width = labels.shape
    rows = [np.clip(above.astype(np.intp) + d, 0, height - 1) for d in (0, 1)]
    columns = [np.clip(left.astype(np.intp) + d, 0, width - 1) for d in (0, 1)]
    upper, lower = labels[rows[0]], labels[rows[1]]
    corners = [upper[:, columns[0]], upper[:, columns[1]], lower[:, columns[0]], lower[:, columns[1]]]
    out: Labels = corners[0]
    mixed = (corners[1] != out) | (corners[2] != out) | (corners[3] != out)
    at, to = np.nonzero(mixed)
    if at.size:
        wy, wx = fy[at], fx[to]
        values = np.stack([corner[at, to] for corner in corners])  # [4, n]
        weights = np.stack([(1 - wy) * (1 - wx), (1 - wy) * wx, wy * (1 - wx), wy * wx])
        votes = ((values[:, None] == values[None]) * weights[None]).sum(1)  # [4, n], of each corner's label
        out[at, to] = values[votes.argmax(0), np.arange(at.size)]
    return out
