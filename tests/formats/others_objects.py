"""The objects that the files of `data/others` hold: coins of the bundled sample, some cut so that formats are tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
CLASS_OF = {1: "small coin", 6: "large coin", 13: "small coin", 18: "large coin", 21: "large coin"}
"""Class of each object, by its number in `coins_labels.png`."""
WITH_HOLE, IN_PARTS = (6, 21), (18,)


def labels() -> npt.NDArray[np.uint8]:
    """Their label image: coins 1 and 13 as they are, 6 and 21 with a hole, 18 cut into an upper and a lower part."""
    with Image.open(SAMPLES / "coins_labels.png") as picture:
        found = np.array(picture, np.uint8)
    found[~np.isin(found, list(CLASS_OF))] = 0
    found[38:50, 325:341] = 0
    found[255:262, 165:182] = 0
    found[186:190, 315:380] = 0
    return found


def masks() -> dict[int, npt.NDArray[np.bool_]]:
    """The mask of each object, bool [y, x] of the whole image."""
    found = labels()
    return {number: found == number for number in CLASS_OF}
