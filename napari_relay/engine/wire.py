"""The words between the two sides of the worker process: frozen values, pickled one after the other into pipes.

Requests go down the child's standard input, answers come up its standard output; the end of the input means that
the parent is gone or wants the child gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_relay.engine.service import Failure
from napari_relay.engine.shm import Parcel, Place


@dataclass(frozen=True, slots=True)
class Make:
    """Parent: make this service. The first word."""

    factory: str
    arguments: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """Parent: run a method; a large answer goes into the block at `back`."""

    ticket: int
    method: str
    args: Parcel
    back: Place


@dataclass(frozen=True, slots=True)
class Stop:
    """Parent: nobody wants the answer to this ticket any more."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Room:
    """Parent: the answer's block is here now; a place of 0 bytes: send it through the pipe."""

    back: Place


@dataclass(frozen=True, slots=True)
class Ready:
    """Child: the service is made."""

    device: str
    notes: str


@dataclass(frozen=True, slots=True)
class NotMade:
    """Child: the factory failed."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class NeedRoom:
    """Child: the answer takes so many bytes."""

    ticket: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Child: the job's result."""

    ticket: int
    result: Parcel


@dataclass(frozen=True, slots=True)
class Refused:
    """Child: the job raised."""

    ticket: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class StoppedAt:
    """Child: the job was stopped at a yield (or before it began)."""

    ticket: int


Word = Any
"""One of the classes above."""
