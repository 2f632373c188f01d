"""One robot against one or more models: who plays, and how an object is played.

A `Contender` is a model under test. It opens a picture, and for each object starts afresh; then the robot
clicks and the contender answers with a mask, until the robot is content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UnsupportedImageError, UsageError
from napari_relay.geometry import Box, Click
from relay_training.bench_data import Picture, Task, read_label_map
from relay_training.metrics import ObjectRun
from relay_training.robot import MAX_CLICKS, STOP_IOU, Robot, intersection_over_union

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """What a contender shows after a click.

    mask : bool, the shape of `box`; everything outside is background.
    ms, cpu_ms : time that the user waited, and processor time of this process in it, in milliseconds.
    encodings : views encoded during that wait.
    """

    box: Box
    mask: Mask
    ms: float
    cpu_ms: float = 0.0
    encodings: int = 0


class Stopwatch:
    """Wall and processor time of a `with` block, in milliseconds."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.ms = (time.perf_counter() - self._wall) * 1000
        self.cpu_ms = (time.process_time() - self._cpu) * 1000


Clicker = Callable[[Click], Answer]
"""One object in progress: takes the next click."""


class OpenPicture(Protocol):
    """A picture that a contender has open."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        ...

    def start(self) -> Clicker:
        """Begin with an object; nothing is carried over from the one before."""
        ...


class Contender(Protocol):
    """A model under test."""

    @property
    def name(self) -> str: ...

    @property
    def card(self) -> dict[str, Any]:
        """What identifies it (weights, sizes, dtype): JSON values. Stored results of another card are not
        mixed in.
        """
        ...

    def open(self, path: Path) -> AbstractContextManager[OpenPicture]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When the robot stops."""

    max_clicks: int = MAX_CLICKS
    stop_iou: float = STOP_IOU


@dataclass(frozen=True, slots=True)
class Played:
    """One object done by one contender."""

    contender: str
    run: ObjectRun


def play_object(
    click: Clicker, truth: Mask, ignore: Mask, limits: Limits | None = None
) -> tuple[list[Click], list[float], list[Answer]]:
    """Let the robot click one object until it is content.

    Parameters
    ----------
    click : Clicker
        The contender, started afresh.
    truth, ignore : bool [y, x]
        The object, and the pixels that do not count.

    Returns
    -------
    clicks, ious, answers : lists of equal length
        The IoU is measured on the whole picture after each click.
    """
    limits = limits or Limits()
    robot = Robot(truth, ignore)
    shown = np.zeros_like(truth)
    clicks: list[Click] = []
    ious: list[float] = []
    answers: list[Answer] = []
    while len(clicks) < limits.max_clicks and (next_click := robot.next_click(shown)) is not None:
        answer = click(next_click)
        shown[:] = False
        shown[answer.box.slices] = answer.mask
        clicks.append(next_click)
        answers.append(answer)
        ious.append(intersection_over_union(shown, truth, ignore))
        if ious[-1] >= limits.stop_iou:
            break
    return clicks, ious, answers


def play_task(task: Task, contenders: Sequence[Contender], limits: Limits | None = None) -> Iterator[Played]:
    """Play the objects of one picture with each contender in turn.

    Contenders take turns picture by picture, so that a busy minute of the machine hits all of them.

    Raises
    ------
    UsageError
        An object is not in the label map.
    UnsupportedImageError
        Picture and label map differ in size.
    """
    labels = read_label_map(task.picture.label)
    present = set(np.unique(labels.values).tolist()) - {0, labels.ignore_value}
    for label in task.labels:
        if label not in present:
            raise UsageError(
                f"{task.picture.label} has no object {label}.", "Use the list that was made for these sets."
            )
    for contender in contenders:
        with contender.open(task.picture.image) as picture:
            _check_shape(task.picture, picture.shape, labels.values.shape)
            for label in task.labels:
                played = play_object(picture.start(), labels.values == label, labels.ignore, limits)
                yield Played(contender.name, _object_run(task.picture.id, label, *played))


def _check_shape(picture: Picture, seen: tuple[int, int], labelled: tuple[int, ...]) -> None:
    if tuple(seen) != labelled:
        raise UnsupportedImageError(
            f"{picture.image} has {seen[0]} x {seen[1]} pixels, its label map {labelled[0]} x {labelled[1]}.",
            "They must be of one size.",
        )


def _object_run(picture: str, label: int, clicks: list[Click], ious: list[float], answers: list[Answer]) -> ObjectRun:
    return ObjectRun(
        picture,
        label,
        tuple(ious),
        tuple(round(answer.ms, 1) for answer in answers),
        tuple(round(answer.cpu_ms, 1) for answer in answers),
        tuple(answer.encodings for answer in answers),
        tuple((int(click.y), int(click.x), click.positive) for click in clicks),
    )
