"""Accepted objects teach a search for every object: what the model thinks of such ones, and what they look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from slides import Disc, draw
from whole_services import BrightSees

from napari_relay.fullimage.candidates import Candidate, Filters
from napari_relay.fullimage.job import LocalPool, find_candidates
from napari_relay.fullimage.jobfile import JobFile
from napari_relay.fullimage.request import Request, keep_taught, kept_taught, plan_work, teach
from napari_relay.fullimage.sees import Masks, Sees
from napari_relay.fullimage.taught import LEAST_IOU
from napari_relay.fullimage.work import Work, apart
from napari_relay.geometry import Box
from napari_relay.samples import sample_path
from napari_relay.sources import Source, open_image
from napari_relay.store import Project
from napari_relay.store.tiles import tight_box
from napari_relay.views import Stretch, measure_stretch

SHAPE = (420, 430)
DISCS = [Disc(60 + 100 * (i // 4), 50 + 100 * (i % 4), 20 + i % 3) for i in range(15)]


class ShySees(BrightSees):
    """Right, but never as sure of it as the usual threshold wants."""

    def ask(self, crops: Any, clicks: Any, /) -> Masks:
        masks = super().ask(crops, clicks)
        return Masks(masks.logits, masks.scores * 0.7)


@pytest.fixture
def source() -> Iterator[Source]:
    with open_image(draw(SHAPE, DISCS)) as opened:
        yield opened


@pytest.fixture
def project(tmp_path: Path, source: Source) -> Iterator[Project]:
    with Project.open(tmp_path / "a.relay", fingerprint=source.fingerprint, shape=source.shape) as opened:
        yield opened


def accept(project: Project, discs: list[Disc]) -> None:
    for disc in discs:
        mask = disc.mask(SHAPE)
        box = tight_box(Box(0, 0, *SHAPE), mask)
        project.accept(box, mask[box.slices])


def planned(source: Source, project: Project, request: Request) -> Work:
    return plan_work(source, project, lambda: Stretch.none(3), request)


def search(folder: Path, source: Source, work: Work, sees: Sees) -> list[Candidate]:
    with JobFile(folder) as job:
        steps = find_candidates(job, work, LocalPool(work, source, sees), Box(0, 0, *source.shape))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return list(end.value[0])


def test_thresholds_come_down_to_what_accepted_objects_reach(
    source: Source, project: Project, tmp_path: Path
) -> None:
    request = Request(step=0)
    untaught = planned(source, project, request)
    assert search(tmp_path / "0", source, untaught, ShySees()) == []
    accept(project, DISCS[:5])

    work = teach(source, project, request, planned(source, project, request), ShySees())

    assert work.filters.min_iou == pytest.approx(0.9 * 0.7 - 0.02, abs=1e-3)
    assert 0.5 <= work.filters.min_stability <= Filters().min_stability
    assert work.filters.diameter == pytest.approx(41, abs=2)
    found = search(tmp_path / "1", source, work, ShySees())
    assert all(any(one.box.contains(disc.y, disc.x) for one in found) for disc in DISCS)


def test_they_never_go_up_nor_below_their_floor(source: Source, project: Project) -> None:
    class Hopeless(BrightSees):
        def ask(self, crops: Any, clicks: Any, /) -> Masks:
            masks = super().ask(crops, clicks)
            return Masks(masks.logits, masks.scores * 0.2)

    accept(project, DISCS[:5])
    work = planned(source, project, Request(step=0))

    assert teach(source, project, Request(step=0), work, BrightSees()).filters.min_iou == Filters().min_iou
    assert teach(source, project, Request(step=0), work, Hopeless()).filters.min_iou == LEAST_IOU


def test_what_was_asked_for_wins_and_few_objects_say_nothing(source: Source, project: Project) -> None:
    asked = Request(step=0, min_iou=0.66, min_stability=0.81)
    accept(project, DISCS[:3])
    work = planned(source, project, asked)
    assert teach(source, project, asked, work, ShySees()) is work

    accept(project, DISCS[3:8])
    filters = teach(source, project, asked, planned(source, project, asked), ShySees()).filters

    assert (filters.min_iou, filters.min_stability) == (0.66, 0.81)


def test_a_job_that_goes_on_is_taught_the_same(source: Source, project: Project, tmp_path: Path) -> None:
    accept(project, DISCS[:6])
    plain = planned(source, project, Request(step=0))
    work = teach(source, project, Request(step=0), plain, ShySees())
    assert kept_taught(tmp_path, plain) is None
    keep_taught(tmp_path, work)
    accept(project, DISCS[6:])

    again = kept_taught(tmp_path, plain)

    assert again is not None
    assert again.known is not None
    assert work.known is not None
    assert again.filters == work.filters
    np.testing.assert_array_equal(again.known.objects, work.known.objects)
    keep_taught(tmp_path, plain)
    assert kept_taught(tmp_path, replace(plain, filters=Filters(0.1))) is not None


def test_points_keep_their_distance_from_the_first_ones() -> None:
    first, then = np.array([[10, 10]], np.float32), np.array([[12, 10], [40, 40]], np.float32)

    np.testing.assert_array_equal(apart(first, then, 16), [[10, 10], [40, 40]])
    np.testing.assert_array_equal(apart(first[:0], then, 16), then)
    np.testing.assert_array_equal(apart(first, then[:0], 16), first)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_accepted_nuclei_of_stained_tissue_find_the_others(tmp_path: Path) -> None:
    from napari_relay.fullimage.direct import DirectSees
    from napari_relay.predictor import load_predictor

    labels = np.asarray(Image.open(sample_path("stained_nuclei_labels.png"))).astype(int)
    sees = DirectSees(load_predictor("small", device="cpu", threads=1))
    others = {}
    with (
        open_image(sample_path("stained_nuclei.jpg")) as source,
        Project.open(tmp_path / "a.relay", fingerprint=source.fingerprint, shape=source.shape) as project,
    ):
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            mask = labels[place] == number
            box = Box(place[0].start, place[1].start, place[0].stop, place[1].stop)
            if number % 2:
                project.accept(box, mask)
            else:
                others[number] = int(mask.sum())
        plain = plan_work(source, project, lambda: measure_stretch(source), Request())
        works = {"plain": plain, "taught": teach(source, project, Request(), plain, sees)}
        recall = {name: _recall(search(tmp_path / name, source, work, sees), labels, others)
                  for name, work in works.items()}  # fmt: skip

    assert recall["taught"] >= 0.8
    assert recall["taught"] > recall["plain"]


def _recall(found: list[Candidate], labels: np.ndarray, wanted: dict[int, int]) -> float:
    hit = set()
    for one in found:
        inside = labels[one.box.slices][one.mask]
        for number, area in wanted.items():
            shared = int((inside == number).sum())
            if shared > 0.5 * (one.area + area - shared):
                hit.add(number)
    return len(hit) / len(wanted)
