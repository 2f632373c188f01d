"""The program `napari-relay`: which command a line of words means, and what its failure looks like.

Exit codes: 0 done, 1 it failed, 2 the call was wrong, 130 interrupted by the user.
"""

from __future__ import annotations

import difflib
import errno
import functools
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_relay import __version__
from napari_relay.cli.console import err
from napari_relay.engine.process import PATIENT
from napari_relay.errors import RelayError, UsageError

CONTEXT = {"help_option_names": ["-h", "--help"]}
COMMANDS = {
    "open": "napari_relay.cli.open:open_window",
    "demo": "napari_relay.cli.demo:demo",
    "segment": "napari_relay.cli.segment:segment",
    "evaluate": "napari_relay.cli.evaluate:evaluate",
    "propose": "napari_relay.cli.propose:propose",
    "learn": "napari_relay.cli.learn:learn",
    "export": "napari_relay.cli.export:export",
    "import": "napari_relay.cli.import_:import_",
    "classes": "napari_relay.cli.classes:classes",
    "info": "napari_relay.cli.info:info",
    "history": "napari_relay.cli.history:history",
    "repair": "napari_relay.cli.repair:repair",
    "relocate": "napari_relay.cli.relocate:relocate",
    "doctor": "napari_relay.cli.doctor:doctor",
}
"""Name -> module:function. A module is imported when its command is called, so that the window does not wait for
what other commands need."""


class FileOrCommand(TyperGroup):
    """Takes a first word that is no command's name as a file to open, and words our errors."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        return _load(name) if name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            self._refuse_mistyped_command(args[0])
            args = ["open", *args]
        return super().resolve_command(ctx, args)

    def _refuse_mistyped_command(self, word: str) -> None:
        looks_like_a_name = word.isidentifier() and not Path(word).exists()
        close = difflib.get_close_matches(word, COMMANDS, n=1)
        if looks_like_a_name and close:
            raise UsageError(
                f"{word!r} is neither a command nor a file here.", f"Did you mean `napari-relay {close[0]}`?"
            )

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (RelayError, OSError, MemoryError) as error:
            if ctx.params.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                raise
            err.print(f"Error: {_sentence(error)}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code if isinstance(error, RelayError) else 1) from None


@functools.cache
def _load(name: str) -> Any:
    module, function = COMMANDS[name].split(":")
    one = typer.Typer(rich_markup_mode="rich", add_completion=False, context_settings=CONTEXT)
    one.command(name)(getattr(importlib.import_module(module), function))
    return typer.main.get_command(one)


def _sentence(error: RelayError | OSError | MemoryError) -> str:
    if isinstance(error, RelayError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or work on a smaller part of the image."
    return str(error) or type(error).__name__


app = typer.Typer(
    name="napari-relay",
    cls=FileOrCommand,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-relay {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def napari_relay(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Cut exact masks out of images of any size: click, correct, accept, and nothing is ever lost.

    A first word that is no command is a file to open; without any word the window opens empty.

    \b
    Examples:
      napari-relay slide.svs                  open an image in the window
      napari-relay photos/                    work through a folder of images
      napari-relay                            open the empty window
      napari-relay demo                       see it work, without a screen
      napari-relay segment photo.jpg --clicks clicks.json
      napari-relay doctor                     what is wrong here, and how to mend it
    """
    if ctx.invoked_subcommand is None:
        from napari_relay.cli.open import open_window

        open_window(image=None)


def _debug_first(words: Sequence[str]) -> list[str]:
    """--debug counts wherever it stands before a lone --."""
    end = words.index("--") if "--" in words else len(words)
    rest = [word for word in words[:end] if word != "--debug"]
    return (["--debug"] if len(rest) < end else []) + rest + list(words[end:])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program on `argv` (the process's own words by default) and exit with its code."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    app(args=_debug_first(sys.argv[1:] if argv is None else argv), prog_name="napari-relay")
