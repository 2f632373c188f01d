"""Find similar: what was shown comes first, what was rejected goes down, and the estimate says how much is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slides import Disc, draw
from whole_services import BrightSees, space_of

from napari_relay.fullimage import similar
from napari_relay.fullimage.candidates import Candidate, Filters
from napari_relay.fullimage.plan import Grid, Place
from napari_relay.fullimage.ranking import Ranked, rank, save_search
from napari_relay.fullimage.request import Request, find_examples
from napari_relay.fullimage.work import Work
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source, open_image
from napari_relay.store import NewObject, Project
from napari_relay.views import Stretch, default_mix

SHAPE = (448, 448)
COINS = [Disc(70 + 100 * row, 70 + 100 * column, 36) for row in range(4) for column in range(2)]
BLUE = [Disc(70 + 100 * row, 270 + 100 * column, 36) for row in range(4) for column in range(2)]


@pytest.fixture(scope="module")
def source() -> Any:
    """Warm discs on the left, cold ones of the same size on the right."""
    pixels = draw(SHAPE, COINS)
    pixels[:, 220:] = draw(SHAPE, BLUE)[:, 220:, ::-1]
    with open_image(pixels) as opened:
        yield opened


def search(source: Source, project: Project, like: tuple[int, ...]) -> tuple[similar.Examples, list[Candidate]]:
    grid = Grid(SHAPE, 0, Box(0, 0, *SHAPE))
    work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(3), Filters(min_iou=0.5, min_stability=0.7))
    sees = BrightSees()
    examples = find_examples(source, project, Request(mode="similar", like=like), work, sees)
    view = grid.view(Place(0, 0, 0))
    found = similar.in_view(examples, SHAPE, Place(0, 0, 0), work.crops(source, view), sees, work.filters)
    return examples, found


@pytest.fixture
def project(tmp_path: Path) -> Any:
    with Project.open(tmp_path / "a.relay", fingerprint="f", shape=SHAPE) as opened:
        yield opened


def accept(project: Project, disc: Disc) -> int:
    return project.accept(Box(0, 0, *SHAPE), disc.mask(SHAPE)).id


def over(candidates: list[Candidate], discs: list[Disc]) -> list[Candidate]:
    return [c for c in candidates if any(c.box.contains(d.y, d.x) for d in discs)]


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_like_the_examples_comes_before_what_is_not(source: Source, project: Project, count: int) -> None:
    like = tuple(accept(project, disc) for disc in COINS[:count])

    _, found = search(source, project, like)

    warm, cold = over(found, COINS), over(found, BLUE)
    assert len(warm) == len(COINS)
    assert not cold or min(c.score for c in warm) > max(c.score for c in cold)


def test_rejected_objects_are_background_at_once(source: Source, project: Project) -> None:
    like = (accept(project, COINS[0]),)
    before, _ = search(source, project, like)
    wrong = accept(project, BLUE[0])
    project.set_state(wrong, "rejected")

    after, _ = search(source, project, like)

    vectors = np.stack([_vector(source, disc) for disc in BLUE[1:3]])
    assert (after.scores(vectors) < before.scores(vectors)).all()


def _vector(source: Source, disc: Disc) -> np.ndarray:
    grid = Grid(SHAPE, 0, Box(0, 0, *SHAPE))
    work = Work({0: grid}, Plane(), default_mix(source), Stretch.none(3))
    space = space_of(work.crops(source, grid.view(Place(0, 0, 0))))
    return space[int(disc.y // 16), int(disc.x // 16)]


# -- ranking ---------------------------------------------------------------------------------------------------


def unit(rng: np.random.Generator, middle: np.ndarray, count: int, spread: float) -> np.ndarray:
    vectors = middle + spread * rng.normal(size=(count, len(middle)))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def planted(project: Project, rng: np.random.Generator, right: int, wrong: int) -> tuple[dict[int, bool], np.ndarray]:
    """Proposals of a search that found many right and wrong things; which is which, by id."""
    middles = rng.normal(size=(4, 32))
    vectors = np.concatenate([
        unit(rng, middles[0], right // 2, 0.5), unit(rng, middles[1], right - right // 2, 0.5),
        unit(rng, middles[2], wrong // 2, 0.5), unit(rng, middles[3], wrong - wrong // 2, 0.5),
    ])  # fmt: skip
    truth = np.arange(len(vectors)) < right
    order = rng.permutation(len(vectors))
    vectors, truth = vectors[order], truth[order]
    examples = similar.Examples(unit(rng, middles[0], 5, 0.5), unit(rng, rng.normal(size=32), 4, 0.3), 0.3, 20.0, 0)
    scores = 0.9 * similar.likeness(examples, vectors)
    place = [Box(10 * (n // 100), 10 * (n % 100), 10 * (n // 100) + 8, 10 * (n % 100) + 8) for n in range(len(vectors))]
    mask = np.ones((8, 8), bool)
    done = project.propose(NewObject(box, mask, score=float(s)) for box, s in zip(place, scores, strict=True))
    assert done is not None
    none = np.zeros((0, 0), bool)
    at = Place(0, 0, 0)
    found = [Candidate(at, n, box, none, float(scores[n]), vector=vectors[n]) for n, box in enumerate(place)]
    save_search(project.path, done.ids, found, examples)
    return dict(zip(done.ids, truth.tolist(), strict=True)), scores


def test_a_hundred_decisions_find_nearly_all_of_a_thousand_planted_objects(tmp_path: Path) -> None:
    with Project.open(tmp_path / "a.relay", fingerprint="f", shape=(2000, 2000)) as project:
        truth, _ = planted(project, np.random.default_rng(3), right=1000, wrong=1000)
        decided = 0
        while decided < 100:  # the user looks at those of which the ranking is least sure, ten at a time
            ranked = rank(project)
            assert ranked is not None
            middle = np.argsort(np.abs(ranked.scores - 0.45) + 10.0 * (ranked.decisions >= 0), kind="stable")[:10]
            chosen = [int(ranked.ids[i]) for i in middle]
            for right, state in ((True, "accepted"), (False, "rejected")):
                if group := [i for i in chosen if truth[i] is right]:
                    project.set_state(group, state)
            decided += 10
        ranked = rank(project)
        assert ranked is not None

        right = np.array([truth[int(i)] for i in ranked.ids])
        curve = np.cumsum(right)
        best = max(
            (min(curve[n] / 1000, curve[n] / (n + 1)), n) for n in range(len(curve))
        )
        assert best[0] >= 0.9, "recall and precision at the best threshold"
        threshold = float(ranked.scores[best[1]])
        estimate = ranked.precision(threshold)
        true = float(right[ranked.scores >= threshold].mean())
        assert estimate.share is not None
        assert abs(estimate.share - true) < 0.15


def test_nothing_is_estimated_before_the_first_decision() -> None:
    ranked = Ranked(np.arange(3), np.array([0.9, 0.5, 0.1], np.float32), np.full(3, -1, np.int8))

    assert ranked.precision(0.4) == type(ranked.precision(0.4))(None, None, None, 2, 0)
    assert ranked.above(0.4).tolist() == [0, 1]


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(-1, 1)), min_size=1, max_size=60), st.floats(0, 1))
def test_an_estimate_is_a_share_inside_its_interval(rows: list[tuple[float, int]], threshold: float) -> None:
    scores = np.array([row[0] for row in rows], np.float32)
    ranked = Ranked(np.arange(len(rows)), scores, np.array([row[1] for row in rows], np.int8))

    found = ranked.precision(threshold)

    assert found.count == int((scores >= threshold).sum())
    if found.share is not None:
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.share + 1e-9
        assert found.share - 1e-9 <= found.high <= 1


def test_an_accepted_proposal_does_not_vouch_for_itself(tmp_path: Path) -> None:
    with Project.open(tmp_path / "a.relay", fingerprint="f", shape=(2000, 2000)) as project:
        planted(project, np.random.default_rng(0), right=4, wrong=0)
        before = rank(project)
        assert before is not None
        first = int(before.ids[0])
        project.set_state(first, "accepted")

        after = rank(project)

        assert after is not None
        assert after.scores[after.ids == first] == before.scores[before.ids == first]
        assert first not in after.open_ids
