"""A folder of images as one job: which of them are finished, kept in a small file until all are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_relay.errors import StorageError, UsageError

NAME = ".relay.propose.json"


class FolderJob:
    """The finished images of an unfinished job over a folder.

    Attributes
    ----------
    done : what each finished image gave, by its name.

    Raises
    ------
    UsageError
        An unfinished job is there and neither `resume` nor `anew` is asked for, or it has another plan.
    StorageError
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, resume: bool, anew: bool = False) -> None:
        self._path = folder / NAME
        self._plan = dict(plan)
        self.done: dict[str, dict[str, Any]] = {}
        if anew:
            self._path.unlink(missing_ok=True)
        if not self._path.exists():
            return
        if not resume:
            raise UsageError(
                f"An unfinished job over the folder {folder} is there ({NAME}).",
                "Go on with it (--resume), or throw it away and begin anew (--anew).",
            )
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"{self._path} cannot be read: {error}.", "Remove it, then start anew.") from error
        if known["plan"] != self._plan:
            raise UsageError(
                f"The unfinished job over the folder {folder} was begun with other options.",
                "Give the same options, or throw it away and begin anew (--anew).",
            )
        self.done = known["done"]

    @property
    def begun(self) -> bool:
        """Whether a run before this one has begun it."""
        return self._path.exists()

    def begin(self) -> None:
        """Leave word that the job is under way."""
        self._write()

    def finish(self, name: str, report: dict[str, Any]) -> None:
        """Remember that an image is finished."""
        self.done[name] = report
        self._write()

    def _write(self) -> None:
        partial = self._path.with_name(f"{NAME}.partial")
        partial.write_text(json.dumps({"plan": self._plan, "done": self.done}), encoding="utf-8")
        os.replace(partial, self._path)

    def remove(self) -> list[dict[str, Any]]:
        """All are finished: the file goes; what each gave."""
        self._path.unlink(missing_ok=True)
        return list(self.done.values())
