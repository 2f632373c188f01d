"""What a class head's file says of itself; read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_relay.errors import CheckpointError
from napari_relay.model.checkpoint import _header

FORMAT = 1
KEY = "class_head"
"""Where the card lies in the file's metadata."""
BACKGROUND = "background"
"""The class of what is no object; always the first one."""


@dataclass(frozen=True, slots=True)
class ClassCard:
    """What a class head knows.

    kind : its decoder. names, colors : of its classes, `background` first. encoder : hash of the encoder that it was
    learned on. step : half-octave of the views' scale. metrics : what was measured on objects that did not teach it.
    """

    kind: str
    names: tuple[str, ...]
    colors: tuple[str, ...]
    encoder: str
    step: int
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def read_class_card(path: Path) -> ClassCard:
    """The card of a class head.

    Raises
    ------
    CheckpointError
        There is none, it is damaged, or a newer program wrote it.
    """
    if not path.exists():
        raise CheckpointError(
            f"There is no class head {path}.", "Learn the classes first: accept objects of each, and background."
        )
    try:
        values = json.loads(_header(path).get("__metadata__", {})[KEY])
        newer = int(values["format"]) > FORMAT
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not a class head.", "Learn the classes anew.") from error
    if newer:
        raise CheckpointError(f"{path} was written by a newer napari-relay.", "Update napari-relay.")
    values["names"], values["colors"] = tuple(values["names"]), tuple(values["colors"])
    return ClassCard(**values)
