"""The image worked on: opened when the tool is armed, clicked, closed. Joins layers, click tool and controller.

No Qt here: the viewer may be napari's model alone; threads and timers are handed in. The user may do anything with
the layers meanwhile; each is known by reference, and what is gone is closed properly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_relay.geometry import Click
from napari_relay.sources import Source
from napari_relay.widgets.binding import LayerShape
from napari_relay.widgets.committed import CommittedObjects
from napari_relay.widgets.controller import ClickController, sentence
from napari_relay.widgets.drafts import Looked, Scene
from napari_relay.widgets.images import ImageChoice
from napari_relay.widgets.layers import SceneLayers
from napari_relay.widgets.objects import ObjectView
from napari_relay.widgets.opening import Opened, Opening
from napari_relay.widgets.sight import Sight
from napari_relay.widgets.state import Phase, Shown
from napari_relay.widgets.threads import Runner
from napari_relay.widgets.tool import ClickTool
from napari_relay.widgets.transforms import ImagePoint


@dataclass(frozen=True, slots=True)
class Means:
    """What the desk is given to work with.

    make_runner : makes a runner for an image.
    later : calls a function in a later turn of the event loop.
    open_workspace : (source, project or None) -> Workspace; called in a runner's thread.
    take_away : takes layers of ours out of the viewer, soon.
    """

    make_runner: Callable[[], Runner]
    later: Callable[[Callable[[], None]], None]
    open_workspace: Callable[[Source, Path | None], Any]
    take_away: Callable[[list[Any]], None]


@dataclass(frozen=True, slots=True)
class EarlyClick:
    """A click made while its image is being opened."""

    point: ImagePoint
    positive: bool
    zoom: float

    @property
    def click(self) -> Click:
        return Click(self.point.y, self.point.x, self.positive)


class Desk:
    """The click tool on one viewer. Who makes it closes it.

    Parameters
    ----------
    viewer : napari viewer or its model, not a proxy of it.
    project : keeps the objects of the first image there, instead of beside it.

    Attributes
    ----------
    changed : the state that the dock shows.
    question : a Question for the user; None when it needs no answer any more.
    notice : a sentence for the user that must not be missed.
    moved : the mouse moved over the image.
    yielded : the user took up another tool of napari.
    """

    changed = Signal(Shown)
    question = Signal(object)
    notice = Signal(str)
    moved = Signal()
    yielded = Signal()

    def __init__(self, viewer: Any, means: Means, *, project: Path | None = None) -> None:
        self.viewer, self._means, self._project = viewer, means, project
        self.images = ImageChoice(viewer)
        self.sight = Sight(viewer, means.later)
        self.scene = SceneLayers(viewer, means.later)
        self.tool = ClickTool(
            viewer, on_click=self._clicked, on_hover=self._hovered, on_yield=lambda: self.yielded.emit()
        )
        self.controller: ClickController | None = None
        self.committed: CommittedObjects | None = None
        self.object_view = ObjectView.BOTH
        self._opening: Opening | None = None
        self._early: list[EarlyClick] = []
        self._looked_at: Looked | None = None
        self._mouse: tuple[float, ...] | None = None
        self._failure = ""
        self.images.chosen.connect(self._chosen)
        self.images.changed.connect(self._tell)
        self.sight.changed.connect(self._looked)
        self._camera = viewer.scene.camera.events
        self._camera.center.connect(self._camera_moved)
        self._camera.zoom.connect(self._camera_zoomed)
        self.sight.look_at(self.layer)

    # -- state -------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The image layer worked on; None without one."""
        return self.images.layer

    @property
    def armed(self) -> bool:
        return self.tool.armed

    @property
    def shown(self) -> Shown:
        if self.layer is None:
            return Shown()
        if self.controller is not None:
            shown = replace(self.controller.shown, image=self.layer.name)
        else:
            phase = Phase.FAILED if self._failure else Phase.OPENING
            clicks = tuple(early.click for early in self._early)
            shown = Shown(phase=phase, image=self.layer.name, clicks=clicks, message=self._failure)
        if not self.armed:
            return replace(shown, phase=Phase.IDLE)
        if self.sight.blocked:
            return replace(shown, phase=Phase.BLOCKED, message=self.sight.blocked)
        return shown

    # -- tool --------------------------------------------------------------------------------------------------

    def arm(self) -> None:
        """Take clicks; opens the image the first time."""
        if self.layer is None or self.armed:
            return
        # At once, so that no click is lost; what takes time comes when the image has been drawn.
        self.tool.arm()
        self._means.later(self._begin)
        self._tell()

    def disarm(self) -> None:
        """Leave the mouse and the keys to napari; what was clicked stays."""
        self.tool.disarm()
        self._cancel_prefetch()
        self._tell()

    def retry(self) -> None:
        """Open the image again after that failed."""
        self._failure = ""
        self._open()
        self._tell()

    def rested(self) -> None:
        """The mouse has rested over the image for a while: prepare that place."""
        if self.controller is None or not self.armed or self.sight.blocked or self._mouse is None:
            return
        point = self.sight.point(self._mouse)
        if self.sight.inside(point):
            self.controller.prefetch(point, self.sight.zoom)

    def look_at(self, looked: Looked | None) -> None:
        """Show the mask of an object that is in no label image, while nothing is clicked; None shows none."""
        self._looked_at = looked
        self._repaint()

    def set_show_views(self, show: bool) -> None:
        self.scene.show_views = show
        self._repaint()

    def close(self) -> list[Any]:
        """Let go of the viewer; close the image in the background. A second call does nothing.

        Returns the layers to take out of the viewer, unless it is being closed itself.
        """
        if self._camera is None:
            return []
        self.tool.disarm()
        self._camera.center.disconnect(self._camera_moved)
        self._camera.zoom.disconnect(self._camera_zoomed)
        self._camera = None
        self.sight.changed.disconnect(self._looked)
        self.sight.close()
        self.images.close()
        return [*self._close_image(), *self.scene.release()]

    # -- opening -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.armed:
            self._open()
            self._prepare()
            self._tell()

    def _prepare(self) -> None:
        if self.sight.frame is not None:
            self.scene.prepare(self.sight.frame, LayerShape.of(self.layer).plane)

    def _open(self) -> None:
        if self.layer is None or self.controller is not None or self._opening is not None or self._failure:
            return
        runner = self._means.make_runner()
        self._opening = Opening(
            self.layer, runner, self._means.open_workspace, ask=lambda question: self.question.emit(question),
            done=lambda opened: self._opened(opened, runner), failed=self._open_failed, project=self._project,
        )  # fmt: skip
        self._project = None
        self._opening.start()

    def _opened(self, opened: Opened, runner: Runner) -> None:
        self._opening = None
        source = opened.workspace.source
        self.sight.sizes_t_z = (source.sizes_t, source.sizes_z)
        controller = ClickController(opened, runner, plane=None if self.sight.blocked else self.sight.plane)
        self.controller = controller
        self.committed = CommittedObjects(
            self.viewer, self.layer, opened.workspace, runner, shown=controller.forget_accepted,
            pending=controller.awaited,
        )  # fmt: skip
        if self.object_view is not ObjectView.BOTH:
            self.committed.set_view(self.object_view)
        controller.changed.connect(self._tell)
        controller.repaint.connect(self._repaint)
        controller.notice.connect(self._notify)
        controller.accepted.connect(self._accepted)
        early, self._early = self._early, []
        for item in early:
            controller.set_plane(item.point.plane)
            controller.click(item.point, positive=item.positive, zoom=item.zoom)
        self._tell()
        self._repaint()

    def set_object_view(self, view: ObjectView) -> None:
        """Tell classes or objects apart by the colours, in this image and the next ones."""
        self.object_view = view
        if self.committed is not None:
            self.committed.set_view(view)

    def _open_failed(self, error: BaseException) -> None:
        self._opening = None
        self._early.clear()
        self._failure = sentence(error)
        self.notice.emit(self._failure)
        self._tell()
        self._repaint()

    def _close_image(self) -> list[Any]:
        """Returns the layers that belong to the image alone."""
        self._early.clear()
        self._looked_at = None
        self._failure = ""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            opening.cancel()
        left: list[Any] = []
        if self.committed is not None:
            left = self.committed.close()
            self.committed = None
        if self.controller is not None:
            controller, self.controller = self.controller, None
            controller.close()
        return left

    def _chosen(self, layer: Any) -> None:
        self._means.take_away(self._close_image())
        self.scene.clear()
        self.sight.look_at(layer)
        if layer is None:
            self.tool.disarm()
        elif self.armed:
            self._open()
            self._prepare()
        self._tell()

    # -- viewer events -----------------------------------------------------------------------------------------

    def _clicked(self, position: tuple[float, ...], positive: bool) -> None:
        if self.sight.blocked or self.layer is None:
            return
        point = self.sight.point(position)
        if not self.sight.inside(point):
            self.viewer.status = "That place is outside the image."
            return
        if self._opening is not None:
            self._opening.answer_default()
        if self.controller is not None:
            self.controller.set_plane(point.plane)
            self.controller.click(point, positive=positive, zoom=self.sight.zoom)
            return
        self._early.append(EarlyClick(point, positive, self.sight.zoom))
        if self._failure:
            self.retry()
        self._tell()
        self._repaint()

    def _hovered(self, position: tuple[float, ...]) -> None:
        self._mouse = position
        self.moved.emit()

    def _camera_moved(self, event: Any = None) -> None:
        self._mouse = None
        self._cancel_prefetch()

    def _camera_zoomed(self, event: Any = None) -> None:
        self._camera_moved()
        self.scene.rescale()

    def _looked(self) -> None:
        if self.layer is not None and not self.sight.blocked and self.sight.layer is self.layer:
            if self.sight.frame is not None and not self.sight.frame.same_as(self.scene.frame):
                self.scene.place(self.sight.frame)
                if self.committed is not None:
                    self.committed.place()
            if self.controller is not None:
                self.controller.set_plane(self.sight.plane)
        self._tell()

    # -- showing -----------------------------------------------------------------------------------------------

    def _cancel_prefetch(self) -> None:
        if self.controller is not None:
            self.controller.cancel_prefetch()

    def _repaint(self) -> None:
        if self.controller is None:
            self.scene.show(Scene(clicks=tuple(early.click for early in self._early), busy=True))
            return
        classes = [(choice.name, choice.color) for choice in self.controller.ledger.classes]
        self.scene.set_classes(classes)
        if self.committed is not None:
            self.committed.set_classes(classes)
        looked = self._looked_at
        if looked is not None and (self.sight.blocked or looked.plane != self.sight.plane):
            looked = None
        self.scene.show(replace(self.controller.scene, looked_at=looked))

    def _accepted(self, object_id: int) -> None:
        if self.committed is not None:
            self.committed.check()

    def _notify(self, text: str) -> None:
        self.notice.emit(text)

    def _tell(self, *_: object) -> None:
        self.changed.emit(self.shown)
