"""What can be asked of a project: classes, objects, pixels, history. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from napari_relay.errors import ProjectDamagedError
from napari_relay.geometry import Box, Click, Plane
from napari_relay.store import actions, classes, objects, query, reading
from napari_relay.store.database import Connections
from napari_relay.store.query import Ids, ObjectFilter, Order
from napari_relay.store.values import Action, ClassInfo, ClassSpec, Labels, Mask, StoredObject
from napari_relay.views.values import ViewPair

ClassLabels = npt.NDArray[np.uint16]

_PAGE = 500


class ProjectReader:
    """A project to be read: a `Project` itself, or its state at one moment (`Project.snapshot`).

    All methods may be called from any thread; reading never waits for writing. A context manager; whoever got it
    closes it.

    Attributes
    ----------
    path, id, fingerprint, image_name, shape, sizes, created
        Of the project file and its image: where it is, a random id, content fingerprint, file name, (height, width),
        number of t and z planes, time of its making.
    """

    def __init__(self, database: Connections, info: dict[str, str]) -> None:
        self._database = database
        self._info = info
        self.path = database.path
        self.id = info["id"]
        self.fingerprint = info["fingerprint"]
        self.image_name = info["image_name"]
        self.shape = (int(info["height"]), int(info["width"]))
        self.sizes = (int(info["size_t"]), int(info["size_z"]))
        self.created = info["created"]

    def classes(self) -> list[ClassInfo]:
        """The classes, in the order in which they are shown."""
        with self._database.read() as db:
            return classes.get_classes(db)

    def class_specs(self) -> list[ClassSpec]:
        """The classes as they would be put into a template, in the order in which they are shown."""
        found = self.classes()
        names = {info.id: info.name for info in found}
        return [ClassSpec(info.name, info.color, info.key, names.get(info.parent_id or 0, "")) for info in found]

    def get_current_class(self) -> str:
        """Name of the class that is chosen for new objects."""
        with self._database.read() as db:
            return classes.current_class(db)

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

    def origin(self, object_id: int) -> tuple[tuple[Click, ...], ViewPair | None]:
        """The clicks and views that an object's mask came from."""
        with self._database.read() as db:
            return actions.get_origin(db, object_id)

    def object_at(self, y: float, x: float, plane: Plane | None = None) -> StoredObject | None:
        """The topmost object whose mask covers the pixel under the level-0 point, or None."""
        with self._database.read() as db:
            found = reading.find_at(db, y, x, plane or Plane())
            return None if found is None else objects.get_objects(db, [found], self._read_mask)[0]

    def count(self) -> int:
        """How many objects there are; instant, however many."""
        with self._database.read() as db:
            return int(db.execute("SELECT coalesce(sum(n), 0) FROM totals").fetchone()[0])

    def totals(self) -> dict[tuple[str, str], int]:
        """How many objects there are of each (class name, state) that has any; instant, however many."""
        with self._database.read() as db:
            return query.get_totals(db)

    def find(
        self, wanted: ObjectFilter | None = None, order: Order | str = Order.ID, *, descending: bool = False
    ) -> Ids:
        """Ids of the objects that a filter lets through (all without one), sorted; int64 [n].

        A million take about a second; `rows` then reads the few that are looked at.
        """
        with self._database.read() as db:
            return query.find(db, wanted or ObjectFilter(), Order(order), descending=descending)

    def rows(self, ids: Sequence[int]) -> list[StoredObject]:
        """The objects of these ids, in their order; those that do not exist (any more) are left out."""
        with self._database.read() as db:
            found = {stored.id: stored for stored in objects.get_objects(db, ids, self._read_mask)}
        return [found[i] for i in ids if i in found]

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

    def class_labels(self, box: Box, plane: Plane | None = None) -> ClassLabels:
        """The class of every pixel, uint16 [y, x] over a level-0 box: 0 is background, 1 the first of `classes()`."""
        labels = self.labels(box, plane)
        ids, places = np.unique(labels, return_inverse=True)
        index = {info.name: place for place, info in enumerate(self.classes(), start=1)}
        of_id = {number: index[name] for number, name, _ in self.object_colors(ids.tolist())}
        found = np.array([of_id.get(number, 0) for number in ids.tolist()], np.uint16)
        return found[places].reshape(labels.shape)

    def occupied_tiles(self, box: Box, plane: Plane | None = None) -> list[tuple[int, int]]:
        """(row, column) of the mask tiles that meet a level-0 box and are not empty."""
        with self._database.read() as db:
            return objects.occupied_tiles(db, box, plane or Plane())

    def shown_ids(self, box: Box | None = None, plane: Plane | None = None) -> list[int]:
        """Ids of the objects that the label pyramid and exports show, whose box meets `box`, ascending."""
        with self._database.read() as db:
            return objects.find_shown(db, box or Box(0, 0, *self.shape), plane)

    def object_colors(self, ids: Iterable[int] | None = None) -> list[tuple[int, str, str]]:
        """(id, class name, colour) of every object that the label pyramid shows, or of those among `ids`, by id."""
        with self._database.read() as db:
            return objects.get_colors(db, ids)

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

    def value(self, key: str) -> str | None:
        """An entry of the project's settings, or None."""
        with self._database.read() as db:
            row = db.execute("SELECT value FROM project WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def _read_mask(self, stored: StoredObject, box: Box) -> Mask:
        with self._database.read() as db:
            return reading.read_mask(db, stored.id, box)
