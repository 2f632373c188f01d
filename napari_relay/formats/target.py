"""The image that a file of objects is read for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from napari_relay.formats.checking import Place
from napari_relay.formats.frames import Frame
from napari_relay.formats.job import Georeference
from napari_relay.geometry import Box, Plane


@dataclass(frozen=True, slots=True)
class Target:
    """Level-0 (height, width), number of t and z planes, file name and place on the Earth of the image.

    `plane` is where objects go of which a file does not say it; `skipped` counts what a reader passed over, by kind.
    """

    shape: tuple[int, int]
    sizes: tuple[int, int] = (1, 1)
    image_name: str = ""
    georeference: Georeference | None = None
    plane: Plane = field(default_factory=Plane)
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def whole(self) -> Frame:
        """The whole of the image's plane."""
        return Frame(Box(0, 0, *self.shape), self.plane)

    def names(self, file_name: str) -> bool:
        """Whether a file name, with or without folders and ending, means this image."""
        last = PureWindowsPath(PurePosixPath(file_name).name).name
        return bool(self.image_name) and self.image_name in (last, last.rpartition(".")[0])

    def check(self, frame: Frame, place: Place) -> Frame:
        """Refuse a frame that does not lie in the image.

        Raises
        ------
        ImportFileError
        """
        box, plane = frame.box, frame.plane
        if box.empty or not Box(0, 0, *self.shape).covers(box):
            raise place.bad(
                f"it describes {box.height} x {box.width} pixels at y={box.y0}, x={box.x0}, "
                f"the image has {self.shape[0]} x {self.shape[1]}"
            )
        if not (plane.t < self.sizes[0] and plane.z < self.sizes[1]):
            raise place.bad(f"the image has no plane t={plane.t}, z={plane.z}")
        return frame
