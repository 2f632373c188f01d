"""A project: everything that was accepted on one image, with its whole history, in one SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from psygnal import Signal

from napari_relay.errors import EmptyProposalError, ProjectDamagedError, UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import actions, classes, objects, opening, reading, tiles
from napari_relay.store.database import Database
from napari_relay.store.dirty import Journal
from napari_relay.store.lock import ProjectLock
from napari_relay.store.provenance import clicks_to_json, now, user_name, views_to_json
from napari_relay.store.values import Action, Change, ClassInfo, Labels, Mask, StoredObject
from napari_relay.views.values import ViewPair

_PAGE = 500


class Project:
    """One image's objects, classes and history. Who opens it closes it; it is a context manager.

    Every method that changes something is one transaction: when it returns, the change is on the disk; when it
    raises, nothing has changed. All methods may be called from any thread; reading never waits for writing.

    Attributes
    ----------
    changed : Signal(Change)
        After each committed change, once a plane, in the thread that made it.
    journal : Journal
        Which tiles the label pyramid has not caught up with.
    id, fingerprint, image_name, shape, sizes, created
        Of the project and its image: a random id, content fingerprint, file name, (height, width), number of t and
        z planes, time of its making.
    """

    changed = Signal(Change)

    def __init__(self, database: Database, lock: ProjectLock | None, info: dict[str, str]) -> None:
        self._database = database
        self._lock = lock
        self.journal = Journal(database)
        self.path = database.path
        self.id = info["id"]
        self.fingerprint = info["fingerprint"]
        self.image_name = info["image_name"]
        self.shape = (int(info["height"]), int(info["width"]))
        self.sizes = (int(info["size_t"]), int(info["size_z"]))
        self.created = info["created"]

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        fingerprint: str | None = None,
        shape: tuple[int, int] | None = None,
        sizes: tuple[int, int] | None = None,
        image_name: str = "",
        create: bool = True,
        read_only: bool = False,
    ) -> Self:
        """Open a project, or make it.

        Parameters
        ----------
        path : str or Path
            The project file (`<image file name>.relay`).
        fingerprint : str, optional
            Content fingerprint of the image; another image than the stored one is refused. Needed, as `shape` is,
            to make a project; None opens whatever is there.
        shape : (int, int), optional
            Level-0 (height, width) of the image.
        sizes : (int, int), optional
            Number of t and z planes; (1, 1) for a new project without.
        image_name : str
            The image's file name, for messages.
        create : bool
            Make the file when there is none.
        read_only : bool
            Never write and take no lock: for looking at a project that a window has open.

        Raises
        ------
        ProjectMismatchError, ProjectVersionError, ProjectLockedError, ProjectDamagedError, StorageError
        """
        opened = opening.open_project(
            Path(path), fingerprint, shape, sizes, image_name, create=create, read_only=read_only
        )
        return cls(*opened)

    # -- classes -----------------------------------------------------------------------------------------------

    def classes(self) -> list[ClassInfo]:
        """The classes, in the order in which they are shown."""
        with self._database.read() as db:
            return classes.get_classes(db)

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
        self.changed.emit(Change((), Plane(), (), "class-create"))
        return known

    @property
    def current_class(self) -> str:
        """Name of the class that `accept` takes when none is given. Setting it makes an unknown class."""
        with self._database.read() as db:
            return classes.current_class(db)

    @current_class.setter
    def current_class(self, name: str) -> None:
        name = self.ensure_class(name).name
        self.set_value("current_class", name)

    # -- objects -----------------------------------------------------------------------------------------------

    def accept(
        self,
        box: Box,
        mask: Mask,
        *,
        class_name: str | None = None,
        plane: Plane | None = None,
        clicks: Sequence[Click] = (),
        views: ViewPair | None = None,
        score: float | None = None,
        seconds: float | None = None,
        checkpoint: str | None = None,
    ) -> StoredObject:
        """Keep a mask as a new object.

        Parameters
        ----------
        box : Box
            Where the mask lies; inside the image.
        mask : bool [y, x]
            The object's pixels, of the box's shape.
        class_name : str, optional
            Its class; an unknown name makes a class; None takes the current one.
        plane : Plane, optional
            Its t and z; the first plane by default.
        clicks, views, score, seconds, checkpoint
            How it came about: kept with the object and in the history.

        Raises
        ------
        EmptyProposalError
            No pixel of the mask is set.
        UsageError
            Box, mask and image do not fit together.
        StorageError
            The disk is full or read-only; nothing has changed then.
        """
        plane = plane or Plane()
        box, mask = self._checked_mask(box, mask, plane)
        # Cut and compressed before the transaction, so that it is short.
        cut = list(tiles.split(box, mask))
        with self._database.write() as db:
            name = classes.checked_name(class_name) if class_name else classes.current_class(db)
            action = actions.begin_action(
                db, "accept", f"accept {name}", checkpoint=checkpoint, clicks=clicks_to_json(clicks),
                views=views_to_json(views),
            )  # fmt: skip
            class_info = classes.find_class(db, name) or classes.add_class(db, action, name)
            values: dict[str, Any] = {
                "class_id": class_info.id, "t": plane.t, "z": plane.z, "y0": box.y0, "x0": box.x0, "y1": box.y1,
                "x1": box.x1, "area": int(np.count_nonzero(mask)), "action_id": action, "n_clicks": len(clicks),
                "score": score, "seconds": seconds, "checkpoint": checkpoint, "author": user_name(), "created": now(),
            }  # fmt: skip
            object_id = objects.insert_object(db, values, cut)
            actions.record_change(db, action, "object", [object_id], {"live": 0}, {"live": 1})
            objects.mark_dirty(db, [object_id], action)
            accepted = objects.get_objects(db, [object_id], self._read_mask)[0]
        self.changed.emit(Change((box,), plane, (object_id,), "accept"))
        return accepted

    def delete(self, ids: int | Iterable[int]) -> Action:
        """Delete objects, as one action.

        Raises
        ------
        UsageError
            One of the ids is no object.
        """
        with self._database.write() as db:
            wanted = objects.require_live(db, [ids] if isinstance(ids, int) else ids)
            action = actions.begin_action(db, "delete", f"delete {_count(wanted)}")
            actions.record_change(db, action, "object", wanted, {"live": 1}, {"live": 0})
            actions.apply(db, action, "after", action)
            done, places = actions.get_action(db, action), objects.boxes_by_plane(db, wanted)
        self._emit(places, "delete")
        return done

    def set_class(self, ids: int | Iterable[int], class_name: str) -> Action:
        """Give objects another class (made when unknown), as one action.

        Raises
        ------
        UsageError
            One of the ids is no object.
        """
        name = classes.checked_name(class_name)
        with self._database.write() as db:
            wanted = objects.require_live(db, [ids] if isinstance(ids, int) else ids)
            action = actions.begin_action(db, "class-change", f"{_count(wanted)} to {name}")
            new = classes.find_class(db, name) or classes.add_class(db, action, name)
            for old, members in objects.ids_by_class(db, wanted).items():
                actions.record_change(db, action, "object", members, {"class_id": old}, {"class_id": new.id})
            actions.apply(db, action, "after", action)
            done, places = actions.get_action(db, action), objects.boxes_by_plane(db, wanted)
        self._emit(places, "class-change")
        return done

    def objects(self, box: Box | None = None, plane: Plane | None = None) -> Iterator[StoredObject]:
        """The objects, by id: all, or those whose box meets `box`, on every plane or on one.

        They are read in pages; a change made meanwhile shows in the pages that follow.
        """
        if box is not None:
            with self._database.read() as db:
                ids = objects.find_ids(db, box, plane)
            for start in range(0, len(ids), _PAGE):
                with self._database.read() as db:
                    page = objects.get_objects(db, ids[start : start + _PAGE], self._read_mask)
                yield from page
            return
        after = 0
        while True:
            with self._database.read() as db:
                page = objects.get_page(db, after, plane, _PAGE, self._read_mask)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].id

    def object(self, object_id: int) -> StoredObject:
        """The object of that id.

        Raises
        ------
        UsageError
            There is none, or it is deleted.
        """
        with self._database.read() as db:
            objects.require_live(db, [object_id])
            return objects.get_objects(db, [object_id], self._read_mask)[0]

    def object_at(self, y: float, x: float, plane: Plane | None = None) -> StoredObject | None:
        """The topmost object whose mask covers the pixel under the level-0 point, or None."""
        with self._database.read() as db:
            found = reading.find_at(db, y, x, plane or Plane())
            return None if found is None else objects.get_objects(db, [found], self._read_mask)[0]

    def count(self) -> int:
        """How many objects there are."""
        with self._database.read() as db:
            return int(db.execute("SELECT count(*) FROM objects WHERE live = 1").fetchone()[0])

    def labels(
        self, box: Box, plane: Plane | None = None, *, damage: list[ProjectDamagedError] | None = None
    ) -> Labels:
        """Object ids, uint32 [y, x] over a level-0 box; 0 is background, later accepted objects lie on top.

        Raises
        ------
        ProjectDamagedError
            A mask cannot be read; with a list for the `damage` it is reported there and left out instead.
        """
        with self._database.read() as db:
            return reading.read_labels(db, box, plane or Plane(), damage)

    def occupied_tiles(self, box: Box, plane: Plane | None = None) -> list[tuple[int, int]]:
        """(row, column) of the mask tiles that meet a level-0 box and are not empty."""
        with self._database.read() as db:
            return objects.occupied_tiles(db, box, plane or Plane())

    def shown_ids(self, box: Box | None = None, plane: Plane | None = None) -> list[int]:
        """Ids of the objects that the label pyramid and exports show, whose box meets `box`, ascending."""
        with self._database.read() as db:
            return objects.find_shown(db, box or Box(0, 0, *self.shape), plane)

    def object_colors(self) -> list[tuple[int, str, str]]:
        """(id, class name, colour) of every object that the label pyramid shows, by id."""
        with self._database.read() as db:
            return objects.get_colors(db)

    # -- history -----------------------------------------------------------------------------------------------

    def undo(self) -> Action | None:
        """Take the last action back; returns it, or None when there is none left."""
        return self._step("undo")

    def redo(self) -> Action | None:
        """Do the action that was undone last again; returns it, or None when there is none."""
        return self._step("redo")

    @property
    def can_undo(self) -> bool:
        with self._database.read() as db:
            return actions.has_done(db)

    @property
    def can_redo(self) -> bool:
        with self._database.read() as db:
            return actions.has_undone(db)

    def history(self, limit: int | None = 100, *, everything: bool = False) -> list[Action]:
        """The newest actions, newest first: those that can be undone or redone, or really `everything`."""
        with self._database.read() as db:
            return actions.get_history(db, limit, everything=everything)

    def _step(self, kind: str) -> Action | None:
        with self._database.write() as db:
            action = actions.undo(db) if kind == "undo" else actions.redo(db)
            if action is None:
                return None
            places = objects.boxes_by_plane(db, actions.changed_objects(db, action.id))
        self._emit(places, kind)
        return action

    # -- the file ----------------------------------------------------------------------------------------------

    def value(self, key: str) -> str | None:
        """An entry of the project's settings, or None."""
        with self._database.read() as db:
            row = db.execute("SELECT value FROM project WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_value(self, key: str, value: str) -> None:
        """Set an entry of the project's settings; not part of the history."""
        with self._database.write() as db:
            opening.set_value(db, key, value)

    def close(self) -> None:
        """Close the file and give the lock back; a second call does nothing."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _read_mask(self, stored: StoredObject, box: Box) -> Mask:
        with self._database.read() as db:
            return reading.read_mask(db, stored.id, box)

    def _checked_mask(self, box: Box, mask: Mask, plane: Plane) -> tuple[Box, Mask]:
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != box.shape:
            raise UsageError(
                f"The mask is {mask.dtype} {mask.shape}; its box {box} needs bool {box.shape}.", "Pass a bool mask."
            )
        if not (0 <= plane.t < self.sizes[0] and 0 <= plane.z < self.sizes[1]):
            raise UsageError(f"{plane} is outside the image's {self.sizes} planes (t, z).", "Choose a plane inside.")
        tight = tiles.tight_box(box, mask)
        if tight.empty:
            raise EmptyProposalError("There is no mask to accept: no pixel is set.", "Click on the object first.")
        if not Box(0, 0, *self.shape).covers(tight):
            raise UsageError(f"The mask at {tight} hangs over the image of {self.shape} pixels.", "Cut it off.")
        return tight, mask[tight.relative_to(box).slices]

    def _emit(self, places: dict[Plane, list[tuple[int, Box]]], kind: str) -> None:
        if not places:
            self.changed.emit(Change((), Plane(), (), kind))
        for plane, members in places.items():
            self.changed.emit(Change(tuple(b for _, b in members), plane, tuple(i for i, _ in members), kind))


def _count(ids: Sequence[int]) -> str:
    return f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
