"""The teacher: its answers are kept and come back, follow the view, and become targets of the student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.model.encoder import Encoding, Stem
from napari_relay.views import View
from relay_training import teach as teaching
from relay_training.clicks import ClickBatch
from relay_training.data import turn_array
from relay_training.encodings import CachedBatch
from relay_training.index import load_index
from relay_training.tasks import draw_tasks
from relay_training.teach import Taught, TeacherCache, ask, spread_points, teach, view_taught


def square(y0: int, x0: int, side: int, shape=(200, 300)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


def two_squares() -> Taught:
    masks = np.stack([[square(20, 30, 40), square(20, 30, 60), square(0, 0, 3)], [square(120, 200, 50)] * 3])
    points = np.array([[35, 45], [140, 220]], np.float32)
    return Taught(points, masks, np.array([[0.9, 0.95, 0.99], [0.5, 0.85, 0.7]], np.float32))


def test_answers_are_kept(tmp_path):
    cache, taught = TeacherCache(tmp_path), two_squares()
    assert cache.read("set", Path("a/b.jpg")) is None
    cache.write("set", Path("a/b.jpg"), taught)
    again = cache.read("set", Path("elsewhere/b.jpg"))
    assert again is not None
    assert (again.masks == taught.masks).all()
    assert (again.points == taught.points).all()
    assert (again.quality == taught.quality).all()


def test_points_are_spread_over_the_picture():
    points = spread_points((200, 300), 16, np.random.default_rng(0))
    assert 12 <= len(points) <= 20
    assert (points >= 0).all()
    assert (points < (200, 300)).all()
    quarters = {(y >= 100, x >= 150) for y, x in points}
    assert len(quarters) == 4


@pytest.mark.parametrize("turn", range(8))
def test_answers_follow_the_view_and_its_turn(turn):
    taught = two_squares()
    shape = (300, 200) if turn % 2 else (200, 300)
    view = View(Box(0, 0, 448, 448))
    found = view_taught(taught, view, lambda a: turn_array(a, turn), 4, np.random.default_rng(0))
    assert found.valid.any(1).tolist() == [True, True, False, False]
    for points, masks, valid in zip(found.points[:2], found.masks[:2], found.valid[:2], strict=True):
        y, x = (int((v + 0.5) // 4) for v in points)
        assert all(masks[i, y, x] for i in np.flatnonzero(valid)), "the click lies in the masks that it brought"
    first = int(np.flatnonzero([v.sum() == 2 for v in found.valid])[0])
    whole = np.zeros((448, 448), bool)
    whole[: shape[0], : shape[1]] = turn_array(taught.masks[0, 0], turn)
    assert (found.masks[first, 0] == (whole.reshape(112, 4, 112, 4).sum((1, 3)) >= 8)).all()
    assert not found.valid[first, 2], "a mask of three pixels does not count"


def test_answers_outside_a_view_are_left_out():
    taught = two_squares()
    view = View(Box(10, 20, 122, 132))
    found = view_taught(taught, view, lambda a: a, 4, np.random.default_rng(0))
    assert found.valid.any(1).sum() == 1
    assert found.masks[0, 0].sum() == pytest.approx(40 * 40, abs=0)
    assert found.points[0].tolist() == [(35.5 - 10) * 4 - 0.5, (45.5 - 20) * 4 - 0.5]


def batch_of(labels: np.ndarray, masks: np.ndarray, valid: np.ndarray, points: np.ndarray) -> CachedBatch:
    nothing = torch.zeros(len(labels), 0)
    encoding, stem = Encoding(*[nothing] * 6), Stem(*[nothing] * 3)
    return CachedBatch(
        encoding, stem, torch.from_numpy(labels).long(), nothing, nothing, ["none"] * len(labels),
        torch.from_numpy(masks), torch.from_numpy(valid), torch.from_numpy(points),
    )  # fmt: skip


def taught_batch() -> CachedBatch:
    labels = np.zeros((2, 112, 112), np.int64)
    labels[:, 60:90, 60:90], labels[:, :5] = 7, -1
    masks, valid = np.zeros((2, 1, 3, 112, 112), bool), np.zeros((2, 1, 3), bool)
    masks[:, 0, 0, 2:30, 10:30], masks[:, 0, 2, 2:50, 10:50] = True, True
    valid[0, 0, [0, 2]] = True
    points = np.full((2, 1, 2), 79.5, np.float32)
    return batch_of(labels, masks, valid, points)


def test_tasks_are_objects_and_keep_what_is_ignored():
    rngs = [np.random.default_rng(i) for i in range(2)]
    tasks = draw_tasks(taught_batch(), rngs, teacher_p=0.0)
    assert not tasks.taught.any()
    assert (tasks.target == 1).sum() == 2 * 900
    assert (tasks.target[:, :5] == -1).all()
    assert not tasks.others.any()


def test_an_answer_is_clicked_where_it_was_asked_and_the_nearest_mask_becomes_the_target():
    rngs = [np.random.default_rng(i) for i in range(2)]
    tasks = draw_tasks(taught_batch(), rngs, teacher_p=1.0)
    assert tasks.taught.tolist() == [True, False], "a view without an answer has an annotated object"
    two = torch.tensor([[1, 0], [1, 0]])
    clicks = tasks.clicked(ClickBatch(torch.zeros(2, 2, 2), two))
    assert clicks.points[0, 0].tolist() == [19.5, 19.5]
    assert clicks.labels.tolist() == [[1, -1], [1, 0]]
    logits = torch.full((2, 3, 112, 112), -5.0)
    logits[:, 1, 2:48, 10:50] = 5.0
    settled = tasks.settled(logits, torch.tensor([[0.1, 0.9, 0.2]] * 2))
    assert (settled.target[0] == 1).sum() == 45 * 40, "the larger mask, without the ignored rows"
    assert (settled.target[0, :5] == -1).all()
    assert (settled.target[1] == tasks.target[1]).all()


@pytest.mark.slow
def test_the_peer_answers_for_a_set_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    pytest.importorskip("mobile_sam", reason="mobilesam-mirror, the peer, is not installed")
    from relay_training.mobilesam import sam_registry

    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "data" / "set" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(tmp_path / f"data/set/images/{name}.jpg")
        Image.fromarray(np.ones((60, 80), np.uint8)).save(tmp_path / f"data/set/labels/{name}.png")
    torch.manual_seed(0)
    sam = sam_registry()["vit_t"](checkpoint=None).train().eval()
    from mobile_sam import SamPredictor

    # Weights that nobody trained rate their masks as they like.
    monkeypatch.setattr(teaching, "GOOD", -1e9)
    cache = TeacherCache(tmp_path / "out")
    index = load_index(tmp_path / "data")
    with torch.inference_mode():
        steps = teach(index, cache, SamPredictor(sam), points=4)
        assert next(steps) == 1
        written = list((tmp_path / "out").rglob("*.npz"))
        assert len(written) == 1
        before = written[0].stat().st_mtime_ns
        assert list(teach(index, cache, SamPredictor(sam), points=4)) == [1, 2]
        assert written[0].stat().st_mtime_ns == before
        direct = ask(SamPredictor(sam), np.asarray(Image.open(index.images[0])), np.array([[5, 6]], np.float32))
    for name in ("a", "b"):
        taught = cache.read("set", Path(f"{name}.jpg"))
        assert taught is not None
        assert taught.masks.shape[1:] == (3, 60, 80)
        assert len(taught.points) >= 3
    assert direct.masks.shape == (1, 3, 60, 80)
