"""What is known of an object beside its pixels, on the way into a file and out of one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from napari_relay.formats.checking import Place
from napari_relay.store.values import ClassInfo, ObjectState, StoredObject

PROVENANCE = ("state", "score", "seconds", "n_clicks", "author", "created", "checkpoint", "note")
"""Facts that formats with room for further entries keep."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything of an object but plane and pixels; None or "" where a file does not say."""

    id: int | None = None
    class_name: str | None = None
    color: str | None = None
    state: ObjectState = ObjectState.ACCEPTED
    score: float | None = None
    seconds: float | None = None
    n_clicks: int = 0
    author: str | None = None
    created: str | None = None
    checkpoint: str | None = None
    note: str = ""

    @classmethod
    def of(cls, stored: StoredObject, classes: Mapping[str, ClassInfo]) -> Facts:
        """The facts of an object of a project."""
        return cls(
            stored.id, stored.class_name, classes[stored.class_name].color, ObjectState(stored.state),
            stored.score, stored.seconds, stored.n_clicks, stored.author or None, stored.created,
            stored.checkpoint or None, stored.note,
        )  # fmt: skip

    def only(self, kept: frozenset[str]) -> Facts:
        """The facts that a format keeps; the others as if unknown."""
        unknown: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name not in kept}
        return replace(self, **unknown)

    def provenance(self) -> dict[str, Any]:
        """The facts of `PROVENANCE` that say anything, as JSON values."""
        return {name: value for name in PROVENANCE if (value := getattr(self, name)) not in (None, "")}


def read_provenance(found: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The facts of `PROVENANCE` in a JSON object, checked; what is not ours is passed over.

    Text is taken for numbers too: QuPath keeps text only.

    Raises
    ------
    ImportFileError
    """
    facts: dict[str, Any] = {}
    for name in ("author", "created", "checkpoint", "note"):
        if isinstance(found.get(name), str):
            facts[name] = found[name]
    for name in ("score", "seconds"):
        if found.get(name) is not None:
            facts[name] = _number(found[name], place.field(name))
    if found.get("n_clicks") is not None:
        facts["n_clicks"] = int(_number(found["n_clicks"], place.field("n_clicks")))
    state = found.get("state")
    if isinstance(state, str) and state in set(ObjectState):
        facts["state"] = ObjectState(state)
    return facts


def _number(value: Any, place: Place) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise place.bad(f"{value!r} is not a number") from None
    if not math.isfinite(number) or abs(number) > 1e15:
        raise place.bad(f"{value!r} is not a usable number")
    return number
