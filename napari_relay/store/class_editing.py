"""Classes that change: made, renamed, coloured, put below each other, taken from a template, removed.

Each is one action, so that it can be undone. Every class keeps its id; objects follow it by that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from napari_relay.errors import UsageError
from napari_relay.geometry import Plane
from napari_relay.store import actions, classes
from napari_relay.store.changing import ChangingProject
from napari_relay.store.values import Change, ClassInfo, ClassSpec

Rows = dict[int, dict[str, Any]]
"""Columns of the live classes, by id."""

_NAMES = ("name", "color", "key", "parent_id", "position")


class ClassEditing(ChangingProject):
    """The part of a `Project` that changes its classes. In every method a UsageError means that nothing changed."""

    def ensure_class(self, name: str) -> ClassInfo:
        """The class of that name; made (an action that can be undone) when there is none."""
        name = classes.checked_name(name)
        with self._database.read() as db:
            known = classes.find_class(db, name)
        if known is not None:
            return known
        with self._database.write() as db:
            known = classes.find_class(db, name)
            if known is None:
                action = actions.begin_action(db, "class-create", f"new class {name}")
                known = classes.add_class(db, action, name)
        self._tell([Change((), Plane(), (), "class-create")])
        return known

    @property
    def current_class(self) -> str:
        """Name of the class that `accept` takes when none is given. Setting it makes an unknown class."""
        return self.get_current_class()

    @current_class.setter
    def current_class(self, name: str) -> None:
        self.set_value("current_class", self.ensure_class(name).name)

    def change_class(self, name: str, spec: ClassSpec) -> ClassInfo:
        """Give a class another name, colour, key and parent, as one action; its objects stay with it. A key that
        another class has goes over to this one.

        Raises
        ------
        UsageError
            There is no such class; the new name is taken; the parent is unknown or lies below it.
        StorageError
        """
        with self._database.write() as db:
            old = _rows(db)
            class_id = _id_of(old, name)
            new = {i: dict(row) for i, row in old.items()}
            new[class_id] |= {"name": classes.checked_name(spec.name), "color": classes.checked_color(spec.color)}
            _set_key(new, class_id, classes.checked_key(spec.key))
            new[class_id]["parent_id"] = _id_of(new, spec.parent) if spec.parent else None
            _check(new)
            if new != old:
                action = actions.begin_action(db, "class-edit", f"edit class {new[class_id]['name']}")
                _record(db, action, old, new)
                _follow(db, name, new[class_id]["name"])
            changed = classes.find_class(db, new[class_id]["name"])
        assert changed is not None
        self._tell([Change((), Plane(), (), "class-edit")])
        return changed

    def remove_class(self, name: str) -> None:
        """Remove a class without objects, as one action; classes below it move up to its parent.

        Raises
        ------
        UsageError
            There is no such class; objects have it; it is the last one.
        StorageError
        """
        with self._database.write() as db:
            old = _rows(db)
            class_id = _id_of(old, name)
            if len(old) == 1:
                raise UsageError(f"{name} is the only class.", "Rename it, or make another one first.")
            held = db.execute("SELECT count(*) FROM objects WHERE live = 1 AND class_id = ?", (class_id,)).fetchone()[0]
            if held:
                raise UsageError(f"{held} objects are of class {name}.", "Give them another class first.")
            new = {i: dict(row) for i, row in old.items() if i != class_id}
            for row in new.values():
                if row["parent_id"] == class_id:
                    row["parent_id"] = old[class_id]["parent_id"]
            action = actions.begin_action(db, "class-remove", f"remove class {name}")
            actions.record_change(db, action, "class", [class_id], {"live": 1}, {"live": 0})
            _record(db, action, old, new)
        self._tell([Change((), Plane(), (), "class-edit")])

    def apply_classes(self, specs: Sequence[ClassSpec], *, summary: str = "class template") -> bool:
        """Make the project's classes those of a template, as one action: missing ones are made, those of the same
        name get its colour, key and parent, others stay behind them. A key that both want goes to the template's.

        Returns
        -------
        Whether anything had to be changed.

        Raises
        ------
        UsageError
            A name, colour or key is none, or given twice; a parent is neither in the template nor in the project, or
            lies below its own child.
        StorageError
        """
        wanted = checked_specs(specs)
        with self._database.read() as db:
            if _planned(_rows(db), wanted) is None:
                return False
        with self._database.write() as db:
            plan = _planned(_rows(db), wanted)
            if plan is None:
                return False
            action = actions.begin_action(db, "class-template", summary)
            for spec in wanted:
                if classes.find_class(db, spec.name) is None:
                    classes.add_class(db, action, spec.name, spec.color, key="")
            old = _rows(db)
            plan = _planned(old, wanted)
            if plan is not None:
                _record(db, action, old, plan)
        self._tell([Change((), Plane(), (), "class-template")])
        return True


def checked_specs(specs: Iterable[ClassSpec]) -> list[ClassSpec]:
    """The classes of a template with clean names and colours.

    Raises
    ------
    UsageError
        One is wrong, or a name or key is given twice.
    """
    found = [
        ClassSpec(
            classes.checked_name(spec.name), classes.checked_color(spec.color), classes.checked_key(spec.key),
            spec.parent.strip(),
        )
        for spec in specs
    ]  # fmt: skip
    for what, values in (("name", [s.name for s in found]), ("key", [s.key for s in found if s.key])):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise UsageError(f"Two classes have the {what} {twice!r}.", "Give each its own.")
    return found


def _rows(db: sqlite3.Connection) -> Rows:
    found = db.execute(f"SELECT id, {', '.join(_NAMES)} FROM classes WHERE live = 1 ORDER BY position, id")
    return {row[0]: dict(zip(_NAMES, row[1:], strict=True)) for row in found}


def _id_of(rows: Rows, name: str) -> int:
    """Id of the class of that name. Raises UsageError where there is none."""
    found = next((i for i, row in rows.items() if row["name"] == name), None)
    if found is None:
        raise UsageError(f"There is no class {name!r}.", "Make it first.")
    return found


def _planned(old: Rows, wanted: Sequence[ClassSpec]) -> Rows | None:
    """The rows as a template wants them; None where they are so already. Rows that are missing count with ids below
    0, so that a template that cannot be applied is refused before anything is written."""
    new = {i: dict(row) for i, row in old.items()}
    known = {row["name"]: i for i, row in new.items()}
    for place, spec in enumerate(wanted, start=1):
        if spec.name not in known:
            known[spec.name] = -place
            new[-place] = dict.fromkeys(_NAMES)
    others = [i for i in new if new[i]["name"] is not None and new[i]["name"] not in {spec.name for spec in wanted}]
    for position, spec in enumerate(wanted):
        row = new[known[spec.name]]
        if spec.parent and spec.parent not in known:
            raise UsageError(f"The parent of class {spec.name}, {spec.parent!r}, is no class.", "Add it.")
        parent = known[spec.parent] if spec.parent else None
        row |= {"name": spec.name, "color": spec.color, "parent_id": parent, "position": position}
        _set_key(new, known[spec.name], spec.key)
    for position, class_id in enumerate(others, start=len(wanted)):
        new[class_id]["position"] = position
    _check(new)
    return None if new == old else new


def _set_key(rows: Rows, class_id: int, key: str) -> None:
    for other, row in rows.items():
        if key and other != class_id and row["key"] == key:
            row["key"] = ""
    rows[class_id]["key"] = key


def _check(rows: Rows) -> None:
    """Refuse names that are taken twice, and classes that are their own ancestors."""
    names = [row["name"] for row in rows.values()]
    for class_id, row in rows.items():
        if names.count(row["name"]) > 1:
            raise UsageError(f"There is a class {row['name']} already.", "Choose another name.")
        seen, above = {class_id}, row["parent_id"]
        while above is not None and above in rows:
            if above in seen:
                raise UsageError(f"Class {row['name']} would lie below itself.", "Choose another parent.")
            seen.add(above)
            above = rows[above]["parent_id"]


def _record(db: sqlite3.Connection, action: int, old: Rows, new: Rows) -> None:
    """Write what differs. A class that the same action has made keeps only that it was made: undone, it is gone."""
    rows = db.execute("SELECT entity_id FROM changes WHERE action_id = ? AND entity = 'class'", (action,))
    made = {row[0] for row in rows}
    for class_id, row in new.items():
        before = {name: old[class_id][name] for name in _NAMES if old[class_id][name] != row[name]}
        if not before:
            continue
        after = {name: row[name] for name in before}
        if class_id not in made:
            actions.record_change(db, action, "class", [class_id], before, after)
        columns = ", ".join(f'"{name}" = :{name}' for name in after)
        db.execute(f"UPDATE classes SET {columns} WHERE id = :_id", {**after, "_id": class_id})
    actions.apply(db, action, "after", action)


def _follow(db: sqlite3.Connection, old: str, new: str) -> None:
    """The chosen class stays chosen under its new name."""
    db.execute("UPDATE project SET value = ? WHERE key = 'current_class' AND value = ?", (new, old))
