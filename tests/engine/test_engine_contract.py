"""What both engines promise: one contract, two implementations."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from engine_checks import said, wait_until

from napari_relay.engine import Engine, EngineState, InProcessEngine, WorkerEngine
from napari_relay.errors import (
    CancelledError,
    CheckpointError,
    ClickError,
    EngineClosedError,
    EngineError,
    SupersededError,
    UsageError,
)

MAKE = "engine_services:make"
Make = Callable[..., Engine]


def start_endless(engine: Engine, log: Path, lane: str) -> Future[object]:
    future = engine.submit("endless", log, lane=lane)
    wait_until(lambda: said(log, "begun"), "the endless job runs")
    return future


@pytest.fixture(scope="class")
def shared(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One engine for the tests that leave nothing in it; a process each would take its time."""
    with request.cls.engine_class(MAKE) as engine:
        engine.call("echo", np.zeros(1 << 20))  # its process, threads and shared memory are there now
        yield engine


class EngineContract:
    engine_class: type[Engine]

    @pytest.fixture
    def make(self) -> Iterator[Make]:
        engines: list[Engine] = []

        def make(factory: str = MAKE, **arguments: object) -> Engine:
            engines.append(self.engine_class(factory, **arguments))
            return engines[-1]

        yield make
        for engine in engines:
            engine.close()

    @pytest.fixture
    def engine(self, make: Make) -> Engine:
        return make()

    # ---- other arguments

    def test_restarts_with_changed_arguments(self, engine: Engine) -> None:
        engine.restart()  # nothing was made yet: nothing to do
        assert engine.state is EngineState.NEW
        assert engine.call("where")[1] == "cpu"
        engine.call("echo", 1)

        engine.update(device="other")
        assert engine.call("where")[1] == "cpu"
        engine.restart()

        assert engine.call("where")[1] == "other"
        assert engine.call("history") == []

    # ---- answers

    def test_returns_what_a_method_returns(self, shared: Engine) -> None:
        assert shared.call("echo", {"a": (1, 2.5, None)}) == {"a": (1, 2.5, None)}

    def test_returns_the_return_value_of_a_generator(self, shared: Engine) -> None:
        assert shared.call("steps", 5) == 10
        assert shared.call("steps", 0) == 0

    @pytest.mark.parametrize("nbytes", [0, 100, 40_000, (1 << 20) + 1, 24 << 20])
    def test_arrays_come_back_bit_equal(self, shared: Engine, nbytes: int) -> None:
        array = np.random.default_rng(nbytes).integers(0, 256, nbytes, dtype=np.uint8)

        answer = shared.call("echo", array)

        assert answer.dtype == array.dtype
        assert np.array_equal(answer, array)

    @pytest.mark.parametrize(
        "array",
        [
            np.asfortranarray(np.random.default_rng(0).normal(size=(200, 300))),
            np.arange(60_000, dtype=np.float32).reshape(200, 300)[::2, ::3],
            np.array([np.nan, -0.0, np.inf], np.float16),
            np.zeros((0, 4), bool),
            np.arange(9, dtype=">i4").reshape(3, 3),
        ],
        ids=["fortran", "strided", "nan", "empty", "big-endian"],
    )
    def test_arrays_of_any_layout_come_back_equal(self, shared: Engine, array: np.ndarray) -> None:
        answer = shared.call("echo", array)

        assert answer.dtype == array.dtype
        assert answer.tobytes() == array.tobytes()

    def test_an_array_that_the_service_keeps_is_not_overwritten(self, engine: Engine) -> None:
        first = engine.call("keep_and_sum", np.ones(300_000))

        again = engine.call("keep_and_sum", np.zeros(300_000))

        assert first == again == 300_000

    def test_an_answer_stays_after_the_next_one(self, shared: Engine) -> None:
        first = shared.call("echo", np.ones(300_000))

        shared.call("echo", np.zeros(300_000))

        assert first.sum() == 300_000

    def test_all_jobs_run_in_one_thread(self, shared: Engine) -> None:
        assert len({shared.call("thread") for _ in range(5)}) == 1

    # ---- errors

    def test_our_errors_arrive_as_they_are_and_once(self, shared: Engine) -> None:
        with pytest.raises(ClickError, match="No positive click") as caught:
            shared.call("refuse")

        assert caught.value.fix == "Click inside the object."
        assert shared.call("echo", 1) == 1

    def test_an_error_that_cannot_travel_arrives_with_its_text(self, shared: Engine) -> None:
        with pytest.raises((ClickError, EngineError), match="Odd 2"):
            shared.call("refuse_oddly")
        assert shared.call("echo", 1) == 1

    def test_other_errors_become_engine_errors_with_the_traceback_in_the_log(
        self, shared: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR), pytest.raises(EngineError, match="KeyError: 'a mistake of ours'"):
            shared.call("blunder")

        assert "engine_services.py" in caplog.text
        assert "in blunder" in caplog.text

    def test_no_memory_is_said_in_words(self, shared: Engine) -> None:
        with pytest.raises(EngineError, match="Memory ran out"):
            shared.call("run_out")

    @pytest.mark.parametrize("name", ["absent", "__init__", "_hidden", "value"])
    def test_what_is_no_public_method_is_refused(self, shared: Engine, name: str) -> None:
        with pytest.raises(EngineError, match=name):
            shared.call(name)

    def test_an_unknown_lane_is_refused(self, shared: Engine) -> None:
        with pytest.raises(UsageError, match="click, prefetch"):
            shared.submit("echo", 1, lane="fast")

    def test_no_answer_in_time_is_an_engine_error(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="no answer within"):
            engine.call("block", tmp_path / "log", tmp_path / "until", timeout=0.01)
        (tmp_path / "until").touch()

    @pytest.mark.parametrize("factory", ["engine_services", "engine_services:absent", "absent_module:make", ":"])
    def test_a_factory_that_is_not_there_is_an_engine_error(self, make: Make, factory: str) -> None:
        with pytest.raises(EngineError, match="Cannot load"):
            make(factory).call("echo", 1)

    # ---- newest wins

    def test_of_200_rapid_requests_only_the_newest_is_answered(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))

        futures = [engine.submit("echo", number) for number in range(200)]
        (tmp_path / "until").touch()

        assert running.result() == "late"
        assert futures[-1].result() == 199
        for future in futures[:-1]:
            assert isinstance(future.exception(), SupersededError)
        assert engine.call("history") == [199]

    def test_requests_while_the_service_starts_wait_and_the_newest_wins(self, make: Make, tmp_path: Path) -> None:
        engine = make("engine_services:make_slowly", log=tmp_path / "log", until=tmp_path / "until")

        first, second = engine.submit("echo", 1), engine.submit("echo", 2)
        (tmp_path / "until").touch()

        assert isinstance(first.exception(), SupersededError)
        assert second.result() == 2

    def test_control_requests_all_run_in_order_before_a_click(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))

        click = engine.submit("echo", "click")
        controls = [engine.submit("echo", number, lane="control") for number in range(3)]
        (tmp_path / "until").touch()

        assert [future.result() for future in [running, click, *controls]] == ["late", "click", 0, 1, 2]
        assert engine.call("history") == [0, 1, 2, "click"]

    def test_a_waiting_prefetch_runs_after_a_click(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))

        prefetch = engine.submit("echo", "prefetch", lane="prefetch")
        click = engine.submit("echo", "click")
        (tmp_path / "until").touch()

        assert [future.result() for future in (running, prefetch, click)] == ["late", "prefetch", "click"]
        assert engine.call("history") == ["click", "prefetch"]

    def test_a_click_stops_a_running_prefetch_at_its_next_yield(self, engine: Engine, tmp_path: Path) -> None:
        log = tmp_path / "log"
        prefetch = start_endless(engine, log, "prefetch")

        click = engine.submit("echo", "click")

        assert isinstance(prefetch.exception(), SupersededError)
        assert click.result() == "click"
        assert log.read_text().split() == ["begun", "stopped"]

    @pytest.mark.parametrize("lane", ["prefetch", "control"])
    def test_nothing_but_a_click_stops_a_prefetch(self, engine: Engine, tmp_path: Path, lane: str) -> None:
        prefetch = start_endless(engine, tmp_path / "log", "prefetch")

        other = engine.submit("echo", 1, lane=lane)

        assert not prefetch.done()
        engine.cancel("prefetch")
        if lane == "control":
            assert other.result() == 1
        else:
            assert isinstance(other.exception(), CancelledError)

    def test_a_click_does_not_stop_a_running_click(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))

        newer = engine.submit("echo", 1)
        (tmp_path / "until").touch()

        assert running.result() == "late"
        assert newer.result() == 1

    # ---- cancel

    @pytest.mark.parametrize("lane", ["click", "prefetch"])
    def test_cancel_fails_the_future_and_stops_the_job_at_its_next_yield(
        self, engine: Engine, tmp_path: Path, lane: str
    ) -> None:
        log = tmp_path / "log"
        running = start_endless(engine, log, lane)

        engine.cancel(lane)

        assert isinstance(running.exception(timeout=0), CancelledError)
        wait_until(lambda: said(log, "stopped"), "the job was stopped")
        assert engine.call("echo", 1) == 1

    def test_cancel_takes_what_waits_and_leaves_the_other_lanes(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until", lane="control")
        wait_until(lambda: said(tmp_path / "log", "begun"))
        click, prefetch = engine.submit("echo", 1), engine.submit("echo", 2, lane="prefetch")

        engine.cancel("click")
        (tmp_path / "until").touch()

        assert isinstance(click.exception(), CancelledError)
        assert (running.result(), prefetch.result()) == ("late", 2)

    def test_the_late_answer_of_a_cancelled_job_is_dropped(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))

        engine.cancel("click")
        newer = engine.submit("echo", "new")
        (tmp_path / "until").touch()

        assert isinstance(running.exception(), CancelledError)
        assert newer.result() == "new"

    def test_cancel_before_anything_was_asked_starts_nothing(self, engine: Engine) -> None:
        engine.cancel("click")

        assert engine.state is EngineState.NEW

    def test_a_future_cancelled_by_its_owner_does_not_run(self, engine: Engine, tmp_path: Path) -> None:
        running = engine.submit("block", tmp_path / "log", tmp_path / "until")
        wait_until(lambda: said(tmp_path / "log", "begun"))
        waiting = engine.submit("echo", "unwanted")

        assert waiting.cancel()
        (tmp_path / "until").touch()

        assert running.result() == "late"
        assert engine.call("history") == []

    def test_a_callback_of_a_future_may_submit(self, engine: Engine) -> None:
        second: list[Future[object]] = []
        arrived = threading.Event()

        def go_on(first: Future[object]) -> None:
            second.append(engine.submit("echo", first.result()))
            arrived.set()

        engine.submit("echo", 7).add_done_callback(go_on)

        assert arrived.wait(60)
        assert second[0].result() == 7

    # ---- states

    def test_states_tell_what_happens(self, make: Make) -> None:
        engine = make(notes=("The GPU is too old;", "the CPU computes."))
        states: list[tuple[str, str]] = []
        engine.on_state(lambda state, message: states.append((state, message)))

        engine.call("echo", 1)
        wait_until(lambda: engine.state is EngineState.READY)
        engine.close()

        assert states == [
            ("starting", ""),
            ("ready", "The GPU is too old; the CPU computes."),
            ("busy", ""),
            ("ready", ""),
            ("closed", ""),
        ]

    def test_start_makes_the_service_before_it_is_needed(self, engine: Engine) -> None:
        engine.start()

        wait_until(lambda: engine.state is EngineState.READY)

    def test_a_listener_can_leave_and_a_faulty_one_hurts_nobody(self, engine: Engine) -> None:
        heard: list[str] = []
        leave = engine.on_state(lambda state, message: heard.append(state))
        engine.on_state(lambda state, message: 1 / 0)  # type: ignore[func-returns-value, arg-type]

        leave()

        assert engine.call("echo", 1) == 1
        assert heard == []

    # ---- a service that cannot be made

    def test_a_start_that_fails_reports_its_error_and_does_not_loop(self, make: Make, tmp_path: Path) -> None:
        log = tmp_path / "log"
        engine = make("engine_services:make_counted", log=log)

        with pytest.raises(CheckpointError, match="truncated"):
            engine.call("echo", 1)

        wait_until(lambda: engine.state is EngineState.FAILED)
        assert "Copy the file again" in engine.message
        assert isinstance(engine.submit("echo", 1, lane="prefetch").exception(), CheckpointError)
        assert log.read_text().split() == ["made"]

    def test_after_a_failed_start_the_next_click_tries_again(self, make: Make, tmp_path: Path) -> None:
        log = tmp_path / "log"
        engine = make("engine_services:make_counted", log=log)
        with pytest.raises(CheckpointError):
            engine.call("echo", 1)

        engine.update(fail=False)

        assert engine.call("echo", 1) == 1
        assert log.read_text().split() == ["made", "made"]

    def test_a_service_that_gives_up_on_a_gpu_goes_on_with_the_cpu(self, make: Make) -> None:
        engine = make(device="cuda")
        states: list[tuple[str, str]] = []
        engine.on_state(lambda state, message: states.append((state, message)))

        with pytest.raises(EngineError, match="The GPU was lost"):
            engine.call("give_up")

        assert engine.call("where")[1] == "cpu"
        said = [message for state, message in states if state == "restarting"]
        assert len(said) == 1
        assert "The GPU was lost." in said[0]
        assert "CPU" in said[0]

    # ---- close

    def test_close_twice_and_before_anything_ran(self, engine: Engine) -> None:
        engine.close()
        engine.close()

        assert engine.state is EngineState.CLOSED
        with pytest.raises(EngineClosedError):
            engine.submit("echo", 1)

    def test_close_while_a_job_runs_and_others_wait(self, engine: Engine, tmp_path: Path) -> None:
        running = start_endless(engine, tmp_path / "log", "click")
        waiting = [engine.submit("echo", 1), engine.submit("echo", 2, lane="prefetch")]

        engine.close()

        for future in [running, *waiting]:
            assert isinstance(future.exception(timeout=0), EngineClosedError)

    def test_close_by_several_threads_at_once(self, engine: Engine, tmp_path: Path) -> None:
        start_endless(engine, tmp_path / "log", "click")
        threads = [threading.Thread(target=engine.close) for _ in range(4)]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert engine.state is EngineState.CLOSED

    def test_close_from_a_listener(self, engine: Engine) -> None:
        engine.on_state(lambda state, message: engine.close() if state == "ready" else None)

        with pytest.raises(EngineClosedError):
            engine.call("echo", 1)
        engine.close()

    def test_with_closes(self) -> None:
        with self.engine_class(MAKE) as engine:
            assert engine.call("echo", 1) == 1

        assert engine.state is EngineState.CLOSED


class TestInProcessEngine(EngineContract):
    engine_class = InProcessEngine


class TestWorkerEngine(EngineContract):
    engine_class = WorkerEngine
