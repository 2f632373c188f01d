"""The one thread that writes the label pyramid, so that neither the window nor an accept waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from psygnal import EmitLoopError, Signal, SignalInstance

from napari_relay.errors import ProjectDamagedError, RelayError
from napari_relay.store.chunks import DamagedChunkError
from napari_relay.store.database import damaged
from napari_relay.store.project import Project
from napari_relay.store.pyramid import BATCH, LabelPyramid
from napari_relay.store.values import Change

logger = logging.getLogger(__name__)


class PyramidWriter:
    """Renders what the project's journal holds, newest change first. Who makes it closes it.

    An error (a full disk) stops the rendering, is emitted and logged, and is tried again at the next `schedule`;
    what was not rendered stays on the journal, also over a restart.

    Attributes
    ----------
    rendered : Signal(Change)
        After each batch, from the writer's thread: the level-0 boxes that look different now.
    failed : Signal(RelayError)
        The rendering stopped, or the project is damaged; from the writer's thread.
    damage : list of ProjectDamagedError
        Masks that could not be read, and what a look at the project's pages found, since the writer began.
    """

    rendered = Signal(Change)
    failed = Signal(RelayError)

    def __init__(self, project: Project, pyramid: LabelPyramid) -> None:
        self.damage: list[ProjectDamagedError] = []
        self._project = project
        self._pyramid = pyramid
        self._condition = threading.Condition()
        self._work = True  # what an earlier run left is work
        self._idle = False
        self._closing = False
        self._ended = False
        self._rebuild = False
        self._checked = False
        self._error: RelayError | None = None
        self._thread = threading.Thread(target=self._run, name="label pyramid", daemon=True)
        self._thread.start()

    def schedule(self, change: Change | None = None) -> None:
        """Render soon; returns at once. Connect it to `project.changed`. What to render stands on the journal, so
        the change itself is not needed."""
        with self._condition:
            self._work = True
            self._idle = False
            self._condition.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is rendered; False when `timeout` seconds were not enough.

        Raises
        ------
        RelayError
            The rendering failed.
        """
        self.schedule()
        with self._condition:
            self._condition.wait_for(lambda: self._idle or self._ended, timeout)
            if self._error is not None:
                raise self._error
            if self._ended and not self._closing:
                raise RelayError("The writer of the label pyramid stopped by a fault.", "Open the project again.")
            return self._idle

    def rebuild(self) -> None:
        """Render the whole pyramid anew; returns at once (`flush` waits)."""
        with self._condition:
            self._rebuild = True
        self.schedule()

    def close(self, timeout: float = 10.0) -> None:
        """Render what is left for at most `timeout` seconds, write the colours, and end the thread. What is not
        done by then is done after the next opening. A second call does nothing."""
        if not self._thread.is_alive():
            return
        with suppress(RelayError):  # emitted and logged when it happened
            self.flush(timeout)
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def _run(self) -> None:
        ended_well = False
        try:
            while self._wait_for_work():
                try:
                    self._catch_up()
                except RelayError as error:
                    self._report(error)
                if self._rest():
                    self._keep_house()
            self._finish()
            ended_well = True
        finally:
            with self._condition:
                self._idle = ended_well
                self._ended = True
                self._condition.notify_all()

    def _wait_for_work(self) -> bool:
        """Sleep until something is scheduled; False when the writer is being closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._work or self._closing)
            self._work = False
            self._error = None
            return not self._closing

    def _rest(self) -> bool:
        """Tell who waits that all is rendered, unless more was scheduled meanwhile."""
        with self._condition:
            self._idle = not self._work
            self._condition.notify_all()
            return self._idle and not self._closing

    def _catch_up(self) -> None:
        while not self._closing:
            if self._rebuild:
                self._rebuild = False
                self._pyramid.clear()
            tiles = self._project.journal.tiles(BATCH)
            if not tiles:
                return
            try:
                changed = self._pyramid.render(tiles)
            except DamagedChunkError as error:
                logger.warning("%s It is rendered anew.", error)
                self._rebuild = True
                continue
            self._tell_damage(self._pyramid.take_damage())
            self._emit(self.rendered, Change(tuple(changed), tiles[0].plane, (), "rendered"))

    def _keep_house(self) -> None:
        """What the project needs now and then from a thread that has time: a look at its pages, once, and backups."""
        if not self._checked:
            self._checked = True
            self._tell_damage([damaged(self._project.path, fault) for fault in self._project.quick_check()[:1]])
        try:
            self._project.backup_if_due()
        except RelayError as error:
            logger.warning("No backup was made: %s", error)

    def _finish(self) -> None:
        try:
            self._pyramid.write_colors()
        except RelayError as error:
            self._report(error)

    def _report(self, error: RelayError) -> None:
        logger.error("The label pyramid is behind: %s", error)
        with self._condition:
            self._error = error
        self._emit(self.failed, error)

    def _tell_damage(self, found: Sequence[ProjectDamagedError]) -> None:
        """The project itself is damaged: that does not stop the rendering, and trying again would not help."""
        for error in found:
            logger.error("%s", error)
            self.damage.append(error)
            self._emit(self.failed, error)

    def _emit(self, signal: SignalInstance, value: Change | RelayError) -> None:
        try:
            signal.emit(value)
        except EmitLoopError:  # a listener's mistake must not end the thread
            logger.exception("A listener to the label pyramid failed")
