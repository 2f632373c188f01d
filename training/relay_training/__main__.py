"""`python -m relay_training COMMAND ...`: one module a command, imported only when its command runs.

A new command is one line in `COMMANDS` and a function with typer annotations in its module.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

import typer

from napari_relay.errors import RelayError

COMMANDS: dict[str, tuple[str, str]] = {
    "coco": ("relay_training.coco:command", "Make a training set of COCO or LVIS annotations."),
    "leakcheck": ("relay_training.leakcheck:command", "Training pictures that look like benchmark pictures."),
    "teach": ("relay_training.teach:command", "Keep MobileSAM's masks of the training pictures, for `encode`."),
    "context-set": ("relay_training.context_set:command", "Make pictures whose label is decided outside the view."),
    "encode": ("relay_training.encodings:command", "Encode training views once, for `fit`."),
    "fit": ("relay_training.fit:command", "Train on cached encodings; resumes."),
    "finetune": ("relay_training.finetune.run:command", "Learn from projects; `napari-relay learn` starts it."),
    "replay-crops": ("relay_training.finetune.crops:command", "Make the file of crops that learning shows again."),
    "average": ("relay_training.average:command", "The mean of two checkpoints of one network."),
    "land": ("relay_training.history:command", "Let a checkpoint into the history if it needs fewer clicks."),
    "bundle": ("relay_training.bundle:command", "Store a trained checkpoint among the bundled ones."),
    "bundle-start": ("relay_training.bundle:command_start", "Write the start weights' shards."),
    "evaluate": (
        "relay_training.evaluate:command",
        "Clicks needed, IoU and times of a checkpoint on sets of pictures.",
    ),
    "class-head": ("relay_training.class_head:command", "Learn the classes of a project, for whole images."),
    "blank": ("relay_training.blank:command", "What the global view and the local relay set are worth."),
    "ablate": ("relay_training.ablate:command", "Take the model's parts away one by one, at an equal budget."),
    "compare": ("relay_training.compare:command", "The same beside MobileSAM and classic methods, in one run."),
}
"""Name -> (module:function, one line of help)."""


def build_app(chosen: str | None = None) -> typer.Typer:
    """The command line; only the module of the `chosen` command is imported."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")

    @app.callback()
    def root() -> None:
        """Train and measure the click model of napari-relay."""

    for name, (target, line) in COMMANDS.items():
        app.command(name, short_help=line)(_load(target) if name == chosen else _not_chosen)
    return app


def _load(target: str) -> Callable[..., None]:
    module, function = target.split(":")
    loaded: Callable[..., None] = getattr(importlib.import_module(module), function)
    return loaded


def _not_chosen() -> None:
    """Stands for a command in the list of `--help`; another one was asked for."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2 for a wrong call, 1 for a failure)."""
    words = list(sys.argv[1:] if words is None else words)
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        build_app(chosen)(args=words, prog_name="python -m relay_training")
    except RelayError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
