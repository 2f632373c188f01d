"""The heads that a learning job can train. A new one is one line here and a function `run(context) -> HeadResult`."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from napari_relay.errors import UsageError
from relay_training.finetune.context import Context, HeadResult

HEADS = {"click": "relay_training.finetune.click_head:run", "class": "relay_training.finetune.class_head:run"}
"""Name, as in `LearnJob.heads` -> module:function. Heads are trained in the order of the job, each passes its own gate,
and what they changed of the network goes into one checkpoint."""

Run = Callable[[Context], HeadResult]


def head_named(name: str) -> Run:
    """Raises UsageError for an unknown name."""
    if name not in HEADS:
        raise UsageError(f"There is no head {name!r} to train.", f"Use one of: {', '.join(HEADS)}.")
    module, function = HEADS[name].split(":")
    run: Run = getattr(importlib.import_module(module), function)
    return run
