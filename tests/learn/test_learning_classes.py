"""The class head in a learning job: beside the clicks, by its own gate, promoted by itself."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from napari_relay.fullimage.request import class_head_path
from napari_relay.geometry import Box
from napari_relay.learn import JobFolder, LearnJob, LearnResult, LearnStatus, Material, learn_folder
from napari_relay.model.class_card import read_class_card
from napari_relay.sources import open_image
from napari_relay.store import Project
from napari_relay.workspace.learning import promote_classes
from relay_training.finetune import run as finetune
from relay_training.finetune.class_head import has_classes, wanted
from relay_training.finetune.context import HeadResult
from relay_training.finetune.material import OpenMaterial


def coins_and_ground(folder: Path, sample_data: Path, *, swapped: bool = False) -> Path:
    """A copy of the coins, all accepted, and 20 patches of the ground between them; every second of both `swapped`."""
    folder.mkdir()
    image, project = folder / "coins.png", folder / "coins.png.relay"
    shutil.copyfile(sample_data / "coins.png", image)
    labels = np.asarray(Image.open(sample_data / "coins_labels.png"))
    whole = Box(0, 0, *labels.shape)
    masks = [("coin", labels == number) for number in range(1, 25)]
    for y in (0, 75, 160, 220, 283):
        for x in range(20, 360, 90):
            strip = np.zeros(labels.shape, bool)
            strip[y : y + 14, x : x + 80] = labels[y : y + 14, x : x + 80] == 0
            masks.append(("background", strip))
    with (
        open_image(image) as source,
        Project.open(project, fingerprint=source.fingerprint, shape=source.shape, image_name=source.name) as opened,
    ):
        opened.overlap = "allow"  # type: ignore[assignment]
        for number, (name, mask) in enumerate(masks):
            other = {"coin": "background", "background": "coin"}[name]
            opened.accept(whole, mask, class_name=other if swapped and number % 2 else name)
    return project


@pytest.fixture
def _signals() -> Iterator[None]:
    """A job hears the signals that end it; the tests' own are put back."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


def learned(project: Path, truth: Path | None = None) -> LearnResult:
    """What a job makes of the classes alone; in this process, at the priority of the tests."""
    material = Material(project, str(project.with_suffix("")))
    job = LearnJob((material,), heads=("class",), threads=1, truth=() if truth is None else (truth,))
    folder = JobFolder.make(job)
    finetune.run_job(folder)
    result = LearnResult.read(folder)
    assert result is not None
    assert result.status is LearnStatus.DONE, result.reason
    return result


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_signals")
def test_classes_are_learned_and_promoted_by_themselves(tmp_path: Path, sample_data: Path) -> None:
    project = coins_and_ground(tmp_path / "a", sample_data)
    class_head_path(project).write_bytes(b"another program's")

    result = learned(project)

    assert (result.better, result.checkpoint, result.anyway) == (False, None, None), "no click changes"
    head = result.heads["class"]
    assert head["better"]
    assert head["accuracy"]["after"] > 0.9 > head["accuracy"]["before"]
    assert head["accuracy"]["low"] > 0
    assert promote_classes(result) == [class_head_path(project)]
    card = read_class_card(class_head_path(project))
    assert card.names == ("background", "coin")
    kept = [path.read_bytes() for path in sorted((learn_folder(project) / "class-heads").glob("*.safetensors"))]
    assert kept == [b"another program's", class_head_path(project).read_bytes()]
    promote_classes(result)
    assert len(list((learn_folder(project) / "class-heads").glob("*.safetensors"))) == 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_signals")
def test_classes_swapped_on_half_of_the_objects_are_not_promoted(tmp_path: Path, sample_data: Path) -> None:
    truth = coins_and_ground(tmp_path / "truth", sample_data)
    poisoned = coins_and_ground(tmp_path / "poisoned", sample_data, swapped=True)

    result = learned(poisoned, truth)

    assert not result.heads["class"]["better"], result.reason
    assert promote_classes(result) == []
    assert not class_head_path(poisoned).exists()


def test_no_classes_are_learned_where_the_encoder_changes(tmp_path: Path, sample_data: Path) -> None:
    project = coins_and_ground(tmp_path / "a", sample_data)
    material = Material(project, str(project.with_suffix("")))
    files = {name: tmp_path / f"{name}.safetensors" for name in ("head.a", "encoder.a")}
    for name, file in files.items():
        save_file({name: np.zeros(1, np.float32)}, file)
    with OpenMaterial(material) as read:

        def asked(**changes: Any) -> bool:
            return wanted(LearnJob((material,), **changes), [read])

        assert asked()
        assert asked(current=str(files["head.a"]))
        assert not asked(current=str(files["encoder.a"]))
        assert not asked(deep=True)
        assert not asked(classes=False)


def test_only_a_project_with_something_to_tell_apart_has_classes(tmp_path: Path, sample_data: Path) -> None:
    project = coins_and_ground(tmp_path / "a", sample_data)
    material = Material(project, str(project.with_suffix("")))
    with Project.open(project, create=False) as opened:
        ground = [stored.id for stored in opened.objects() if stored.class_name == "background"]

        def told() -> bool:
            with OpenMaterial(material) as read:
                return has_classes(read)

        assert told()
        opened.set_state(ground, "rejected")
        assert not told(), "one class and rejected proposals alone are no reason"
        opened.set_class([1, 2, 3], "medal")
        assert told()


def result_of(folder: JobFolder, monkeypatch: pytest.MonkeyPatch, *found: HeadResult) -> tuple[Any, list[Any]]:
    saved: list[Any] = []

    def save(job: Any, folder: Any, context: Any, heads: Any, name: str) -> str:
        saved.append((name, [head.name for head in heads]))
        return f"{name}.safetensors"

    monkeypatch.setattr(finetune, "_save", save)
    context: Any = SimpleNamespace(split=SimpleNamespace(final=(), mode="folds"))
    return finetune._result(folder.job(), folder, context, found), saved


def test_a_class_head_takes_no_part_in_the_checkpoint_of_the_clicks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = JobFolder.make(LearnJob((Material(tmp_path / "a.png.relay", "a.png"),)))
    weights = {"head.x": torch.zeros(1)}
    classes = HeadResult("class", True, "Classes: better.", {"projects": []}, {}, apart=True)

    worse, saved = result_of(folder, monkeypatch, classes, HeadResult("click", False, "Not fewer.", {}, weights))
    assert (worse["better"], worse["checkpoints"]) == (False, {"better": None, "all": "all.safetensors"})
    assert saved == [("all", ["click"])]
    assert worse["heads"]["class"]["better"]

    better, saved = result_of(folder, monkeypatch, classes, HeadResult("click", True, "Fewer.", {}, weights))
    assert (better["better"], better["checkpoints"]["all"]) == (True, "better.safetensors")
    assert saved == [("better", ["click"])]

    sized, saved = result_of(folder, monkeypatch, classes, HeadResult("click", True, "Fewer, by size alone.", {}, {}))
    assert (sized["better"], sized["checkpoints"]["better"]) == (True, "better.safetensors")

    alone, saved = result_of(folder, monkeypatch, classes)
    assert (alone["better"], alone["checkpoints"], saved) == (False, {"better": None, "all": None}, [])


def test_objects_that_contradict_each_other_speak_against_a_head() -> None:
    from relay_training.class_head_verdict import contradiction

    numbers = {i: i % 2 for i in range(40)}
    drawn = {i: i % 4 < 2 for i in numbers}  # half of each class

    assert "contradict each other" in contradiction(drawn, numbers, 0.83)
    assert contradiction({i: i > 3 for i in numbers}, numbers, 0.95) == ""
    assert contradiction({}, numbers, 0.95) == "", "too few objects to deal out"
