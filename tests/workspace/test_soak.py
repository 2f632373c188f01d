"""Hundreds of images one after the other in one process: nothing stays behind of any of them."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from napari_relay.engine import WorkerEngine
from napari_relay.formats import export
from napari_relay.workspace import Workspace, open_workspace

IMAGES = 500
WARM = 50
"""Images after which everything is loaded and every cache of the process has its size."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_500_images_leave_no_memory_no_files_and_no_threads_behind(driver: Path, tmp_path: Path) -> None:
    process, used = psutil.Process(), []
    pixels = np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8)
    arguments = {"checkpoint": str(driver), "device": "cpu", "dtype": "auto", "threads": None, "cache_bytes": 0}
    with WorkerEngine("workspace_services:make", **arguments) as engine:
        for index in range(IMAGES):
            path = tmp_path / f"photo{index}.png"
            Image.fromarray(np.roll(pixels, index, axis=1)).save(path)
            work_on(path, open_workspace(path, engine=engine))
            if index in (WARM, IMAGES - 1):
                gc.collect()
                used.append((process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))

    (memory, files, threads), (memory_after, files_after, threads_after) = used
    print(f"{memory:.0f} to {memory_after:.0f} MB, {files} to {files_after} files")
    assert (memory_after - memory) / (IMAGES - 1 - WARM) <= 1, f"{memory:.0f} MB grew to {memory_after:.0f} MB"
    assert files_after <= files
    assert threads_after <= threads


def work_on(path: Path, workspace: Workspace) -> None:
    """Click two objects, take one back, correct the other, export, close."""
    with workspace as ws:
        session = ws.session()
        for place in ((50, 60), (100, 140)):
            session.click(*place)
            session.accept("cell")
        ws.project.undo()
        (stored,) = ws.project.objects()
        session.resume(stored.id, stored.box, stored.mask)
        session.click(60, 70)
        session.accept()
        assert ws.project.count() == 1
        for _ in export(ws.project, path.with_suffix(".geojson")):
            pass
        for _ in export(ws.project, path.with_suffix(".ome.zarr")):
            pass
