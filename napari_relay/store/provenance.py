"""How clicks and views are written into a project: as JSON that plain SQL can take apart."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from napari_relay.geometry import Box, Click
from napari_relay.views.values import View, ViewPair


def clicks_to_json(clicks: Iterable[Click]) -> str | None:
    """`[{"y": .., "x": .., "positive": true}, ..]`, or None without clicks."""
    rows = [{"y": float(c.y), "x": float(c.x), "positive": bool(c.positive)} for c in clicks]
    return json.dumps(rows) if rows else None


def clicks_from_json(text: str | None) -> tuple[Click, ...]:
    return tuple(Click(c["y"], c["x"], c["positive"]) for c in json.loads(text)) if text else ()


def views_to_json(views: ViewPair | None) -> str | None:
    """`{"local": {"box": [y0, x0, y1, x1], "side": 448}, "global": .. or null}`."""
    if views is None:
        return None
    return json.dumps({"local": _view(views.local), "global": _view(views.global_) if views.global_ else None})


def views_from_json(text: str | None) -> ViewPair | None:
    if not text:
        return None
    pair = json.loads(text)
    wide = pair["global"]
    return ViewPair(_view_from(pair["local"]), _view_from(wide) if wide else None)


def now() -> str:
    """The time as it is stored: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user_name() -> str:
    """Login name of whoever runs the program; "" where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no entry for the user id, or no `pwd` module
        return ""


def _view(view: View) -> dict[str, object]:
    box = view.box
    return {"box": [box.y0, box.x0, box.y1, box.x1], "side": view.side}


def _view_from(entry: dict[str, Any]) -> View:
    return View(Box(*entry["box"]), int(entry["side"]))
