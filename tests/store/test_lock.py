"""Two windows cannot write one project, and a crash leaves no lock behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from napari_relay.errors import ProjectLockedError, StorageError
from napari_relay.store.lock import ProjectLock

OPEN = """
    import sys
    from napari_relay.errors import ProjectLockedError
    from napari_relay.store import Project
    try:
        project = Project.open(sys.argv[1], fingerprint="abc", shape=(1300, 1500))
    except ProjectLockedError as error:
        print("locked:", error)
        sys.exit(3)
    print("open", flush=True)
    sys.stdin.read()
"""


def start(path: Path, program: str = OPEN) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_second_window_is_refused_and_told_who_has_it(open_project, tmp_path):
    open_project()
    with pytest.raises(ProjectLockedError, match=f"process {os.getpid()}"):
        open_project()
    child = start(tmp_path / "image.tif.relay")
    output = child.communicate(timeout=60)[0]
    assert child.returncode == 3
    assert f"process {os.getpid()}" in output


def test_a_lock_goes_with_the_process_that_is_killed(open_project, tmp_path):
    path = tmp_path / "image.tif.relay"
    child = start(path)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    with pytest.raises(ProjectLockedError, match=f"process {child.pid}"):
        open_project()
    child.kill()
    child.communicate(timeout=60)
    assert (tmp_path / "image.tif.relay.lock").exists()

    project = open_project()
    assert project.value("unclean") == "1"


def test_a_clean_end_leaves_no_lock_file(open_project, tmp_path):
    open_project().close()
    assert not (tmp_path / "image.tif.relay.lock").exists()
    project = open_project()
    assert project.value("unclean") is None


def test_of_many_processes_one_gets_the_project(open_project, tmp_path):
    path = tmp_path / "image.tif.relay"
    open_project().close()
    children = [start(path) for _ in range(3)]
    lines = []
    try:
        for child in children:
            assert child.stdout is not None
            lines.append(child.stdout.readline().split(":")[0].strip())
    finally:
        for child in children:
            child.communicate(timeout=60)
    assert sorted(lines) == ["locked"] * 2 + ["open"]


FIGHT = """
    import sys, os
    from pathlib import Path
    from napari_relay.errors import ProjectLockedError
    from napari_relay.store.lock import ProjectLock
    path, counter = Path(sys.argv[1]), Path(sys.argv[1] + ".count")
    won = 0
    while won < 80:
        try:
            lock = ProjectLock(path)
        except ProjectLockedError:
            continue
        value = int(counter.read_text())
        counter.write_text(str(value + 1))
        lock.release()
        won += 1
"""


def test_the_lock_excludes_through_its_removal_and_remaking(tmp_path):
    path = tmp_path / "image.relay"
    (tmp_path / "image.relay.count").write_text("0")
    children = [start(path, FIGHT) for _ in range(2)]
    for child in children:
        child.communicate(timeout=120)
    assert (tmp_path / "image.relay.count").read_text() == "160"


def without_locks(fd: int, operation: int) -> None:
    raise OSError(errno.EOPNOTSUPP, "no locks on this file system")


@pytest.mark.skipif(os.name == "nt", reason="flock is for POSIX")
def test_without_locks_in_the_file_system_a_live_holder_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", without_locks)
    lock = ProjectLock(tmp_path / "a.relay")
    with pytest.raises(ProjectLockedError):
        ProjectLock(tmp_path / "a.relay")
    lock.release()
    ProjectLock(tmp_path / "a.relay").release()


@pytest.mark.skipif(os.name == "nt", reason="flock is for POSIX")
@pytest.mark.parametrize("left", [
    {"pid": 2**22 + 5, "started": 1.0},
    {"pid": os.getpid(), "started": 1.0},  # the number was given to another process
    {"pid": "x"},
    {},
])  # fmt: skip
def test_without_locks_a_dead_holder_does_not_count(tmp_path, monkeypatch, left):
    import socket

    monkeypatch.setattr("fcntl.flock", without_locks)
    (tmp_path / "a.relay.lock").write_text(json.dumps({"host": socket.gethostname(), **left}))
    lock = ProjectLock(tmp_path / "a.relay")
    assert lock.stale is not None
    lock.release()


@pytest.mark.skipif(os.name == "nt", reason="flock is for POSIX")
def test_without_locks_another_computer_counts_as_alive(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", without_locks)
    (tmp_path / "a.relay.lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0}))
    with pytest.raises(ProjectLockedError, match="elsewhere"):
        ProjectLock(tmp_path / "a.relay")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_half_written_lock_file_is_in_nobodys_way(tmp_path, text):
    (tmp_path / "a.relay.lock").write_text(text)
    ProjectLock(tmp_path / "a.relay").release()


def test_a_crash_of_the_machine_is_told_from_one_of_the_program(tmp_path):
    first = ProjectLock(tmp_path / "a.relay")
    text = (tmp_path / "a.relay.lock").read_text()
    first.release()
    (tmp_path / "a.relay.lock").write_text(text)
    lock = ProjectLock(tmp_path / "a.relay")
    assert (lock.stale is not None, lock.machine_went_down) == (True, False)
    lock.release()
    (tmp_path / "a.relay.lock").write_text(json.dumps({**json.loads(text), "boot": "before"}))
    lock = ProjectLock(tmp_path / "a.relay")
    assert lock.machine_went_down
    lock.release()


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "a.relay.lock").mkdir()
    with pytest.raises(StorageError, match="Cannot lock"):
        ProjectLock(tmp_path / "a.relay")
