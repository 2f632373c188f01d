"""What a project teaches: the held-out fifth never moves, folds share no object, turned views keep masks and clicks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.learn import Material
from napari_relay.sources import open_image
from napari_relay.store import Project
from napari_relay.views import View, ViewPair, view_pair
from relay_training.data import turn_array
from relay_training.finetune.lessons import lessons_of
from relay_training.finetune.material import ENOUGH, Example, OpenMaterial, drawn, is_held_out, split
from relay_training.finetune.views import Look, clicks_in_look, looks_at, mask_in_view, read_labels, read_look

BLOCKS = st.lists(st.integers(0, 400), min_size=12, max_size=300)


def examples(blocks: list[int], rejected: frozenset[int] = frozenset()) -> tuple[list[Example], list[str]]:
    found = [
        Example(0, i, Box(0, 0, 1, 1), Plane(), (), "a", rejected=i in rejected) for i in range(len(blocks))
    ]
    return found, [f"image/0/0/{b}/0" for b in blocks]


@given(BLOCKS)
def test_no_object_teaches_and_measures_and_every_measured_one_is_accepted(blocks: list[int]) -> None:
    found, names = examples(blocks, frozenset({0, 5}))
    if len(found) < 12:
        return
    deal = split(found, names)

    for fold in deal.folds:
        assert not {e.id for e in fold.teach} & {e.id for e in fold.measure}
        assert not any(e.rejected for e in fold.measure)
    if deal.mode == "folds":
        assert sorted(e.id for e in deal.measured) == [e.id for e in found if not e.rejected]
        assert deal.final == tuple(found)
        assert len(deal.folds) == 5
    else:
        assert len(deal.measured) >= ENOUGH
        assert not {e.id for e in deal.final} & {e.id for e in deal.measured}


@given(BLOCKS, BLOCKS)
def test_what_is_held_out_stays_held_out_whatever_else_is_annotated(blocks: list[int], more: list[int]) -> None:
    first, second = split(*examples(blocks)), split(*examples(blocks + more))
    if first.mode == second.mode == "held out":
        assert {e.id for e in first.measured} == {e.id for e in second.measured if e.id < len(blocks)}


def test_a_fifth_of_the_blocks_is_held_out() -> None:
    out = [is_held_out(f"an image/0/0/{y}/{x}") for y in range(60) for x in range(60)]
    assert 0.17 < np.mean(out) < 0.23


def test_blocks_are_dealt_out_whole_where_there_are_ten_and_objects_where_not() -> None:
    many, names = examples([i % 12 for i in range(60)])
    for fold in split(many, names).folds:
        assert not {names[e.id] for e in fold.teach} & {names[e.id] for e in fold.measure}
    one, same = examples([0] * 24)
    assert sorted(len(fold.measure) for fold in split(one, same).folds) == [4, 5, 5, 5, 5]


def test_too_few_objects_are_refused() -> None:
    with pytest.raises(UsageError, match="9 accepted"):
        split(*examples([1] * 9))


def test_of_very_many_objects_the_same_ones_are_drawn_every_time() -> None:
    found, _ = examples(list(range(500)))
    some = drawn(found, 100)
    assert len(some) == 100
    assert drawn(found[:400] + found[400:], 100) == some


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, sample_data: Path) -> Iterator[OpenMaterial]:
    """The coins with three objects: accepted, rejected, and one on top of the first."""
    folder = tmp_path_factory.mktemp("coins")
    shutil.copy(sample_data / "coins.png", folder)
    image = folder / "coins.png"
    y, x = np.mgrid[:60, :60]
    disc = (y - 30) ** 2 + (x - 30) ** 2 < 28**2
    with (
        open_image(image) as source,
        Project.open(
            folder / "coins.png.relay", fingerprint=source.fingerprint, shape=source.shape, image_name="coins.png"
        ) as project,
    ):
        first = Box(20, 100, 80, 160)
        project.accept(first, disc, clicks=[Click(50, 130), Click(22, 102, False)], overlap="allow")
        project.accept(Box(150, 200, 210, 260), disc, state="rejected", clicks=[Click(180, 230)])
        project.accept(Box(60, 100, 120, 160), disc, overlap="allow")
    with OpenMaterial(Material(folder / "coins.png.relay", str(image))) as opened:
        yield opened


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_view_turns_pixels_labels_mask_and_clicks_alike(material: OpenMaterial, turn: int) -> None:
    first, refused, _ = material.examples(0)
    pair = view_pair(material.source.shape, View(Box(0, 80, 240, 320)))
    straight, turned = Look(0, Plane(), pair), Look(0, Plane(), pair, turn)

    plain = read_look(material, straight).local.transpose(1, 2, 0)
    assert np.array_equal(read_look(material, turned).local, turn_array(plain, turn).transpose(2, 0, 1))
    before, after = (read_labels(material, look, [refused]) for look in (straight, turned))
    assert np.array_equal(after.labels, turn_array(before.labels, turn))
    mask = turn_array(mask_in_view(material, first.id, pair.local), turn)
    rows = clicks_in_look(first.clicks, turned, material.source.shape)
    assert [bool(mask[round(float(y)), round(float(x))]) for y, x, _ in rows] == [True, False]
    assert rows[:, 2].tolist() == [1, 0]


def test_the_geometry_of_a_turned_view_is_that_of_the_turned_image(material: OpenMaterial) -> None:
    pair = ViewPair(View(Box(0, 80, 56, 136)), View(Box(0, 0, 224, 224)))
    mirrored = read_look(material, Look(0, Plane(), pair, 4)).pair
    dy, dx, k, scale = pair.geometry
    assert mirrored.geometry == pytest.approx((dy, -dx, k, scale))


def test_a_row_knows_its_object_the_others_and_what_nobody_knows(material: OpenMaterial) -> None:
    found = material.examples(0)
    wanted, lessons = lessons_of([material], found, 4, seed=0)

    assert {row.key for rows in lessons for row in rows} == {key for key, _ in wanted}
    whole = lessons[0][0]
    below = mask_in_view(material, found[2].id, looks_at(found[0], material.source.shape, 1, 0)[0].pair.local) > 0
    own = whole.target == 1
    assert own.any()
    assert (whole.others & below & ~own).any(), "another object is known to be one"
    assert not (whole.others & own).any()
    assert not whole.known[-20:, :20].any(), "nothing lies there"
    refused = lessons[1][0]
    assert refused.rejected
    assert (refused.target == -1).all()
    assert (whole.others & refused.refused).any(), "a rejected proposal counts as something else"


def test_an_overlapped_object_keeps_its_own_mask(material: OpenMaterial) -> None:
    first = material.examples(0)[0]
    view = View(Box(0, 80, 112, 192), 448)
    mask = mask_in_view(material, first.id, view)
    assert mask.sum() == pytest.approx(material.project.object(first.id).area, rel=0.03)


def test_painted_background_is_no_object_to_click(tmp_path: Path, sample_data: Path) -> None:
    shutil.copy(sample_data / "coins.png", tmp_path)
    image = tmp_path / "coins.png"
    with (
        open_image(image) as source,
        Project.open(
            tmp_path / "coins.png.relay", fingerprint=source.fingerprint, shape=source.shape, image_name="coins.png"
        ) as project,
    ):
        square = np.ones((20, 20), bool)
        project.accept(Box(0, 0, 20, 20), square, class_name="background")
        coin = project.accept(Box(30, 0, 50, 20), square, class_name="coin")
        project.accept(Box(60, 0, 80, 20), square, class_name="background", state="rejected")
    with OpenMaterial(Material(tmp_path / "coins.png.relay", str(image))) as opened:
        assert [(example.id, example.class_name) for example in opened.examples(0)] == [(coin.id, "coin")]
