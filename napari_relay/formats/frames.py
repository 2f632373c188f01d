"""Frames: the pictures that an export describes; a large image is cut into several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_relay.formats.checking import Place, as_int
from napari_relay.formats.job import ExportJob
from napari_relay.geometry import Box, Plane

_NAME = re.compile(r"(?:_t(?P<t>\d{1,9}))?(?:_z(?P<z>\d{1,9}))?_y(?P<y>\d{1,9})_x(?P<x>\d{1,9})$")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: a plane and a box of the image, in level-0 pixels. Its own first pixel is (y0, x0)."""

    box: Box
    plane: Plane = field(default_factory=Plane)

    def name(self, stem: str) -> str:
        """A file name without ending that says where the frame lies."""
        return f"{stem}_t{self.plane.t}_z{self.plane.z}_y{self.box.y0}_x{self.box.x0}"

    def to_json(self, image_name: str) -> dict[str, Any]:
        """Where the frame lies, as it is put into records."""
        return {"image": image_name, "t": self.plane.t, "z": self.plane.z, "y0": self.box.y0, "x0": self.box.x0,
                "height": self.box.height, "width": self.box.width}  # fmt: skip


def frames_of(job: ExportJob) -> Iterator[Frame]:
    """The frames of an export: by plane, and where it is cut into tiles by row and column."""
    for t in job.planes[0]:
        for z in job.planes[1]:
            for box in boxes_of(job):
                yield Frame(box, Plane(t, z))


def boxes_of(job: ExportJob) -> Iterator[Box]:
    """The pieces that the region is cut into, by row and column."""
    region = job.region
    if job.tile is None:
        yield region
        return
    for y in range(region.y0, region.y1, job.tile):
        for x in range(region.x0, region.x1, job.tile):
            yield Box(y, x, y + job.tile, x + job.tile).intersect(region)


def frame_from_json(found: Mapping[str, Any], place: Place) -> Frame:
    """The frame of a record that `Frame.to_json` wrote.

    Raises
    ------
    ImportFileError
    """
    y0, x0, height, width, t, z = (
        as_int(found.get(name, 0), place.field(name), 0, 2**31) for name in ("y0", "x0", "height", "width", "t", "z")
    )
    return Frame(Box(y0, x0, y0 + height, x0 + width), Plane(t, z))


def frame_from_name(path: Path, shape: tuple[int, int]) -> Frame | None:
    """The frame of `shape` pixels whose place the file's name tells; None where it tells none."""
    match = _NAME.search(path.stem)
    if match is None:
        return None
    y, x = int(match["y"]), int(match["x"])
    return Frame(Box(y, x, y + shape[0], x + shape[1]), Plane(int(match["t"] or 0), int(match["z"] or 0)))
