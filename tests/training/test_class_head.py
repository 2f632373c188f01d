"""The class head learns what was said, and only that."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.fullimage.request import class_head_path
from napari_relay.geometry import Box
from napari_relay.model.class_card import read_class_card
from napari_relay.model.class_head import ClassHead
from napari_relay.model.encoder import Encoding
from napari_relay.predictor import Predictor, load_predictor
from napari_relay.predictor.classes import load_class_head, save_class_head
from napari_relay.samples import sample_path
from napari_relay.sources import Source, open_image
from napari_relay.store import Project
from relay_training.class_head import ClassReport, train_class_head
from relay_training.class_head_material import ClassLesson, material_of, targets_of, views_of


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("step0", device="cpu", dtype="float32")


@pytest.fixture
def source() -> Iterator[Source]:
    with open_image(sample_path("coins.png")) as opened:
        yield opened


@pytest.fixture
def project(tmp_path: Path, source: Source) -> Iterator[Project]:
    """Half of the coins accepted, three patches of ground painted, one wrong proposal rejected."""
    labels = np.asarray(Image.open(sample_path("coins_labels.png")))
    with Project.open(tmp_path / "coins.png.relay", fingerprint=source.fingerprint, shape=source.shape) as opened:
        opened.overlap = "allow"  # type: ignore[assignment]
        for number in range(1, 13):
            opened.accept(Box(0, 0, *labels.shape), labels == number, class_name="coin")
        for box in (Box(0, 0, 20, 380), Box(75, 60, 85, 330), Box(280, 0, 303, 300)):
            ground = np.zeros(labels.shape, bool)
            ground[box.slices] = labels[box.slices] == 0
            opened.accept(Box(0, 0, *labels.shape), ground, class_name="background")
        wrong = opened.accept(Box(220, 0, 240, 20), np.ones((20, 20), bool), class_name="coin")
        opened.set_state(wrong.id, "rejected")
        yield opened


def learn(project: Project, source: Source, predictor: Predictor, **lesson: Any) -> ClassReport:
    steps = train_class_head(project, source, predictor=predictor, lesson=ClassLesson(**lesson))
    total = None
    while True:
        try:
            at = next(steps)
        except StopIteration as end:
            assert total == at.done == at.total
            return end.value  # type: ignore[no-any-return]
        total = at.total


@pytest.mark.parametrize("kind", ["fpn", "pup", "mla"])
def test_every_decoder_gives_logits_at_stride_4_and_learns_in_every_part(kind: Any) -> None:
    torch.manual_seed(0)
    head = ClassHead(kind, 3)
    encoding = Encoding(
        torch.randn(2, 64, 112, 112), torch.randn(2, 128, 56, 56), torch.randn(2, 160, 28, 28),
        torch.randn(2, 320, 28, 28), torch.randn(2, 256, 28, 28), torch.randn(2, 4, 320),
    )  # fmt: skip

    logits = head(encoding)
    logits.square().mean().backward()

    assert logits.shape == (2, 3, 112, 112)
    # A bias of the keys moves every score of a softmax alike.
    learning = [parameter for name, parameter in head.named_parameters() if "k_proj.bias" not in name]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in learning)
    none = Encoding(*(getattr(encoding, n) for n in ("f4", "f8", "f16a", "f16b", "image")), torch.zeros(2, 0, 320))
    assert head.eval()(none).shape == (2, 3, 112, 112)


def test_only_what_was_said_is_a_target(project: Project, source: Source) -> None:
    lesson = ClassLesson(views=4)
    material = material_of(project, source, lesson)
    labels = np.asarray(Image.open(sample_path("coins_labels.png")))

    assert material.names == ("background", "coin")
    assert len(material.held_out) >= 2
    for view in views_of(source.shape, material, lesson):
        target, measured, taught = targets_of(project, source.shape, view, material, lesson.plane)
        inside = np.ix_(*(np.minimum(np.arange(112) * 4 + 2 + o, n - 1) for o, n in
                          zip((view.box.y0, view.box.x0), labels.shape, strict=True)))  # fmt: skip
        truth = labels[inside]
        assert set(np.unique(truth[target == 1])) <= set(range(1, 13))
        assert not (truth[target == 0] > 0).any()
        assert (target[measured > 0] == -1).all(), "what measures does not teach"
        assert ((taught > 0) == (target >= 0)).all()
        assert (target[truth > 12] == -1).all(), "coins that nobody accepted say nothing"


@pytest.mark.slow
def test_it_tells_coins_from_ground_and_is_the_same_each_time(
    project: Project, source: Source, predictor: Predictor, tmp_path: Path
) -> None:
    first = learn(project, source, predictor, views=10, steps=40)
    again = tmp_path / "again.safetensors"
    assert first.better
    worse = learn(project, source, predictor, views=10, steps=1)
    assert not worse.better
    assert (worse.before, worse.path.read_bytes()) == (first.accuracy, first.path.read_bytes())
    first.path.rename(again)
    second = learn(project, source, predictor, views=10, steps=40)

    assert first.path == class_head_path(project.path)
    assert first.accuracy is not None
    assert first.accuracy > 0.9 > first.chance  # type: ignore[operator]
    assert second.loss == first.loss
    assert second.path.read_bytes() == again.read_bytes()
    card = read_class_card(first.path)
    assert (card.names, card.step, card.encoder) == (("background", "coin"), 0, predictor.encoder_hash)
    head, _ = load_class_head(first.path, predictor)
    assert not head.training


@pytest.mark.slow
def test_swapped_classes_on_half_of_the_objects_are_not_kept(
    project: Project, source: Source, predictor: Predictor, tmp_path: Path
) -> None:
    labels = np.asarray(Image.open(sample_path("coins_labels.png")))
    for number in range(13, 25):
        project.accept(Box(0, 0, *labels.shape), labels == number, class_name="coin")
    for x in range(0, 380, 40):
        strip = np.zeros(labels.shape, bool)
        strip[160:170, x : x + 40] = labels[160:170, x : x + 40] == 0
        project.accept(Box(0, 0, *labels.shape), strip, class_name="background")
    shutil.copy(project.path, tmp_path / "truth.relay")
    shutil.copy(f"{project.path}-wal", tmp_path / "truth.relay-wal")
    objects = [stored for stored in project.objects() if stored.state == "accepted"]
    for stored in objects[::2]:
        project.set_class(stored.id, "coin" if stored.class_name == "background" else "background")

    with Project.open(tmp_path / "truth.relay", create=False) as truth:
        steps = train_class_head(
            project, source, predictor=predictor, lesson=ClassLesson(views=10, steps=40), truth=truth
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                report = end.value
                break

    assert not report.better, report.reason
    assert not class_head_path(project.path).exists()


def test_one_class_alone_teaches_nothing(project: Project, source: Source, predictor: Predictor) -> None:
    project.set_class([stored.id for stored in project.objects()], "coin")
    project.delete([stored.id for stored in project.objects() if stored.state == "rejected"])

    with pytest.raises(UsageError, match="background"):
        learn(project, source, predictor)


def test_a_head_of_another_encoder_is_refused(tmp_path: Path, predictor: Predictor) -> None:
    from napari_relay.model.class_card import ClassCard

    path = tmp_path / "head.safetensors"
    save_class_head(path, ClassHead("fpn", 2), ClassCard("fpn", ("background", "a"), ("#000000",) * 2, "other", 0))
    with pytest.raises(CheckpointError, match="another encoder"):
        load_class_head(path, predictor)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        load_class_head(path, predictor)
