"""What the window shows, as values: the controller makes them, the panels and `wording` read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from napari_relay.geometry import Click, Plane


class Phase(StrEnum):
    """Where the user is with the present object."""

    NO_IMAGE = "no image"
    IDLE = "idle"
    """An image is chosen, the tool is off."""
    BLOCKED = "blocked"
    """The view cannot be clicked (3D, rolled axes); `message` says what to do."""
    OPENING = "opening"
    READY = "ready"
    COMPUTING = "computing"
    PROPOSAL = "proposal"
    NOTHING = "nothing"
    """The model found no object at the clicks."""
    FAILED = "failed"
    """The last step failed; `message` says what and what to do. The next click tries again."""


class Model(StrEnum):
    """How the computing side is doing."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """A class as the window lists it: `digit` chooses it, `depth` says how far below others it stands, `parent` is
    the name of the one above it ("" for none)."""

    name: str
    color: str
    digit: int | None = None
    depth: int = 0
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the dock shows about the present image and object."""

    phase: Phase = Phase.NO_IMAGE
    image: str = ""
    plane: Plane = field(default_factory=Plane)
    clicks: tuple[Click, ...] = ()
    score: float | None = None
    alternative: int = 0
    alternatives: int = 0
    model: Model = Model.READY
    message: str = ""
    current_class: str = ""
    classes: tuple[ClassChoice, ...] = field(default=())
    objects: int = 0
    accepting: int = 0
    """Objects accepted but not yet written."""
    unsaved: int = 0
    """Objects that could not be written; each is tried again with the next."""
    project: str = ""
    temporary: bool = False
    """The project is deleted when the image is closed."""
