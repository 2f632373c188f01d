"""The gate: surely fewer clicks and nothing surely worse; and the objects that it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_relay.geometry import Box
from relay_training.finetune.judge import Played, difference, pack, play, unpack, verdict
from relay_training.finetune.material import Example, Plane

REACHED = {1: (0.92,), 2: (0.6, 0.92), 3: (0.6, 0.7, 0.92), 5: (0.5, 0.6, 0.7, 0.8, 0.92)}


def played(clicks: Sequence[int]) -> list[Played]:
    return [Played(f"0/{i}", REACHED[n]) for i, n in enumerate(clicks)]


def test_surely_fewer_clicks_pass() -> None:
    found = verdict(played([5, 3, 3, 5, 3, 5, 3, 3, 5, 3]), played([3, 2, 2, 3, 2, 3, 2, 2, 3, 2]))
    assert found.better
    assert found.noc85.before == pytest.approx(3.8)
    assert found.noc85.high < 0


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([3, 2, 3, 2, 3, 2], [3, 2, 3, 2, 3, 2], "not fewer"),
        ([2, 2, 3, 2, 2, 2], [3, 3, 3, 2, 3, 3], "not fewer"),
        ([3, 5, 2, 2, 3, 2], [2, 5, 3, 2, 2, 2], "chance"),
    ],
)
def test_what_is_equal_worse_or_chance_does_not_pass(before: list[int], after: list[int], why: str) -> None:
    found = verdict(played(before), played(after))
    assert not found.better
    assert why in found.reason


def test_fewer_clicks_do_not_pay_for_a_worse_first_mask() -> None:
    before = [Played(f"0/{i}", (0.8, 0.8, 0.92)) for i in range(12)]
    after = [Played(f"0/{i}", (0.3, 0.92)) for i in range(12)]
    found = verdict(before, after)
    assert not found.better
    assert "first mask is worse" in found.reason


def test_nor_for_more_clicks_to_a_finer_mask() -> None:
    before = [Played(f"0/{i}", (0.8, 0.92)) for i in range(12)]
    after = [Played(f"0/{i}", (0.86, 0.86, 0.86, 0.92)) for i in range(12)]
    assert "more to 90 %" in verdict(before, after).reason


def test_the_bootstrap_is_paired() -> None:
    """Objects differ by far more than the change: unpaired intervals could not tell it."""
    rng = np.random.default_rng(0)
    before = rng.integers(1, 20, 40).astype(float)
    found = difference(before, before - 1)
    assert (found.low, found.high) == (-1, -1)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 33)])
def test_a_packed_mask_is_the_same_mask(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    box, again = unpack(pack(mask), (3, 4, 3 + shape[0], 4 + shape[1]))
    assert box == Box(3, 4, 3 + shape[0], 4 + shape[1])
    assert np.array_equal(again, mask)


class KnowsIt:
    """Predicts a coin after the second click, and one beside it before."""

    checkpoint = "x"

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def predict(self, crops_source, key, clicks, previous):
        from napari_relay.views import Prediction

        box, (height, width) = crops_source().pair.local.box, self.mask.shape
        at = (np.arange(112) + 0.5) * box.height / 112
        rows, columns = np.floor(box.y0 + at).astype(int), np.floor(box.x0 + at).astype(int)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        small = self.mask[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))] & inside
        count = 3 if previous is None else 1
        shown = small if previous is not None else np.roll(small, 4, 1)
        return Prediction(np.where(shown, 8.0, -8.0).astype(np.float32)[None].repeat(count, 0), (0.9,) * count)

    def prefetch(self, crops_source, key) -> None:
        pass


class Coins:
    """What `play` needs of a material, with the coin of the sample as truth."""

    def __init__(self, source, mask: np.ndarray) -> None:
        from napari_relay.views import default_mix, measure_stretch

        self.source, self.mask = source, mask
        self.mix, self.stretch = default_mix(source), measure_stretch(source)

    def truth(self, object_id: int):
        rows, columns = np.nonzero(self.mask)
        box = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        return box, self.mask[box.slices]


def test_an_object_is_clicked_until_it_is_right(sample_data: Path) -> None:
    from napari_relay.sources import open_image

    mask = np.asarray(Image.open(sample_data / "coins_labels.png")) == 10
    with open_image(sample_data / "coins.png") as source:
        material = Coins(source, mask)
        box, _ = material.truth(10)
        found = play(material, Example(0, 10, box, Plane(), (), "coin"), KnowsIt(mask))  # type: ignore[arg-type]

    assert found.noc85 == 2
    assert found.first < 0.8
    window, shown = unpack(found.shown, found.window)
    assert window.covers(box)
    assert shown.sum() == pytest.approx(mask.sum(), rel=0.1)
