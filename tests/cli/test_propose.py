"""`propose`: words in; proposals in the project, a report and an exit code out."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_relay.geometry import Box
from napari_relay.samples import sample_path
from napari_relay.store import Project

FULLIMAGE = Path(__file__).parent.parent / "fullimage"
if str(FULLIMAGE) not in sys.path:
    sys.path.insert(0, str(FULLIMAGE))

from slides import Disc, draw  # noqa: E402

Run = Callable[..., Any]
SHAPE = (300, 320)
DISCS = [Disc(60, 60, 22), Disc(70, 240, 20), Disc(220, 90, 24), Disc(210, 250, 21)]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in model in place of the bundled one."""
    _use_stand_in(monkeypatch)


def _use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_relay.workspace.opening as opening

    monkeypatch.setattr(opening.open_workspace, "__kwdefaults__", {
        **opening.open_workspace.__kwdefaults__, "service": "whole_services:make",
    })  # fmt: skip


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "a.png"
    path.parent.mkdir()
    Image.fromarray(draw(SHAPE, DISCS)).save(path)
    return path


def proposals(image: Path) -> list[Any]:
    with Project.open(image.with_name(f"{image.name}.relay"), create=False, read_only=True) as project:
        return [stored for stored in project.objects() if stored.state == "proposed"]


def accept_first(image: Path) -> int:
    from napari_relay.sources import open_image

    with (
        open_image(image) as source,
        Project.open(
            image.with_name(f"{image.name}.relay"), fingerprint=source.fingerprint, shape=source.shape,
        ) as project,
    ):  # fmt: skip
        return project.accept(Box(0, 0, *SHAPE), DISCS[0].mask(SHAPE), class_name="disc").id


def test_every_object_is_proposed_once(run: Run, image: Path) -> None:
    ran = run("propose", image, "--json")

    report = json.loads(ran.out)
    assert ran.code == 0
    assert (report["mode"], report["n"], report["joined"]) == ("instances", 4, 0)
    assert [stored.id for stored in proposals(image)] == report["ids"]
    again = run("propose", image)
    assert again.code == 0
    assert "0 objects proposed" in again.out


def test_similar_objects_get_the_class_of_their_example(run: Run, image: Path) -> None:
    example = accept_first(image)

    ran = run("propose", image, "--mode", "similar", "--like", example, "--scale", 1)

    assert ran.code == 0, ran.err
    found = proposals(image)
    assert [stored.class_name for stored in found] == ["disc"] * 3
    assert all(any(stored.box.contains(disc.y, disc.x) for stored in found) for disc in DISCS[1:])


def test_one_plane_of_many_is_worked_on(run: Run, tmp_path: Path) -> None:
    empty = np.full((*SHAPE, 3), 50, np.uint8)
    stack = np.stack([empty, draw(SHAPE, DISCS)])[..., 0]  # [z, y, x]
    tifffile.imwrite(tmp_path / "z.ome.tif", stack, metadata={"axes": "ZYX"})

    assert json.loads(run("propose", tmp_path / "z.ome.tif", "--json").out)["n"] == 0
    ran = run("propose", tmp_path / "z.ome.tif", "--plane", "0,1", "--json")

    assert json.loads(ran.out)["n"] == 4
    assert {stored.plane.z for stored in proposals(tmp_path / "z.ome.tif")} == {1}
    assert run("propose", tmp_path / "z.ome.tif", "--plane", "0,2").code == 2
    assert not (tmp_path / "z.ome.tif.relay.job").exists()


def test_only_what_is_sure_enough_is_proposed(run: Run, image: Path) -> None:
    ran = run("propose", image, "--min-iou", "0.95", "--json")
    assert json.loads(ran.out)["n"] == 0

    ran = run("propose", image, "--min-iou", "0.4", "--min-stability", "0.5", "--json")
    assert json.loads(ran.out)["n"] == 4


def test_a_region_is_a_part_of_the_image(run: Run, image: Path) -> None:
    assert run("propose", image, "--region", "0,0,150,150").code == 0

    (only,) = proposals(image)
    assert only.box.contains(60, 60)


def test_a_folder_is_one_job_with_a_project_for_each_image(run: Run, image: Path) -> None:
    other = image.with_name("b.png")
    Image.fromarray(draw(SHAPE, DISCS[:2])).save(other)

    ran = run("propose", image.parent, "--json")

    assert json.loads(ran.out)["n"] == 6
    assert (len(proposals(image)), len(proposals(other))) == (4, 2)
    assert not (image.parent / ".relay.propose.json").exists()


def test_an_example_of_one_image_is_looked_for_in_the_folder(run: Run, image: Path) -> None:
    other = image.with_name("b.png")
    Image.fromarray(draw(SHAPE, DISCS[1:3])).save(other)
    example = accept_first(image)

    ran = run("propose", image.parent, "--mode", "similar", "--like", f"a.png:{example}", "--class", "disc")

    assert ran.code == 0, ran.err
    assert (len(proposals(image)), len(proposals(other))) == (3, 2)
    assert run("propose", image.parent, "--mode", "similar", "--like", example).code == 2


def test_an_interrupted_folder_goes_on_with_the_image_it_was_at(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_relay.cli.propose as command

    shutil.copy(image, image.with_name("b.png"))
    real, asked = command.propose_image, []

    def interrupted(path: str, *rest: Any) -> Any:
        asked.append(Path(path).name)
        if asked == ["a.png", "b.png"]:
            raise KeyboardInterrupt
        return real(path, *rest)

    monkeypatch.setattr(command, "propose_image", interrupted)
    assert run("propose", image.parent).code == 130
    assert run("propose", image.parent).code == 2
    ran = run("propose", image.parent, "--resume", "--json")

    assert asked == ["a.png", "b.png", "b.png"]
    assert json.loads(ran.out)["n"] == 8


def test_an_interrupted_run_says_how_it_goes_on(run: Run, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_relay.fullimage.job import LocalPool

    real = LocalPool.run

    def interrupted(self: LocalPool, tasks: Any) -> Any:
        yield from real(self, tasks)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalPool, "run", interrupted)
    ran = run("propose", image)

    assert ran.code == 130
    assert "--resume" in ran.err
    assert (image.parent / "a.png.relay.job").is_dir()
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "200")
    _use_stand_in(monkeypatch)
    assert run("propose", image, "--resume").code == 0
    assert len(proposals(image)) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--mode", "magic"], "no mode 'magic'"),
        (["--mode", "similar"], "name one that is there"),
        (["--like", "3"], "--like is for --mode similar"),
        (["--mode", "similar", "--like", "x"], "--like 'x' is no object"),
        (["--mode", "similar", "--like", "9"], "no object 9"),
        (["--region", "1,2,3"], "--region '1,2,3' is not 4 whole numbers"),
        (["--region", "900,900,999,999"], "no pixel in the image"),
        (["--scale", "0"], "--scale 0.0 is not possible"),
        (["--resume", "--anew"], "do not go together"),
        (["--min-iou", "7"], "7.0 is no share"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_code_2(
    run: Run, image: Path, words: list[str], sentence: str
) -> None:
    ran = run("propose", image, *words)

    assert ran.code == 2
    assert sentence in ran.err
    assert not (image.parent / "a.png.relay.job").exists()


def test_help_has_examples(run: Run) -> None:
    ran = run("propose", "--help")

    assert ran.code == 0
    assert "napari-relay propose slide.svs --resume" in ran.out


def test_nothing_on_the_image_is_no_failure(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((200, 200), 90, np.uint8)).save(tmp_path / "empty.png")

    ran = run("propose", tmp_path / "empty.png", "--json")

    assert (ran.code, json.loads(ran.out)["n"]) == (0, 0)


def put_class_head(image: Path) -> None:
    from napari_relay.fullimage.request import class_head_path
    from napari_relay.model.class_card import ClassCard
    from napari_relay.model.class_head import ClassHead
    from napari_relay.predictor.classes import save_class_head

    card = ClassCard("fpn", ("background", "disc"), ("#808080", "#ff0000"), "bright", 0)
    save_class_head(class_head_path(image.with_name(f"{image.name}.relay")), ClassHead("fpn", 2), card)


def test_a_class_for_every_pixel_goes_where_it_is_told(run: Run, image: Path, tmp_path: Path) -> None:
    accept_first(image)
    put_class_head(image)

    ran = run("propose", image, "--mode", "semantic", "--out", tmp_path / "map.ome.zarr", "--json")

    report = json.loads(ran.out)
    assert (ran.code, report["classes"]) == (0, ["background", "disc"])
    level = np.asarray(zarr.open_group(report["out"], mode="r")["0"])
    assert level.shape == SHAPE
    truth = np.any([disc.mask(SHAPE) for disc in DISCS], axis=0)
    assert np.count_nonzero((level == 1) & truth) / np.count_nonzero((level == 1) | truth) > 0.9
    assert run("propose", image, "--mode", "semantic", "--out", tmp_path / "map.ome.zarr").code == 2


def test_a_folder_of_class_maps_goes_on_with_the_image_it_was_at(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_relay.cli.propose_classes as command

    images = [image, image.with_name("b.png"), image.with_name("c.png")]
    for other in images[1:]:
        shutil.copy(image, other)
    for one in images:
        put_class_head(one)
    maps = [one.with_name(f"{one.name}.classes.ome.zarr") for one in images]
    real, asked = command.classify_image, []

    def interrupted(path: str, *rest: Any, **more: Any) -> Any:
        asked.append(Path(path).name)
        done = real(path, *rest, **more)
        if asked == ["a.png", "b.png"]:
            raise KeyboardInterrupt  # its result is there, the folder's job does not know it yet
        return done

    monkeypatch.setattr(command, "classify_image", interrupted)
    assert run("propose", image.parent, "--mode", "semantic").code == 130
    written = {path: path.stat().st_mtime_ns for one in maps[:2] for path in one.rglob("*")}
    assert run("propose", image.parent, "--mode", "semantic").code == 2
    assert run("propose", image.parent, "--mode", "semantic", "--resume", "--probabilities").code == 2
    ran = run("propose", image.parent, "--mode", "semantic", "--resume", "--json")

    assert ran.code == 0, ran.err
    assert asked == ["a.png", "b.png", "c.png"]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    rows = json.loads(ran.out)["images"]
    assert [Path(row["out"]) for row in rows] == maps
    assert [row["classes"] for row in rows] == [["background", "disc"]] * 3
    assert not (image.parent / ".relay.propose.json").exists()
    assert run("propose", image.parent, "--mode", "semantic").code == 2, "nothing is replaced unasked"


def test_a_class_map_killed_half_way_in_a_folder_goes_on_there(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_relay.fullimage.job import LocalPool

    other = image.with_name("b.png")
    Image.fromarray(draw((500, 800), DISCS)).save(other)
    for one in (image, other):
        put_class_head(one)
    real, done = LocalPool.run, []

    def counted(self: LocalPool, tasks: Any) -> Any:
        for task, found in real(self, tasks):
            done.append(task.name)
            yield task, found
            if len(done) == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(LocalPool, "run", counted)
    assert run("propose", image.parent, "--mode", "semantic", "--everywhere").code == 130
    assert other.with_name("b.png.relay.job").is_dir()
    ran = run("propose", image.parent, "--mode", "semantic", "--everywhere", "--resume", "--json")

    assert ran.code == 0, ran.err
    first = len({"view 0 0 0 0", "cell 0 0 0 0"} & set(done[:2]))
    assert first == 2
    assert len(done[2:]) == len(set(done[2:])), "no task of the second image is done twice"
    assert len(json.loads(ran.out)["images"]) == 2


def test_what_a_class_head_cannot_do_is_told(run: Run, image: Path) -> None:
    accept_first(image)
    put_class_head(image)
    with Project.open(image.with_name("a.png.relay"), create=False) as project:
        project.accept(Box(0, 0, 9, 9), np.ones((9, 9), bool), class_name="gland")

    other = run("propose", image, "--mode", "semantic", "--scale", "2")
    known = run("propose", image, "--mode", "semantic")

    assert (other.code, known.code) == (2, 0)
    assert "--relearn" in other.err
    assert "does not know gland" in known.err
    assert run("propose", image, "--mode", "semantic", "--scale", "3").code == 2
    assert run("propose", image, "--mode", "semantic", "--like", "1").code == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_from_first_click_to_a_finished_slide_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands, its click file and its Python, as they stand on the page, with the bundled model."""
    import napari_relay.workspace.opening as opening

    words = {**opening.open_workspace.__kwdefaults__, "service": opening.SERVICE}
    monkeypatch.setattr(opening.open_workspace, "__kwdefaults__", words)
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    section = page.split("## 9. ")[1].split("\n## ")[0]
    shutil.copy(sample_path("coins.png"), "coins.png")
    clicks, python = re.findall(r"```(?:json|python)\n(.*?)```", section, re.DOTALL)
    Path("coins.json").write_text(clicks)

    commands = re.findall(r"^    napari-relay (.*)$", section, re.MULTILINE)
    assert [words.split()[0] for words in commands] == ["segment", "propose", "propose", "propose", "export"]
    for number, command in enumerate(commands):
        ran = run(*command.split())
        assert ran.code == 0, (command, ran.err)
        if number == 1:
            exec(python, {})

    with Project.open(tmp_path / "coins.png.relay", create=False, read_only=True) as project:
        totals = {state: count for (_, state), count in project.totals().items()}
    assert totals["accepted"] > 10
    assert totals["rejected"] == 1
    labels = zarr.open_group("coins.png.classes.ome.zarr", mode="r")["0"]
    assert labels.shape == (303, 384)
    assert Path("coins_labels.tif").exists()
