"""Classes as a file: names, colours, keys and hierarchy, to be taken from project to project.

    {"relay_classes": 1, "classes": [
      {"name": "tissue", "color": "#e69f00", "key": "1", "parent": ""},
      {"name": "tumour", "color": "#56b4e9", "key": "2", "parent": "tissue"}]}
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_relay.errors import ImportFileError, StorageError, UsageError
from napari_relay.store import ClassSpec, Project, ProjectReader
from napari_relay.store.class_editing import checked_specs

MAX_BYTES = 1 << 22
SUFFIX = ".classes.json"


class ClassEntry(BaseModel):
    """One class; `parent` is the name of the class above it, "" for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    color: str
    key: str = ""
    parent: str = ""


class ClassTemplate(BaseModel):
    """The classes of a project, in the order in which they are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relay_classes: Literal[1] = 1
    classes: tuple[ClassEntry, ...] = ()

    @classmethod
    def of(cls, project: ProjectReader) -> Self:
        """The classes of a project."""
        return cls.of_specs(project.class_specs())

    @classmethod
    def of_specs(cls, specs: list[ClassSpec]) -> Self:
        """These classes."""
        return cls(
            classes=tuple(ClassEntry(name=s.name, color=s.color, key=s.key, parent=s.parent) for s in specs)
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a template.

        Raises
        ------
        ImportFileError
            It is none; the message names file and field.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ImportFileError(f"{path} is too large for a class template.", "Choose another file.")
            template = cls.model_validate_json(path.read_bytes())
            names = [spec.name for spec in checked_specs(template.specs())]
            missing = next((entry for entry in template.classes if entry.parent and entry.parent not in names), None)
            if missing is not None:
                raise UsageError(f"the parent {missing.parent!r} of {missing.name!r} is missing.")
        except OSError as error:
            raise ImportFileError(f"Cannot read {path}: {error.strerror or error}.", "Check the path.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ImportFileError(
                f"{path} is no class template: {where}: {first['msg']}.", "Save one with `napari-relay classes --save`."
            ) from error
        except UsageError as error:
            raise ImportFileError(f"{path} is no class template: {error.what}", error.fix) from error
        return template

    def save(self, path: Path) -> None:
        """Write the template, whole or not at all, in place of what lies there.

        Raises
        ------
        StorageError
        """
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StorageError(f"Cannot write {path}: {error.strerror or error}.", "Choose another place.") from error

    def specs(self) -> list[ClassSpec]:
        """For `Project.apply_classes`."""
        return [ClassSpec(entry.name, entry.color, entry.key, entry.parent) for entry in self.classes]

    def apply(self, project: Project, *, summary: str = "class template") -> bool:
        """Make a project's classes these, as one action; whether anything had to be changed.

        Raises
        ------
        UsageError, StorageError
        """
        return project.apply_classes(self.specs(), summary=summary)
