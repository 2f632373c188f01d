"""Learning from a project's objects: starts the process that trains, follows it, promotes what is better, rolls back.

It must not know torch nor how training works: `python -m relay_training finetune` is another process, which survives
the program that started it and talks through files. Read `job.py` first (those files), then `running.py`.
"""

from napari_relay.learn.class_shelf import ClassShelf, ClassStep
from napari_relay.learn.job import JobFolder, LearnJob, Material, learn_folder
from napari_relay.learn.progress import Follower, Progress
from napari_relay.learn.result import LearnResult, LearnStatus
from napari_relay.learn.running import RunningJob, follow, start
from napari_relay.learn.shelf import Shelf, Stored

__all__ = [
    "ClassShelf",
    "ClassStep",
    "Follower",
    "JobFolder",
    "LearnJob",
    "LearnResult",
    "LearnStatus",
    "Material",
    "Progress",
    "RunningJob",
    "Shelf",
    "Stored",
    "follow",
    "learn_folder",
    "start",
]
