"""A project: everything that was accepted on one image, with its whole history, in one SQLite file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from psygnal import EmitLoopError, Signal

from napari_relay.errors import UsageError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import actions, classes, objects, opening, tiles
from napari_relay.store.projectfile import ProjectFile
from napari_relay.store.provenance import now, user_name
from napari_relay.store.values import Action, Change, ClassInfo, Mask, StoredObject
from napari_relay.views.values import ViewPair

logger = logging.getLogger(__name__)


class Project(ProjectFile):
    """One image's objects, classes and history. What can be asked is in `ProjectReader`, the file in `ProjectFile`.

    Every change is one transaction: when the method returns, it is on the disk; when it raises, nothing has changed.

    Attributes
    ----------
    changed : Signal(Change)
        After each committed change, once a plane, in the thread that made it.
    """

    changed = Signal(Change)

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
        self._emit({}, "class-create")
        return known

    @property
    def current_class(self) -> str:
        """Name of the class that `accept` takes when none is given. Setting it makes an unknown class."""
        return self.get_current_class()

    @current_class.setter
    def current_class(self, name: str) -> None:
        self.set_value("current_class", self.ensure_class(name).name)

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
        box, mask = tiles.checked_mask(box, mask, self.shape)
        self._check_plane(plane)
        # Cut and compressed before the transaction, so that it is short.
        cut = list(tiles.split(box, mask))
        values = {**objects.mask_columns(box, mask), "n_clicks": len(clicks), "score": score, "seconds": seconds}
        with self._database.write() as db:
            name = classes.checked_name(class_name) if class_name else classes.current_class(db)
            action = actions.begin_action(
                db, "accept", f"accept {name}", checkpoint=checkpoint, clicks=clicks, views=views
            )
            class_info = classes.find_class(db, name) or classes.add_class(db, action, name)
            values |= {
                "class_id": class_info.id, "t": plane.t, "z": plane.z, "action_id": action, "checkpoint": checkpoint,
                "author": user_name(), "created": now(),
            }  # fmt: skip
            object_id = objects.insert_object(db, values, cut)
            actions.record_change(db, action, "object", [object_id], {"live": 0}, {"live": 1})
            objects.mark_dirty(db, [object_id], action)
            accepted = objects.get_objects(db, [object_id], self._read_mask)[0]
        self._emit({plane: [(object_id, box)]}, "accept")
        return accepted

    def revise(
        self,
        object_id: int,
        box: Box,
        mask: Mask,
        *,
        clicks: Sequence[Click] = (),
        views: ViewPair | None = None,
        score: float | None = None,
        seconds: float | None = None,
        checkpoint: str | None = None,
        kind: str = "correct",
    ) -> StoredObject:
        """Give an object another mask; its id, class and history stay, and it comes to lie on top.

        Parameters are those of `accept`; `kind` names the action. The history keeps the tiles that were replaced.

        Raises
        ------
        EmptyProposalError, UsageError, StorageError
            As `accept`; or there is no such object.
        """
        box, mask = tiles.checked_mask(box, mask, self.shape)
        cut = list(tiles.split(box, mask))
        new = {**objects.mask_columns(box, mask), "n_clicks": len(clicks), "score": score, "seconds": seconds}
        with self._database.write() as db:
            objects.require_live(db, [object_id])
            action = actions.begin_action(
                db, kind, f"{kind} object {object_id}", checkpoint=checkpoint, clicks=clicks, views=views
            )
            new |= {"action_id": action, "checkpoint": checkpoint}
            places = objects.boxes_by_plane(db, [object_id])
            old = objects.get_columns(db, object_id, list(new))
            objects.mark_dirty(db, [object_id], action)  # the tiles that go
            actions.replace_tiles(db, action, object_id, cut)
            actions.record_change(db, action, "object", [object_id], old, new)
            actions.apply(db, action, "after", action)  # marks the tiles that come
            revised = objects.get_objects(db, [object_id], self._read_mask)[0]
        ((plane, ((_, old_box),)),) = places.items()
        self._emit({plane: [(object_id, old_box.hull(box))]}, kind)
        return revised

    def delete(self, ids: int | Iterable[int]) -> Action:
        """Delete objects, as one action.

        Raises
        ------
        UsageError
            One of the ids is no object, or none is given.
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
            One of the ids is no object, or none is given.
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

    # -- history -----------------------------------------------------------------------------------------------

    def undo(self) -> Action | None:
        """Take the last action back; returns it, or None when there is none left."""
        return self._step("undo")

    def redo(self) -> Action | None:
        """Do the action that was undone last again; returns it, or None when there is none."""
        return self._step("redo")

    def _step(self, kind: str) -> Action | None:
        with self._database.write() as db:
            action = actions.undo(db) if kind == "undo" else actions.redo(db)
            if action is None:
                return None
            places = objects.boxes_by_plane(db, actions.changed_objects(db, action.id))
        self._emit(places, kind)
        return action

    # -- inside ------------------------------------------------------------------------------------------------

    def _check_plane(self, plane: Plane) -> None:
        if not (0 <= plane.t < self.sizes[0] and 0 <= plane.z < self.sizes[1]):
            raise UsageError(f"{plane} is outside the image's {self.sizes} planes (t, z).", "Choose a plane inside.")

    def _emit(self, places: dict[Plane, list[tuple[int, Box]]], kind: str) -> None:
        """Tell the listeners, once a plane; once at all where no object is concerned."""
        for plane, members in (places or {Plane(): []}).items():
            change = Change(tuple(b for _, b in members), plane, tuple(i for i, _ in members), kind)
            try:
                self.changed.emit(change)
            except EmitLoopError:  # the change is on the disk: a listener's mistake must not look like a failure
                logger.exception("A listener to the project's changes failed")


def _count(ids: Sequence[int]) -> str:
    return f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
