"""A project: everything that was accepted on one image, with its whole history, in one SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import actions, classes, cleaning, importing, mask_cleaning, objects, opening, raw_masks, tiles
from napari_relay.store import overlap as rules
from napari_relay.store.bulk import check_unprotected
from napari_relay.store.changing import count_words
from napari_relay.store.cleaning import Cleaning
from napari_relay.store.overlap import Settled
from napari_relay.store.proposing import Proposing
from napari_relay.store.values import (
    Actor,
    Change,
    Imported,
    Mask,
    NewObject,
    ObjectState,
    Overlap,
    StoredObject,
    checked,
)
from napari_relay.views.values import ViewPair


class Project(Cleaning, Proposing):
    """One image's objects, classes and history. What can be asked is in `ProjectReader`, what cares for the file in
    `ProjectFile`, undo and redo in `ChangingProject`, classes in `ClassEditing`, what changes objects but not their
    masks in `BulkChanges`, merging and splitting in `Reshaping`, strokes in `Painting`, holes, islands and outlines in
    `Cleaning`, proposals in `Proposing`.

    Every change is one transaction: when the method returns, it is on the disk; when it raises, nothing has changed.
    """

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
        state: ObjectState | str = ObjectState.ACCEPTED,
        overlap: Overlap | str | None = None,
        actor: Actor = Actor.USER,
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
        state : ObjectState
            Proposed ones wait for somebody to accept them, and are in no label image.
        overlap : Overlap, optional
            What becomes of pixels that belong to other objects; None takes the project's rule (`overlap`).
        actor : Actor
            Whether a person does it, or a model on its own.

        Raises
        ------
        EmptyProposalError
            No pixel of the mask is set, or all belong to others.
        UsageError
            Box, mask and image do not fit together.
        StorageError
            The disk is full or read-only; nothing has changed then.
        """
        new = NewObject(
            box, mask, class_name, plane or Plane(), checked(ObjectState, state, "state"), score, seconds, checkpoint,
            n_clicks=len(clicks),
        )  # fmt: skip
        # Cut and compressed before the transaction, so that it is short.
        raw = importing.cut(new, self.shape, self.sizes)
        cleaned_by = self.cleaning
        cut = cleaning.cleaned_object(raw, cleaned_by)
        with self._database.write() as db:
            if (present := cleaning.get_rules(db)) != cleaned_by:  # chosen while this waited for its turn
                cut = cleaning.cleaned_object(raw, present)
            settled = rules.require_left(importing.settle(db, cut, rules.get_rule(db, overlap), actor))
            name = classes.checked_name(class_name) if class_name else classes.current_class(db)
            action = actions.begin_action(
                db, "accept", f"accept {name}{_cutting(settled)}", checkpoint=checkpoint, clicks=clicks, views=views,
                actor=actor,
            )  # fmt: skip
            class_info = classes.find_class(db, name) or classes.add_class(db, action, name)
            object_id = importing.add(db, action, cut, settled, class_info.id)
            if cut is not raw:
                raw_masks.keep(db, action, object_id, raw.tiles, cut.tiles)
            actions.apply(db, action, "after", action)
            accepted = objects.get_objects(db, [object_id], self._read_mask)[0]
            others = self._changes_of_others(db, settled.taken)
        self._tell([Change((accepted.box,), accepted.plane, (object_id,), "accept"), *others])
        return accepted

    def import_objects(
        self,
        new: Iterable[NewObject],
        *,
        summary: str = "",
        colors: Mapping[str, str] | None = None,
        overlap: Overlap | str | None = Overlap.ALLOW,
        clean: bool = False,
        actor: Actor = Actor.USER,
    ) -> Imported:
        """Take in many objects as one action, which one `undo` takes back.

        They are written one by one as `new` yields them, so they need not fit into memory; nobody else can change
        the project until the last is in. `new` may read from the project; it sees it as it was before.

        Parameters
        ----------
        new : iterable of NewObject
            An unknown class name makes a class, in the same action.
        summary : str
            What the history says, for example "labels.tif".
        colors : mapping of class name to #rrggbb, optional
            Colours of classes that are made.
        overlap : Overlap, optional
            What becomes of pixels that belong to other objects, earlier ones of the import too; None takes the
            project's rule. By default every mask comes in as it is.
        clean : bool
            Clean the masks as when they are accepted (`cleaning`). By default they come in as the file has them; the
            next `set_cleaning` takes them along, too.
        actor : Actor
            Whether a person does it, or a model on its own.

        Raises
        ------
        EmptyProposalError, UsageError, StorageError
            As `accept`; or there is no object. Nothing has changed then, and nothing when `new` raises.
        """
        colors = {} if colors is None else colors  # may be filled while `new` is read
        with self._database.write() as db:
            action = actions.begin_action(db, "import", "import", actor=actor)
            ids, left_out, losers = importing.insert_all(
                db, action, new, self.shape, self.sizes, colors, rules.get_rule(db, overlap), actor,
                cleaning.cleaner(db) if clean else None,
            )  # fmt: skip
            actions.set_summary(db, action, f"import {len(ids)} objects{f' from {summary}' if summary else ''}")
            done, changes = actions.get_action(db, action), objects.changes_of(db, ids, "import")
            changes += self._changes_of_others(db, losers)
        self._tell(changes)
        return Imported(done, tuple(ids), tuple(left_out))

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
        overlap: Overlap | str | None = None,
        actor: Actor = Actor.USER,
    ) -> StoredObject:
        """Give an object another mask; its id, class and history stay, and it comes to lie on top. A proposal that a
        person corrects is accepted by that.

        Parameters are those of `accept`; `kind` names the action. The history keeps the tiles that were replaced.

        Raises
        ------
        EmptyProposalError, UsageError, StorageError
            As `accept`; or there is no such object, or it is locked (to a model: or reviewed).
        """
        raw = tiles.checked_mask(box, mask, self.shape)
        cleaned_by = self.cleaning
        box, mask = mask_cleaning.cleaned(*raw, cleaned_by)
        new: dict[str, Any] = {"n_clicks": len(clicks), "score": score, "seconds": seconds, "checkpoint": checkpoint}
        with self._database.write() as db:
            if (present := cleaning.get_rules(db)) != cleaned_by:
                box, mask = mask_cleaning.cleaned(*raw, present)
            objects.require_live(db, [object_id])
            check_unprotected(db, [object_id], actor)
            (before,) = objects.changes_of(db, [object_id], kind)
            rule = rules.get_rule(db, overlap)
            if objects.get_columns(db, object_id, ["state"])["state"] in importing.HIDDEN:
                if actor is Actor.USER:
                    new["state"] = ObjectState.ACCEPTED.value
                else:
                    rule = Overlap.ALLOW
            settled = rules.require_left(rules.settle(db, box, mask, before.plane, rule, actor=actor, own_id=object_id))
            summary = f"{kind} object {object_id}{_cutting(settled)}"
            action = actions.begin_action(
                db, kind, summary, checkpoint=checkpoint, clicks=clicks, views=views, actor=actor
            )
            new |= {**objects.mask_columns(settled.box, settled.mask), "action_id": action}
            for loser in settled.taken:
                rules.cut_away(db, action, loser, settled.box, settled.mask)
            old = objects.get_columns(db, object_id, list(new))
            actions.replace_tiles(db, action, object_id, tiles.split(settled.box, settled.mask))
            if mask is not raw[1]:
                raw_masks.keep(db, action, object_id, tiles.split(*raw), tiles.split(box, mask))
            actions.record_change(db, action, "object", [object_id], old, new)
            actions.apply(db, action, "after", action)
            revised = objects.get_objects(db, [object_id], self._read_mask)[0]
            others = self._changes_of_others(db, settled.taken)
        self._tell([replace(before, boxes=(before.boxes[0].hull(revised.box),)), *others])
        return revised

    # -- overlap -----------------------------------------------------------------------------------------------

    @property
    def overlap(self) -> Overlap:
        """What becomes of pixels of a new mask that belong to other objects; `Overlap.KEEP` in a new project."""
        with self._database.read() as db:
            return rules.get_rule(db)

    @overlap.setter
    def overlap(self, rule: Overlap | str) -> None:
        self.set_value(rules.KEY, checked(Overlap, rule, "overlap rule").value)

    def settle(
        self,
        box: Box,
        mask: Mask,
        *,
        plane: Plane | None = None,
        overlap: Overlap | str | None = None,
        own_id: int = 0,
    ) -> Settled:
        """What `accept` (or, with `own_id`, `revise`) would make of a mask and of the objects under it; to be shown
        before it is done. Parameters are theirs."""
        with self._database.read() as db:
            return rules.settle(db, box, mask, plane or Plane(), rules.get_rule(db, overlap), own_id=own_id)


def _cutting(settled: Settled) -> str:
    return f", cutting {count_words(list(settled.taken))}" if settled.taken else ""
