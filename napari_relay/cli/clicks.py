"""The clicks file of `segment`: which objects, clicked where.

    [
      [{"y": 120, "x": 340}, {"y": 150, "x": 90, "positive": false}],
      {"clicks": [{"y": 50.5, "x": 60}], "class": "cell", "t": 0, "z": 3, "zoom": 2.0}
    ]

An object is a list of clicks, or such a list with a class, a plane and the zoom of its first click. Coordinates are
level-0 pixels, (0, 0) the centre of the upper left one; a click without "positive" is positive.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_relay.errors import UsageError
from napari_relay.geometry import Click, Plane

EXAMPLE = 'Write a list of objects, each a list of clicks: [[{"y": 120, "x": 340, "positive": true}]].'


@dataclass(frozen=True, slots=True)
class ClickedObject:
    """One object to segment; the first click is positive."""

    clicks: tuple[Click, ...]
    class_name: str | None = None
    plane: Plane = field(default_factory=Plane)
    zoom: float | None = None


def read_clicks(path: Path) -> list[ClickedObject]:
    """Read a clicks file ("-" is stdin).

    Raises
    ------
    UsageError
        It cannot be read, is no JSON, or an object or click is not of the form above; the message names which.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the clicks file {path}: {error}.", "Check the path.") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}.", EXAMPLE) from error
    if not isinstance(data, list) or not data:
        raise UsageError(f"{path} names no objects.", EXAMPLE)
    return [_object(entry, f"Object {number} of {path}") for number, entry in enumerate(data, start=1)]


def _object(entry: Any, where: str) -> ClickedObject:
    values = {"clicks": entry} if isinstance(entry, list) else entry
    if not isinstance(values, dict) or not isinstance(values.get("clicks"), list) or not values["clicks"]:
        raise UsageError(f"{where} has no clicks.", EXAMPLE)
    unknown = sorted(values.keys() - {"clicks", "class", "t", "z", "zoom"})
    if unknown:
        raise UsageError(f"{where} has an unknown entry {unknown[0]!r}.", "Known are clicks, class, t, z and zoom.")
    here = where[0].lower() + where[1:]
    clicks = tuple(_click(click, f"Click {n} of {here}") for n, click in enumerate(values["clicks"], start=1))
    if not clicks[0].positive:
        raise UsageError(f"{where} begins with a negative click.", "The first click of an object lies on it.")
    class_name = values.get("class")
    if class_name is not None and not isinstance(class_name, str):
        raise UsageError(f"The class of {here} is not a name.", 'Write "class": "cell".')
    zoom = None if values.get("zoom") is None else _number(values, "zoom", where)
    if zoom is not None and zoom <= 0:
        raise UsageError(f"{where} has the zoom {zoom:g}.", "Give level-0 pixels per view pixel, more than 0.")
    return ClickedObject(clicks, class_name, Plane(_index(values, "t", where), _index(values, "z", where)), zoom)


def _click(entry: Any, where: str) -> Click:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}.", EXAMPLE)
    positive = entry.get("positive", True)
    if not isinstance(positive, bool):
        raise UsageError(f"{where} has positive = {positive!r}.", "Write true or false.")
    return Click(_number(entry, "y", where), _number(entry, "x", where), positive)


def _number(entry: dict[str, Any], name: str, where: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where} has {f'{name} = {value!r}' if name in entry else f'no {name}'}.", EXAMPLE)
    return float(value)


def _index(entry: dict[str, Any], name: str, where: str) -> int:
    value = entry.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{where} has {name} = {value!r}.", "Write the index of the plane, counted from 0.")
    return value
