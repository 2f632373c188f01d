"""The values that a project hands out: classes, objects, actions, and what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click, Plane

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint32]


Choice = TypeVar("Choice", bound=StrEnum)


def checked(kind: type[Choice], name: Choice | str, what: str) -> Choice:
    """The member of that name; `what` says in words what is chosen.

    Raises
    ------
    UsageError
        There is none.
    """
    try:
        return kind(name)
    except ValueError:
        raise UsageError(f"There is no {what} {name!r}.", f"Use one of: {', '.join(kind)}.") from None


class ObjectState(StrEnum):
    """How far an object has come. Proposed and rejected ones are in no label image and no export."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REVIEWED = "reviewed"
    LOCKED = "locked"
    REJECTED = "rejected"


class Actor(StrEnum):
    """Who changes a project: a person, or a model on its own. A model changes no reviewed and no locked object, and
    a person unlocks a locked one first."""

    USER = "user"
    MODEL = "model"


class Overlap(StrEnum):
    """What becomes of pixels of a new mask that belong to other objects: those keep them, the mask replaces them
    there, or both have them (the one accepted later lies on top)."""

    KEEP = "keep"
    REPLACE = "replace"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class of objects: its name, its colour (`#rrggbb`) and the key that chooses it ("" for none)."""

    id: int
    name: str
    color: str
    key: str = ""
    parent_id: int | None = None


@dataclass(frozen=True, slots=True)
class ClassSpec:
    """A class as a template describes it: `parent` is the name of the class above it, "" for none."""

    name: str
    color: str
    key: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the project knew it when it was asked.

    `box` is the smallest box round the mask. `created` is ISO 8601 in UTC. `action_id` names the action that gave
    the object its mask; of two overlapping objects the one with the higher `(action_id, id)` lies on top.
    """

    id: int
    class_name: str
    box: Box
    plane: Plane
    area: int
    state: str
    score: float | None
    seconds: float | None
    checkpoint: str | None
    author: str
    created: str
    n_clicks: int
    note: str
    action_id: int
    read_mask: Callable[[StoredObject, Box], Mask] = field(compare=False, repr=False)

    @property
    def mask(self) -> Mask:
        """The object's pixels, bool [y, x] over `box`; read from the project each time."""
        return self.read_mask(self, self.box)

    def mask_in(self, box: Box) -> Mask:
        """The object's pixels in any level-0 box, bool [y, x]."""
        return self.read_mask(self, box)


@dataclass(frozen=True, slots=True)
class Action:
    """One committed step of the project's history.

    `state`: `done` (can be undone), `undone` (can be redone), `abandoned` (undone, then something else was done)
    or `log` (a record of an undo or redo, whose `target_id` it names).
    """

    id: int
    kind: str
    state: str
    summary: str
    created: str
    author: str
    program: str
    checkpoint: str | None = None
    target_id: int | None = None
    n_objects: int = 0
    clicks: tuple[Click, ...] = ()
    actor: str = Actor.USER


@dataclass(frozen=True, slots=True, eq=False)
class NewObject:
    """An object from elsewhere, for `Project.import_objects`.

    `box` and `mask` are those of `Project.accept`; `class_name` None takes the current class; `author` and `created`
    (ISO 8601) None say who imports it, and when.
    """

    box: Box
    mask: Mask
    class_name: str | None = None
    plane: Plane = field(default_factory=Plane)
    state: ObjectState = ObjectState.ACCEPTED
    score: float | None = None
    seconds: float | None = None
    checkpoint: str | None = None
    author: str | None = None
    created: str | None = None
    note: str = ""
    n_clicks: int = 0


@dataclass(frozen=True, slots=True)
class Imported:
    """What `Project.import_objects` did: its action, the ids of the new objects in the order of the input, and the
    places in the input (from 0) of those of which the overlap rule left no pixel: they got no id."""

    action: Action
    ids: tuple[int, ...]
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What an action changed on one plane: the boxes whose pixels may differ and the objects concerned."""

    boxes: tuple[Box, ...]
    plane: Plane
    ids: tuple[int, ...]
    kind: str = ""
    """The action's kind; for an undo or redo `undo` or `redo`."""
