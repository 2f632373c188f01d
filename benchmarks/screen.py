"""A virtual screen and empty settings: every window of a benchmark starts alike and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_relay.errors import RelayError, UsageError

SIZE = (1400, 900)


@contextmanager
def screen() -> Iterator[dict[str, str]]:
    """An environment with an Xvfb of its own and settings folders that are deleted at the end.

    Caches stay the user's: a program that is measured has been started before.

    Raises
    ------
    UsageError
        Xvfb is not installed.
    """
    if shutil.which("Xvfb") is None:
        raise UsageError("Xvfb, the virtual screen, is not installed.", "Install it: apt-get install xvfb")
    with tempfile.TemporaryDirectory(prefix="benchmark-screen-", ignore_cleanup_errors=True) as folder:
        reading, writing = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"],
            pass_fds=[writing], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writing)
        try:
            with os.fdopen(reading) as pipe:
                number = pipe.readline().strip()
            if not number:
                raise RelayError("Xvfb did not start.", "Run it by hand to see why.")
            yield _environment(f":{number}", Path(folder))
        finally:
            server.terminate()
            server.wait()


def _environment(display: str, folder: Path) -> dict[str, str]:
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    environment = dict(os.environ)
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        environment.pop(name, None)
    return environment | {
        "DISPLAY": display,
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_RUNTIME_DIR": str(runtime),
        "NAPARI_CONFIG": str(folder / "config" / "napari.yaml"),
    }
