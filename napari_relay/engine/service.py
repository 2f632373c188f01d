"""What the engine runs: an object made by a factory, its methods plain or generators.

A service may have two attributes that the engine reads once after making it: `device` (text; another than
"cpu" may be replaced by "cpu" when the process dies) and `notes` (texts for the user).
"""

from __future__ import annotations

import importlib
import logging
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from napari_relay.errors import EngineError, RelayError

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The job was stopped at a yield; it never leaves the engine."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error ready to cross the border, and the traceback of one that was not foreseen."""

    error: RelayError
    trace: str = ""

    def report(self) -> None:
        if self.trace:
            log.error("%s\n%s", self.error, self.trace)


def make_service(factory: str, arguments: Mapping[str, object]) -> object:
    """Call the factory named "package.module:function" with the keyword arguments.

    Raises
    ------
    EngineError
        The name leads nowhere.
    Exception
        Whatever the factory raises.
    """
    module_name, _, name = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineError(f"Cannot load {factory!r}: {error}.", "Install napari-relay again.") from error
    service: object = make(**arguments)
    return service


def device_of(service: object) -> str:
    return str(getattr(service, "device", "cpu"))


def notes_of(service: object) -> str:
    return " ".join(str(note) for note in getattr(service, "notes", ()))


def run_method(service: object, method: str, args: tuple[object, ...], must_stop: Callable[[], bool]) -> object:
    """Run one method; a generator is driven to its end and asked `must_stop` between two yields.

    Raises
    ------
    Stopped
        `must_stop` said so; the generator is closed.
    EngineError
        The service has no such method.
    """
    function = None if method.startswith("_") else getattr(service, method, None)
    if not callable(function):
        raise EngineError(f"{type(service).__name__} has no method {method!r}.", "Check the name.")
    if must_stop():
        raise Stopped
    outcome: object = function(*args)
    if not isinstance(outcome, Generator):
        return outcome
    try:
        while True:
            try:
                next(outcome)
            except StopIteration as done:
                return done.value
            if must_stop():
                raise Stopped
    finally:
        outcome.close()


def failure_of(error: Exception, doing: str) -> Failure:
    """Errors of our own tree as they are; any other becomes an EngineError, with its traceback for the log."""
    if isinstance(error, RelayError):
        return Failure(error)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, MemoryError):
        what, fix = f"Memory ran out while {doing}.", "Close other programs or images and try again."
    else:
        what, fix = f"Something failed while {doing}: {text}.", "The log holds the details."
    wrapped = EngineError(what, fix)
    wrapped.__cause__ = error  # for who debugs in this process; it does not cross to another
    return Failure(wrapped, "".join(traceback.format_exception(error)))
