"""Small sets of training pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from training_sets import save  # noqa: E402


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: `regions` (8 bit with ignore, 16 bit, two annotators) and `plain` (masks of 0 and 255)."""
    root = tmp_path_factory.mktemp("sets")
    labels = np.zeros((200, 300), np.uint8)
    labels[20:60, 30:110], labels[100:180, 50:130], labels[100:180, 130:210] = 1, 2, 3
    labels[150:160, 60:70] = 255
    save(root / "regions", "a", labels)
    save(root / "regions", "b", labels.astype(np.uint16))
    save(root / "regions", "c", labels, suffix=".a0")
    save(root / "regions", "c", np.where(labels == 3, 2, labels).astype(np.uint8), suffix=".a1")
    mask = np.zeros((120, 90), np.uint8)
    mask[30:80, 20:60] = 255
    save(root / "plain", "m", mask, "masks")
    return root
