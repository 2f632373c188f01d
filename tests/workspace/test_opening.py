"""Open, click, accept, close, reopen: all there, in the right places, and nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from engine_checks import said, wait_until

import napari_relay as nr
from napari_relay.engine import InProcessEngine
from napari_relay.errors import (
    CheckpointError,
    EngineClosedError,
    ImageError,
    ProjectLockedError,
    ProjectMismatchError,
    StorageError,
    UsageError,
)
from napari_relay.geometry import Plane
from napari_relay.sources import Source, open_image
from napari_relay.store import Project
from napari_relay.views import Stretch, measure_stretch

Open = Callable[..., nr.Workspace]


def test_what_was_accepted_is_there_after_reopening(opened: Open, photo: Path) -> None:
    with opened(photo) as ws:
        session = ws.session()
        proposal = session.click(100, 150)
        session.click(104, 152, positive=False)
        mask = session.proposal.mask.copy()
        accepted = session.accept(class_name="cell")
    assert proposal.mask.shape == proposal.box.shape

    with opened(photo) as ws:
        (obj,) = ws.project.objects()
        assert (obj.id, obj.class_name, obj.box) == (accepted.id, "cell", accepted.box)
        assert obj.mask.sum() == mask.sum() > 0
        assert obj.checkpoint == "weights in driver"
        assert ws.session().undo() is not None
        assert ws.project.count() == 0


def test_project_and_pyramid_lie_beside_the_image(opened: Open, photo: Path) -> None:
    with opened(photo) as ws:
        assert ws.project.path == photo.with_name("photo.png.relay")
        assert not ws.temporary
        ws.session().click(100, 150)
        session = ws.session()
        session.click(100, 150)
        obj = session.accept()

    labels = zarr.open_group(photo.with_name("photo.png.labels.ome.zarr"), mode="r")["0"][:]
    assert labels.shape == (300, 400)
    assert np.array_equal(labels[obj.box.slices] == obj.id, labels[obj.box.slices] > 0)
    assert (labels == obj.id).sum() == obj.area


def test_a_project_named_elsewhere_takes_its_pyramid_along(opened: Open, photo: Path, tmp_path: Path) -> None:
    with opened(str(photo), tmp_path / "mine.relay") as ws:
        assert ws.project.path == tmp_path / "mine.relay"
        assert ws.pyramid.path == tmp_path / "mine.labels.ome.zarr"

    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.png"]


def test_an_array_has_a_temporary_project_that_goes_on_close(opened: Open) -> None:
    ws = opened(np.zeros((60, 80), np.uint8))
    session = ws.session()
    session.click(30, 40)
    session.accept()
    place = ws.project.path
    assert ws.temporary
    assert place.exists()

    ws.close()

    assert not place.parent.exists()


def test_an_array_with_a_project_keeps_it(opened: Open, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    with opened(pixels, tmp_path / "array.relay") as ws:
        session = ws.session()
        session.click(30, 40)
        session.accept()

    with opened(pixels.copy(), tmp_path / "array.relay") as ws:
        assert ws.project.count() == 1


def test_a_session_works_on_its_plane(opened: Open) -> None:
    with opened(open_image(np.zeros((2, 3, 60, 80), np.uint8), axes="tzyx")) as ws:
        session = ws.session(plane=Plane(1, 2))
        session.click(30, 40)
        obj = session.accept()

        assert obj.plane == Plane(1, 2)
        ws.writer.flush()
        assert ws.pyramid.arrays[0][1, 2].max() == obj.id
        ws.source.close()


def test_the_contrast_is_measured_once_for_all_sessions(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[object] = []

    def measure(source: Source) -> Stretch:
        measured.append(source)
        return measure_stretch(source)

    monkeypatch.setattr("napari_relay.workspace.workspace.measure_stretch", measure)
    with opened(np.random.default_rng(0).integers(0, 60_000, (60, 80), np.uint16)) as ws:
        ws.session()
        assert measured == []

        for _ in range(3):
            ws.session().click(30, 40)

        assert measured == [ws.source]


def test_a_source_handed_in_stays_open(opened: Open, photo: Path) -> None:
    with open_image(photo) as source:
        with opened(source) as ws:
            assert ws.source is source
        assert source.read(nr.Box(0, 0, 1, 1)).shape == (1, 1, 3)


def test_a_source_that_was_opened_here_is_closed(opened: Open, photo: Path) -> None:
    with opened(photo) as ws:
        source = ws.source

    with pytest.raises(ImageError):
        source.read(nr.Box(0, 0, 1, 1))


def test_closing_twice_and_then_clicking(opened: Open, photo: Path) -> None:
    ws = opened(photo)
    session = ws.session()
    session.click(100, 150)

    ws.close()
    ws.close()

    with pytest.raises((EngineClosedError, ImageError)):
        session.click(200, 150)


@pytest.mark.parametrize("engine", ["inprocess", "worker"])
def test_close_while_the_model_encodes(opened: Open, photo: Path, driver: Path, engine: str) -> None:
    (driver / "hold").touch()
    with opened(photo, engine=engine) as ws:
        session = ws.session()
        with ThreadPoolExecutor(1) as thread:
            click = thread.submit(session.click, 100, 150)
            wait_until(lambda: said(driver / "log", "encode_predict"))

            ws.close()

            assert isinstance(click.exception(), EngineClosedError)


def test_two_images_may_share_an_engine(photo: Path, driver: Path) -> None:
    arguments = {"checkpoint": str(driver), "device": "cpu", "dtype": "auto", "threads": None, "cache_bytes": 0}
    with InProcessEngine("workspace_services:make", **arguments) as engine:
        with nr.open_workspace(photo, engine=engine) as first:
            with nr.open_workspace(np.zeros((60, 80), np.uint8), engine=engine) as second:
                assert not first.session().click(100, 150).empty
                assert not second.session().click(30, 40).empty
            assert not first.session().click(200, 150).empty
        assert engine.call("info", lane="control") == {"checkpoint": "driver"}

        with pytest.raises(UsageError, match="shared engine"):
            nr.open_workspace(photo, checkpoint="step0", engine=engine)

    assert (driver / "log").read_text().split().count("made") == 1


# ---- what cannot be opened leaves nothing (the fixture looks) and says why


def test_no_image(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no file"):
        opened(tmp_path / "absent.png")


def test_the_project_of_another_image(opened: Open, photo: Path) -> None:
    Project.open(photo.with_name("photo.png.relay"), fingerprint="other", shape=(300, 400)).close()

    with pytest.raises(ProjectMismatchError):
        opened(photo)


def test_a_project_that_is_open(opened: Open, photo: Path) -> None:
    with opened(photo), pytest.raises(ProjectLockedError):
        opened(photo)


def test_a_label_pyramid_that_is_none(opened: Open, photo: Path) -> None:
    photo.with_name("photo.png.labels.ome.zarr").write_text("in the way")

    with pytest.raises(StorageError, match="in the way"):
        opened(photo)


def test_a_folder_that_cannot_be_written_to(opened: Open, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(StorageError, match="--project"):
        opened(photo)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a user who may not write there"
)
def test_a_folder_that_really_cannot_be_written_to(photo: Path) -> None:
    script = (
        "import os, napari_relay as nr\n"
        f"source = nr.open_image({str(photo)!r})\n"
        "nr.open_workspace\n"
        "os.setuid(65534)\n"
        "nr.open_workspace(source)"
    )
    for folder in photo.parents[:3]:
        folder.chmod(0o755)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 1
    assert "StorageError: The folder" in done.stderr
    assert "--project" in done.stderr


def test_an_image_on_the_network_needs_a_named_project(opened: Open, tmp_path: Path) -> None:
    with open_image(np.zeros((60, 80), np.uint8)) as source:
        source.traits = dataclasses.replace(source.traits, format="ome-zarr 0.5", name="https://host/a.zarr")

        with pytest.raises(UsageError, match="project="):
            opened(source)
        with opened(source, tmp_path / "a.relay") as ws:
            assert not ws.temporary


def test_an_engine_that_is_not_there(photo: Path) -> None:
    with pytest.raises(UsageError, match="inprocess, worker"):
        nr.open_workspace(photo, engine="thread")  # type: ignore[arg-type]


def test_a_checkpoint_that_is_not_there_is_refused_at_once(photo: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        nr.open_workspace(photo, checkpoint="nonsense")
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        nr.open_workspace(photo, checkpoint=tmp_path / "absent.safetensors")
    assert not photo.with_name("photo.png.relay").exists()


# ---- checkpoints


@pytest.mark.parametrize("clicked", [True, False])
def test_another_checkpoint_counts_from_the_next_click(
    opened: Open, photo: Path, tmp_path: Path, clicked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_relay.workspace.workspace.read_card", lambda checkpoint: None)
    other = tmp_path / "other"
    other.mkdir()
    with opened(photo) as ws:
        session = ws.session()
        if clicked:
            session.click(100, 150)

        ws.set_checkpoint(str(other))
        session.click(104, 150)

        assert session.accept().checkpoint == "weights in other"
        assert ws.info() == {"checkpoint": "other"}


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_old_one(
    opened: Open, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(photo) as ws:
        session = ws.session()
        session.click(100, 150)

        with pytest.raises(CheckpointError, match="no checkpoint at"):
            ws.set_checkpoint(str(tmp_path / "absent.safetensors"))
        monkeypatch.setattr("napari_relay.workspace.workspace.read_card", lambda checkpoint: None)
        with pytest.raises(CheckpointError, match="is no folder"):
            ws.set_checkpoint(str(tmp_path / "absent"))

        session.click(104, 150)
        assert session.accept().checkpoint == "weights in driver"
