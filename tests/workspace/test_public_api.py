"""The README's words, run as they stand, with the real model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from engine_checks import wait_until
from PIL import Image

import napari_relay as nr

SNIPPET = """
import napari_relay as nr
with nr.open_workspace("slide.ome.zarr") as ws:      # or an array; makes or opens slide.ome.zarr.relay
    session = ws.session()
    proposal = session.click(y, x)                    # level-0 pixels
    proposal = session.click(y2, x2, positive=False)
    obj = session.accept(class_name="cell")
    for o in ws.project.objects(): print(o.id, o.class_name, o.box, o.mask.sum())
"""


@pytest.fixture
def slide(tmp_path: Path, sample_data: Path) -> Path:
    """The coins as OME-Zarr 0.5 with two levels."""
    pixels = np.asarray(Image.open(sample_data / "coins.png").convert("L"))
    path = tmp_path / "slide.ome.zarr"
    group = zarr.create_group(path, zarr_format=3)
    levels = [pixels, pixels[::2, ::2]]
    for index, level in enumerate(levels):
        array = group.create_array(str(index), shape=level.shape, dtype=level.dtype, chunks=(128, 128))
        array[:] = level
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [
        {"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": [2.0**index] * 2}]}
        for index in range(len(levels))
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return path


def a_coin(sample_data: Path) -> tuple[int, int, int, int]:
    """A point inside a coin, and one outside of all."""
    labels = np.asarray(Image.open(sample_data / "coins_labels.png"))
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    rows, columns = np.nonzero(labels == ids[np.argmax(sizes)])
    y, x = int(np.median(rows)), int(np.median(columns))
    outside = np.argwhere(labels == 0)
    y2, x2 = outside[np.argmin(np.hypot(*(outside - (y, x)).T))]
    return y, x, int(y2), int(x2)


def test_the_readme_snippet_runs_word_for_word(
    slide: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(slide.parent)
    y, x, y2, x2 = a_coin(sample_data)
    names = {"y": y, "x": x, "y2": y2, "x2": x2}

    exec(SNIPPET, names)

    obj = names["obj"]
    printed = capsys.readouterr().out.split()
    assert printed[:2] == ["1", "cell"]
    assert int(printed[-1]) == obj.area > 0
    assert obj.box.contains(y, x)
    proposal = names["proposal"]
    assert proposal.mask.shape == proposal.box.shape == proposal.probability.shape
    assert (proposal.mask.dtype, proposal.probability.dtype) == (bool, np.float32)
    assert 0 <= proposal.score <= 1
    assert not proposal.empty
    assert (slide.parent / "slide.ome.zarr.relay").is_file()
    assert (slide.parent / "slide.ome.zarr.labels.ome.zarr").is_dir()


def run(script: str, folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_with_a_worker_this_process_never_loads_torch(slide: Path, sample_data: Path) -> None:
    y, x, _, _ = a_coin(sample_data)
    script = (
        "import sys, napari_relay as nr\n"
        "with nr.open_workspace('slide.ome.zarr', engine='worker', checkpoint='step0') as ws:\n"
        f"    print(ws.session().click({y}, {x}).mask.any(), 'torch' in sys.modules)"
    )

    assert run(script, slide.parent) == ["True", "False"]


def test_a_workspace_without_a_click_never_loads_torch(slide: Path) -> None:
    script = (
        "import sys, napari_relay as nr\n"
        "with nr.open_workspace('slide.ome.zarr') as ws:\n"
        "    session = ws.session()\n"
        "    print(ws.project.count(), 'torch' in sys.modules)"
    )

    assert run(script, slide.parent) == ["0", "False"]


def test_the_worker_loads_neither_images_nor_projects() -> None:
    script = (
        "import sys, napari_relay.workspace\n"
        "napari_relay.workspace.make_service\n"
        "print(*({'zarr', 'dask', 'napari', 'sqlite3'} & set(sys.modules)))"
    )

    assert run(script, Path.cwd()) == []


@pytest.mark.slow
def test_kill_9_of_the_real_worker_while_it_encodes_changes_no_mask(slide: Path, sample_data: Path) -> None:
    y, x, _, _ = a_coin(sample_data)
    with nr.open_workspace(slide, engine="worker", checkpoint="step0", device="cpu", dtype="float32") as ws:
        states: list[str] = []
        ws.engine.on_state(lambda state, message: states.append(state))
        with ThreadPoolExecutor(1) as thread:
            click = thread.submit(ws.session().click, y, x)
            wait_until(lambda: "busy" in states, "the worker computes", limit_s=240)  # torch has to load first
            os.kill(ws.engine.pid, signal.SIGKILL)
            after_death = click.result()
        undisturbed = ws.session().click(y, x)

    assert "restarting" in states
    assert np.array_equal(after_death.mask, undisturbed.mask)
