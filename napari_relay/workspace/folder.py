"""A folder of images, each with its own project beside it, and one class template for all of them.

Images are those of the folder itself, on request those of the folders below it, too. What is known of an image is read
from its project without the lock, so a window may have it open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from napari_relay.errors import ProjectError, UsageError
from napari_relay.formats.class_template import ClassTemplate
from napari_relay.sources.folders import images_in, is_image_folder
from napari_relay.store import Project
from napari_relay.workspace.opening import PROJECT_SUFFIX

TEMPLATE = "relay.classes.json"
"""The folder's class template."""
DONE = "done"
"""Key of the table `project`: "1" where somebody has said that the image is done."""


class ImageState(StrEnum):
    """How far an image of a folder has come."""

    NEW = "new"
    BEGUN = "begun"
    DONE = "done"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class FolderImage:
    """An image, and what its project says. `problem` says why the project cannot be read."""

    path: Path
    state: ImageState = ImageState.NEW
    n_objects: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def project(self) -> Path:
        return self.path.with_name(self.path.name + PROJECT_SUFFIX)


class ImageFolder:
    """The images of a folder. Holds nothing open.

    Parameters
    ----------
    path : the folder.
    recursive : take the folders below it along.

    Raises
    ------
    UsageError
        It is no folder, or an image itself.
    """

    def __init__(self, path: str | Path, *, recursive: bool = False) -> None:
        self.recursive = recursive
        self.path = Path(path).expanduser().absolute()
        if not is_image_folder(self.path):
            raise UsageError(f"{self.path} is not a folder of images.", "Give a folder that has images in it.")

    def paths(self) -> list[Path]:
        """The images, folder by folder, sorted as people count: 2 before 10."""
        return images_in(self.path, recursive=self.recursive)

    def look(self) -> Iterator[FolderImage]:
        """The images with their states, in order; a project takes a few milliseconds."""
        for path in self.paths():
            yield look_at(path)

    @property
    def template_path(self) -> Path:
        return self.path / TEMPLATE

    def template(self) -> ClassTemplate | None:
        """The class template; None where there is none yet.

        Raises
        ------
        ImportFileError
        """
        return ClassTemplate.load(self.template_path) if self.template_path.exists() else None

    def take_in(self, project: Project) -> bool:
        """Give a project the folder's classes; whether that changed anything. The first project of a folder without a
        template makes it.

        Raises
        ------
        ImportFileError, StorageError
        """
        template = self.template()
        if template is None:
            self.give_out(project)
            return False
        return template.apply(project, summary=f"classes of {self.path.name}")

    def give_out(self, project: Project) -> bool:
        """Make a project's classes those of the folder; whether that changed anything.

        Raises
        ------
        StorageError
        """
        template = ClassTemplate.of(project)
        if self.template_path.exists() and self.template() == template:
            return False
        template.save(self.template_path)
        return True


def look_at(path: Path) -> FolderImage:
    """What the project beside an image says of it."""
    found = FolderImage(path)
    if not found.project.exists():
        return found
    try:
        with Project.open(found.project, create=False, read_only=True) as project:
            count = project.count()
            done = is_done(project)
    except ProjectError as error:
        return FolderImage(path, ImageState.BROKEN, problem=str(error))
    state = ImageState.DONE if done else ImageState.BEGUN if count else ImageState.NEW
    return FolderImage(path, state, count)


def is_done(project: Project) -> bool:
    """Whether somebody has said that the image is done."""
    return project.value(DONE) == "1"


def set_done(project: Project, *, done: bool) -> None:
    """Say that the image is done, or that it is not.

    Raises
    ------
    StorageError
    """
    project.set_value(DONE, "1" if done else "")
