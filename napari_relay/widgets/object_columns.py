"""The columns of the object table: their titles, what they are sorted by, and what stands in a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_relay.store import Order, StoredObject
from napari_relay.widgets.measures import PixelArea


@dataclass(frozen=True, slots=True)
class ByMeasure:
    """Sorted by the measurement of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `number` is set to the right; `edits` names what a cell can be edited as: "class" or "note"."""

    title: str
    order: Order | ByMeasure
    text: Callable[[StoredObject], str]
    number: bool = False
    edits: str = ""


def columns(area: PixelArea | None) -> tuple[Column, ...]:
    """The columns for an image whose pixels have that area, or one that is not known."""
    physical = () if area is None else (_physical(area),)
    return (
        Column("Id", Order.ID, lambda o: str(o.id), number=True),
        Column("Class", Order.CLASS, lambda o: o.class_name, edits="class"),
        Column("State", Order.STATE, lambda o: o.state),
        Column("Area, px", Order.AREA, lambda o: f"{o.area:,}", number=True),
        *physical,
        Column("Place (y, x)", Order.POSITION, _place),
        Column("Clicks", Order.CLICKS, lambda o: str(o.n_clicks), number=True),
        Column("Seconds", Order.SECONDS, lambda o: "" if o.seconds is None else f"{o.seconds:.1f}", number=True),
        Column("Score", Order.SCORE, lambda o: "" if o.score is None else f"{o.score:.2f}", number=True),
        Column("Author", Order.AUTHOR, lambda o: o.author),
        Column("Created", Order.CREATED, lambda o: o.created.replace("T", " ").split(".")[0]),
        Column("Checkpoint", Order.CHECKPOINT, lambda o: (o.checkpoint or "")[:12]),
        Column("Note", Order.NOTE, lambda o: o.note, edits="note"),
    )


def _physical(area: PixelArea) -> Column:
    return Column(f"Area, {area.unit}", Order.AREA, lambda o: f"{o.area * area.size:,.4g}", number=True)


def _place(stored: StoredObject) -> str:
    place = f"{stored.box.y0}, {stored.box.x0}"
    plane = stored.plane
    return f"{place} (t {plane.t}, z {plane.z})" if (plane.t, plane.z) != (0, 0) else place
