"""What was drawn by hand on a mask: it holds over every later prediction, until a click says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from napari_relay.geometry import Click
from napari_relay.session.region import Region


class EditKind(StrEnum):
    """Pixels added, pixels taken away, or everything outside them taken away."""

    ADD = "add"
    REMOVE = "remove"
    WITHIN = "within"


@dataclass(frozen=True, eq=False, slots=True)
class Edit:
    """A stroke or an area; `region` is where it acts."""

    kind: EditKind
    region: Region

    def contradicts(self, click: Click) -> bool:
        """Whether a click asks for the opposite."""
        here = bool(self.region.at(np.array([click.y]), np.array([click.x]))[0, 0])
        match self.kind:
            case EditKind.ADD:
                return here and not click.positive
            case EditKind.REMOVE:
                return here and click.positive
            case EditKind.WITHIN:
                return not here and click.positive


def edited(region: Region, edits: Iterable[Edit]) -> Region:
    """The region after the edits, one after the other, in its smallest box."""
    for edit in edits:
        region = _after(region, edit)
    return region.cropped()


def holding(edits: Sequence[Edit], clicks: Iterable[Click]) -> tuple[Edit, ...]:
    """The edits that none of the clicks contradicts."""
    later = tuple(clicks)
    return tuple(edit for edit in edits if not any(edit.contradicts(click) for click in later))


def _after(region: Region, edit: Edit) -> Region:
    if edit.kind is EditKind.ADD:
        box = region.box.hull(edit.region.box)
        mask = region.within(box)
        mask[edit.region.box.relative_to(box).slices] |= edit.region.mask
        return Region(box, mask)
    own = edit.region.within(region.box)
    return Region(region.box, region.mask & (own if edit.kind is EditKind.WITHIN else ~own))
