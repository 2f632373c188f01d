"""The error tree of napari-relay. Every message says what happened, where, and what to do about it.

    RelayError                      anything this program reports; exit code 1
    |-- UsageError                  the call itself was wrong (bad argument, unknown name); exit code 2
    |-- MissingExtraError           an optional dependency is not installed (also an ImportError)
    |-- ImageError                  an image cannot be opened or read (also an OSError)
    |   |-- UnsupportedImageError   readable, but not an image that can be annotated
    |   `-- DamagedImageError       truncated, corrupt or empty
    |-- ClickError                  a click that cannot be taken (outside the image, no positive click)
    |-- EmptyProposalError          accept was asked for with an empty mask
    |-- ProjectError                the project file cannot be used
    |   |-- ProjectMismatchError    it belongs to another image
    |   |-- ProjectVersionError     it was written by a newer program
    |   |-- ProjectLockedError      another window writes it
    |   |-- ProjectDamagedError     the file is not a project or is corrupt
    |   `-- StorageError            disk full, read-only or gone (also an OSError)
    |-- CheckpointError             weights cannot be loaded: truncated, another kind, too new
    |-- ExportError                 a format cannot hold or write what was asked
    |-- ImportFileError             a file of objects cannot be read, or does not fit the image
    `-- EngineError                 the computing side failed
        |-- WorkerDiedError         the worker process ended unexpectedly
        |-- SupersededError         a newer request took this one's place
        |-- CancelledError          the user cancelled it
        |-- MissingEncodingError    the cache has no encoding of that key (any more): send the pixels again
        `-- EngineClosedError       the engine was closed before or during the request
"""

from __future__ import annotations


class RelayError(Exception):
    """Base of all errors reported to the user.

    Parameters
    ----------
    what : str
        One sentence: what happened, and where.
    fix : str, optional
        One sentence: what the user can do about it. Appended to the message.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what = what
        self.fix = fix

    def __reduce__(self) -> tuple[type[RelayError], tuple[str, str]]:
        # Errors cross the border of the worker process; the default would pass the joined text only.
        return (type(self), (self.what, self.fix))


class UsageError(RelayError, ValueError):
    """The call was wrong: bad argument or unknown name."""

    exit_code = 2


class MissingExtraError(RelayError, ImportError):
    """An optional dependency is missing; the message names the extra to install."""


class ImageError(RelayError, OSError):
    """An image cannot be opened or read."""

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()


class UnsupportedImageError(ImageError):
    """The file can be read, but nothing in it can be annotated."""


class DamagedImageError(ImageError):
    """The file is truncated, corrupt or empty."""


class ClickError(RelayError, ValueError):
    """A click that cannot be taken."""


class EmptyProposalError(RelayError):
    """There is no mask to accept."""


class ProjectError(RelayError):
    """A project file cannot be used."""


class ProjectMismatchError(ProjectError):
    """The project belongs to another image."""


class ProjectVersionError(ProjectError):
    """The project was written by a newer program."""


class ProjectLockedError(ProjectError):
    """Another window or process is writing the project."""


class ProjectDamagedError(ProjectError):
    """The file is not a project, or is corrupt."""


class StorageError(ProjectError, OSError):
    """The disk is full, read-only or gone."""

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()


class CheckpointError(RelayError):
    """Weights cannot be loaded."""


class ExportError(RelayError):
    """A format cannot hold or write what was asked."""


class ImportFileError(RelayError):
    """A file of objects cannot be read, or does not fit the image."""


class EngineError(RelayError):
    """The computing side failed."""


class WorkerDiedError(EngineError):
    """The worker process ended unexpectedly."""


class MissingEncodingError(EngineError):
    """The encoding asked for is not in the cache."""


class SupersededError(EngineError):
    """A newer request took this one's place."""


class CancelledError(EngineError):
    """The user cancelled the request."""


class EngineClosedError(EngineError):
    """The engine was closed before or during the request."""
