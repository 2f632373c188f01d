"""Runs slow calls off the caller's thread: in a worker process (for the window) or in a thread of this one.

It knows jobs, lanes, processes and shared memory, and nothing of images or torch: what it runs is made by a
factory named as "package.module:function". Read `base.py` first, then `jobs.py`; the two sides of the worker
process are `worker.py` (here) and `worker_main.py` (there).
"""

from __future__ import annotations

from napari_relay.engine.base import Engine, EngineState
from napari_relay.engine.inprocess import InProcessEngine
from napari_relay.engine.worker import WorkerEngine

__all__ = ["Engine", "EngineState", "InProcessEngine", "WorkerEngine"]
