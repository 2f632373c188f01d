"""The object being clicked, and those on their way to disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_relay.geometry import Box, Click, Plane
from napari_relay.views.values import ViewPair
from napari_relay.widgets.state import Phase


@dataclass(eq=False)
class Draft:
    """An object being clicked on one plane.

    pending : jobs of its session that were asked for and not answered.
    class_name : the current class when it was accepted.
    own_class : the class of an object that was taken up, which it keeps.
    """

    session: Any
    plane: Plane
    pending: int = 0
    error: str = ""
    class_name: str = ""
    own_class: str = ""

    @property
    def proposal(self) -> Any:
        """The session's proposal, None without one."""
        return self.session.proposal

    def compute_and_accept(self) -> None:
        """Both at once, for an image that is being closed; in the runner's thread."""
        if not self.session.compute().empty:
            self.session.accept(self.class_name or None)

    @property
    def phase(self) -> Phase:
        if self.error:
            return Phase.FAILED
        if self.pending and self.session.pending:
            # Not while only late answers to clicks that are gone are awaited.
            return Phase.COMPUTING
        if not self.session.clicks or self.proposal is None:
            return Phase.READY
        return Phase.NOTHING if self.proposal.empty else Phase.PROPOSAL


@dataclass(eq=False)
class Accepted:
    """A mask accepted just now; shown by the overlay until the objects layer has it."""

    proposal: Any
    plane: Plane
    class_name: str
    object_id: int = 0
    written: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Looked:
    """An object that is looked at: bool mask [y, x] over its box."""

    object_id: int
    box: Box
    mask: Any
    plane: Plane


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """What the overlay shows on one plane."""

    shape: tuple[int, int] = (1, 1)
    """(height, width) of the image."""
    proposal: Any = None
    accepted: tuple[Accepted, ...] = ()
    looked_at: Looked | None = None
    """A proposal of the project that is being reviewed; shown while nothing is clicked."""
    clicks: tuple[Click, ...] = ()
    views: ViewPair | None = None
    busy: bool = False
    stroke: Any = None
    """(box, mask, adds) of what is being drawn; None while nothing is."""
