"""What only the worker process promises: it may die, its parent may die, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_checks import alive, said, shared_memory, wait_until

from napari_relay.engine import EngineState, WorkerEngine
from napari_relay.engine.process import describe_exit
from napari_relay.engine.shm import KEEP_BYTES, BlockOwner
from napari_relay.errors import EngineError, WorkerDiedError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and /proc")

MAKE = "engine_services:make"
Make = Callable[..., WorkerEngine]


@pytest.fixture
def make() -> Iterator[Make]:
    engines: list[WorkerEngine] = []

    def make(factory: str = MAKE, **arguments: object) -> WorkerEngine:
        engines.append(WorkerEngine(factory, **arguments))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(make: Make) -> WorkerEngine:
    return make()


def listen(engine: WorkerEngine) -> list[tuple[str, str]]:
    states: list[tuple[str, str]] = []
    engine.on_state(lambda state, message: states.append((state, message)))
    return states


def messages(states: list[tuple[str, str]], wanted: str) -> list[str]:
    return [message for state, message in states if state == wanted]


# ---- the worker dies


def test_a_killed_worker_fails_its_job_and_answers_the_waiting_one_after_a_restart(
    engine: WorkerEngine, tmp_path: Path
) -> None:
    states = listen(engine)
    running = engine.submit("block", tmp_path / "log", tmp_path / "never")
    wait_until(lambda: said(tmp_path / "log", "begun"))
    waiting = engine.submit("where")
    first = engine.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    assert isinstance(running.exception(), WorkerDiedError)
    assert waiting.result()[0] not in (first, os.getpid())
    assert not alive(first)
    assert ["SIGKILL" in message and "clicks are kept" in message for message in messages(states, "restarting")] == [
        True
    ]


def test_a_worker_killed_between_jobs_is_replaced(engine: WorkerEngine) -> None:
    first, _ = engine.call("where")

    os.kill(first, signal.SIGKILL)
    wait_until(lambda: engine.pid not in (None, first), "a new worker")

    assert engine.call("where")[0] == engine.pid


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGTERM"])
def test_a_crash_is_named(engine: WorkerEngine, name: str) -> None:
    states = listen(engine)
    pid, _ = engine.call("where")

    os.kill(pid, getattr(signal, name))

    wait_until(lambda: bool(messages(states, "restarting")), "a restart")
    assert name in messages(states, "restarting")[0]


def test_exit_codes_in_words() -> None:
    assert describe_exit(-9) == "was killed (SIGKILL), perhaps because memory ran out"
    assert describe_exit(-11) == "crashed (SIGSEGV)"
    assert describe_exit(-250) == "crashed (signal 250)"
    assert describe_exit(1) == "ended unexpectedly (exit code 1)"


def test_after_a_death_on_the_gpu_the_worker_goes_on_with_the_cpu(make: Make) -> None:
    engine = make(device="cuda:0")
    states = listen(engine)
    first, device = engine.call("where")
    assert device == "cuda:0"

    with pytest.raises(WorkerDiedError):
        engine.call("die")

    second, device = engine.call("where")
    assert second != first
    assert device == "cpu"
    assert messages(states, "restarting")[0].endswith("It goes on with the CPU.")


def test_after_a_death_on_the_cpu_nothing_is_said_of_devices(make: Make) -> None:
    engine = make(device="cpu")
    states = listen(engine)

    with pytest.raises(WorkerDiedError):
        engine.call("die")

    assert engine.call("where")[1] == "cpu"
    assert "goes on with" not in messages(states, "restarting")[0]


def test_a_worker_that_dies_while_it_starts_is_started_on_the_cpu(make: Make, tmp_path: Path) -> None:
    engine = make("engine_services:make_and_die", log=tmp_path / "log", device="auto")

    assert engine.call("echo", 1) == 1

    assert (tmp_path / "log").read_text().split() == ["auto", "cpu"]


def test_a_worker_that_only_dies_is_given_up_until_the_next_request(make: Make, tmp_path: Path) -> None:
    engine = make("engine_services:make_and_die", log=tmp_path / "log", device="broken")
    engine._fall_back_to_cpu = lambda device: ""  # type: ignore[method-assign]

    with pytest.raises(WorkerDiedError, match="3 times in a row"):
        engine.call("echo", 1)
    wait_until(lambda: engine.state is EngineState.FAILED)
    assert (tmp_path / "log").read_text().split() == ["broken"] * 3
    assert engine.pid is None

    engine.update(device="cpu")
    assert engine.call("echo", 1) == 1


def test_an_answer_forgives_earlier_deaths(engine: WorkerEngine) -> None:
    for number in range(4):
        with pytest.raises(WorkerDiedError):
            engine.call("die")
        assert engine.call("echo", number) == number


def test_a_changed_argument_counts_after_a_restart(engine: WorkerEngine) -> None:
    assert engine.call("where")[1] == "cpu"
    engine.update(device="other")

    with pytest.raises(WorkerDiedError):
        engine.call("die")

    assert engine.call("where")[1] == "other"


# ---- the parent

SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from napari_relay.engine import WorkerEngine
engine = WorkerEngine("engine_services:make")
pid, _ = engine.call("where")
print(pid, flush=True)
{rest}
"""


def run_script(rest: str) -> subprocess.Popen[str]:
    """A program without `if __name__ == "__main__"` that starts a worker and prints its process id."""
    code = SCRIPT.format(here=str(Path(__file__).parent), rest=rest)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def worker_of(program: subprocess.Popen[str]) -> int:
    assert program.stdout is not None
    return int(program.stdout.readline())


REST = {
    "idle": "time.sleep(600)",
    "busy": "engine.call('endless', Path({log!r}))",
    "busy without yields": "engine.call('block', Path({log!r}), Path('never'))",
    # A fork keeps the pipe open, so its end does not tell the worker of the parent's death.
    "forked": "time.sleep(600) if os.fork() == 0 else time.sleep(600)",
}


@pytest.mark.parametrize("doing", REST)
def test_the_worker_ends_with_its_parent_even_after_kill_9(doing: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with run_script(REST[doing].format(log=str(log))) as program:
        worker = worker_of(program)
        if "busy" in doing:
            wait_until(lambda: said(log, "begun"))
        assert alive(worker)
        forks = set(map(int, Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split())) - {worker}

        program.kill()

        wait_until(lambda: not alive(worker), "the worker left")
        for fork in forks:
            os.kill(fork, signal.SIGKILL)


def test_a_program_that_forgets_to_close_ends_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    rest = f"engine.submit('endless', Path({str(log)!r}))\nwhile not Path({str(log)!r}).exists(): time.sleep(0.01)"
    with run_script(rest) as program:
        worker = worker_of(program)
        _, errors = program.communicate()

    assert (program.returncode, errors) == (0, "")
    assert not alive(worker)


def test_a_program_that_waits_for_an_answer_in_an_executor_ends_too() -> None:
    rest = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "ThreadPoolExecutor().submit(engine.call, 'echo', 1)\n"
        "sys.exit(3)"
    )
    with run_script(rest) as program:
        worker = worker_of(program)
        _, errors = program.communicate()

    assert (program.returncode, errors) == (3, "")
    assert not alive(worker)


def test_the_parent_never_loads_what_the_service_needs() -> None:
    with run_script("print('engine_services' in sys.modules, 'numpy' in sys.modules)") as program:
        worker_of(program)
        assert program.stdout is not None
        out = program.stdout.read()

    assert out.split() == ["False", "False"]


def test_ctrl_c_is_left_to_the_parent(engine: WorkerEngine) -> None:
    pid, _ = engine.call("where")

    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGINT)

    assert engine.call("where")[0] == pid


def test_close_ends_a_worker_that_hangs(engine: WorkerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_relay.engine.process.LEAVE_S", 0.05)
    pid, _ = engine.call("where")
    os.kill(pid, signal.SIGSTOP)

    engine.close()

    assert not alive(pid)


def test_close_while_the_worker_starts(make: Make, tmp_path: Path) -> None:
    engine = make("engine_services:make_slowly", log=tmp_path / "log", until=tmp_path / "never")
    future = engine.submit("echo", 1)
    wait_until(lambda: said(tmp_path / "log", "making"))
    pid = engine.pid
    assert pid is not None

    engine.close()

    assert isinstance(future.exception(), EngineError)
    assert not alive(pid)


def test_a_process_that_cannot_be_started_is_an_engine_error(
    engine: WorkerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with pytest.raises(EngineError, match="cannot be started"):
        engine.call("echo", 1)

    wait_until(lambda: engine.state is EngineState.FAILED)


# ---- what crosses the border


def test_prints_of_the_service_do_not_disturb_the_answers(
    engine: WorkerEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert engine.call("chatter") == "said"
    assert engine.call("echo", 1) == 1

    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "text on standard output\nraw bytes\n"


def test_what_cannot_be_pickled_is_an_engine_error_and_the_worker_lives(engine: WorkerEngine) -> None:
    pid, _ = engine.call("where")

    with pytest.raises(EngineError, match="sending echo"):
        engine.call("echo", lambda: None)
    with pytest.raises(EngineError, match="running unpicklable"):
        engine.call("unpicklable")

    assert engine.call("where")[0] == pid


def test_the_worker_finds_modules_where_its_parent_finds_them(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_here.py").write_text("from engine_services import make\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert make("found_here:make").call("echo", 1) == 1


def test_without_room_in_shared_memory_arrays_go_through_the_pipe(
    engine: WorkerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    array = np.random.default_rng(0).normal(size=500_000)

    for _ in range(2):
        assert np.array_equal(engine.call("echo", array), array)

    monkeypatch.undo()
    assert np.array_equal(engine.call("echo", array), array)


def test_shared_memory_has_no_name_that_a_killed_program_could_leave(engine: WorkerEngine) -> None:
    before = shared_memory()

    engine.call("echo", np.zeros(3 << 20, np.uint8))

    assert shared_memory() == before


def test_a_block_is_reused_and_shrinks_after_a_giant() -> None:
    owner = BlockOwner()

    first = owner.reserve(5_000_000)
    assert first is not None
    assert owner.reserve(4_000_000) is first
    assert owner.reserve(100) is first
    giant = owner.reserve(KEEP_BYTES + 1)
    assert giant is not None
    assert giant.place.size == 2 * KEEP_BYTES
    small = owner.reserve(100)
    assert small is not None
    assert small.place.size == 1 << 20
    owner.close()


def test_giants_and_dwarfs_in_turn_come_back_equal(engine: WorkerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_relay.engine.shm.KEEP_BYTES", 2 << 20)
    for nbytes in (5 << 20, 50_000, 9 << 20, 3 << 20, 40_000):
        array = np.full(nbytes, nbytes % 251, np.uint8)
        answer = engine.call("echo", array)
        assert answer.nbytes == nbytes
        assert (answer == nbytes % 251).all()


def test_threads_of_a_worker_do_not_spin_unless_the_user_wants_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert make().submit("environment", "OMP_WAIT_POLICY").result(20) == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert make().submit("environment", "OMP_WAIT_POLICY").result(20) == "ACTIVE"
