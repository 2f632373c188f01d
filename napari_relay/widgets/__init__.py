"""The window: a dock, a click tool and the layers that show what the session knows.

The only room that knows Qt and napari. It holds no logic that a test without Qt cannot reach: what to do with a
click is decided in `controller.py` (read it first), where a click lies in `transforms.py`, what to say in
`wording.py`. It never imports torch and never does slow work on the GUI thread.
"""

from __future__ import annotations

from typing import Any

__all__ = ["RelayWidget", "launch"]


def __getattr__(name: str) -> Any:
    if name == "RelayWidget":
        from napari_relay.widgets.dock import RelayWidget

        return RelayWidget
    if name == "launch":
        from napari_relay.widgets.launcher import launch

        return launch
    raise AttributeError(f"module 'napari_relay.widgets' has no attribute {name!r}")
