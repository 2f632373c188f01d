"""The project lock: at most one process (one window) writes a project.

The lock is the operating system's own (`flock`, on Windows `msvcrt.locking`) on a small file beside the project.
It goes away with the process that holds it, however that ends, so a lock left by a crash is never in the way. The
file's text (who, where, since when) is for the message to the second window, and tells an orderly end from a crash:
a clean close removes the file. Where the file system has no locks (some network mounts), the text decides instead.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from napari_relay.errors import ProjectLockedError, StorageError
from napari_relay.store.provenance import now, user_name

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_NO_LOCKS_HERE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_TRIES = 20


class ProjectLock:
    """Held from construction to `release`.

    Attributes
    ----------
    stale : dict or None
        What a previous holder wrote that ended without closing the project; None after an orderly end.

    Raises
    ------
    ProjectLockedError
        A live process holds it.
    StorageError
        The lock file cannot be written.
    """

    def __init__(self, project: Path) -> None:
        self.path = project.with_name(project.name + ".lock")
        try:
            self._fd, self.stale = _acquire(self.path, project)
        except OSError as error:
            raise StorageError(
                f"Cannot lock the project {project}: {error.strerror or error}.",
                "Choose a folder that can be written to (--project).",
            ) from error

    @property
    def machine_went_down(self) -> bool:
        """Whether the previous holder ended with the whole machine: then files that it had written, but that the
        system had not flushed, may be lost."""
        return self.stale is not None and self.stale.get("boot") != _boot()

    def release(self) -> None:
        """Give the lock back and remove its file; a second call does nothing."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if os.name == "nt":  # an open file cannot be removed there
            os.close(fd)
            self.path.unlink(missing_ok=True)
            return
        # Removed while still locked: whoever has opened the old file meanwhile sees that it is gone, and tries again.
        self.path.unlink(missing_ok=True)
        os.close(fd)


def _acquire(path: Path, project: Path) -> tuple[int, dict[str, Any] | None]:
    """Open, lock and sign the lock file; returns its descriptor and what an earlier holder left in it."""
    for _ in range(_TRIES):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(fd):
                raise _locked(project, _read(fd))
            if _same_file(fd, path):  # else the holder removed it between our open and our lock
                stale = _read(fd)
                _write(fd)
                return fd, stale
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise _locked(project, None)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # One byte far behind the text, so that others can still read who holds it.
            os.lseek(fd, 1 << 20, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _NO_LOCKS_HERE:
            return not _alive(_read(fd))
        raise
    return True


def _alive(holder: dict[str, Any] | None) -> bool:
    """Whether the process that signed a lock file may still run; a process of another machine counts as running."""
    if holder is None:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        return bool(psutil.Process(int(holder["pid"])).create_time() == holder["started"])
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _boot() -> str:
    """Names this run of this machine. The random id where there is one: the boot time moves with the clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(round(psutil.boot_time(), -1))


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _read(fd: int) -> dict[str, Any] | None:
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(fd, 4096).decode("utf-8"))
    except (OSError, ValueError):  # empty, half-written, or locked against reading
        return None
    return holder if isinstance(holder, dict) else None


def _write(fd: int) -> None:
    holder = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "user": user_name(),
        "since": now(),
    }
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, json.dumps(holder).encode("utf-8"))


def _locked(project: Path, holder: dict[str, Any] | None) -> ProjectLockedError:
    who = ""
    if holder is not None:
        who = f" (process {holder.get('pid')} of {holder.get('user') or 'a user'} on {holder.get('host')}"
        who += f", since {holder.get('since')})"
    return ProjectLockedError(
        f"The project {project} is being written by another window{who}.",
        "Close it there, or open a copy of the project (--project).",
    )
