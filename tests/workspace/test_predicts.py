"""The session's Predicts over an engine: pixels travel once, and a click survives its worker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from engine_checks import said, wait_until

from napari_relay.engine import Engine, InProcessEngine, WorkerEngine
from napari_relay.errors import DamagedImageError, EngineClosedError, SupersededError, WorkerDiedError
from napari_relay.geometry import Box
from napari_relay.views.values import Crops, View, ViewClick, ViewPair
from napari_relay.workspace import EnginePredicts

CLICKS = [ViewClick(100, 100)]


class Pixels:
    """A crops source that counts how often it was read, and waits at a gate if there is one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.reads = 0
        self.gate: threading.Event | None = None

    def __call__(self) -> Crops:
        self.reads += 1
        if self.gate is not None:
            assert self.gate.wait(60)
        return Crops(self.key, ViewPair(View(Box(0, 0, 448, 448))), np.zeros((3, 448, 448), np.float32))


class Setting:
    """An engine with the stand-in, and the Predicts over it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.predicts = EnginePredicts(engine)

    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split()

    def said(self, word: str, times: int = 1) -> None:
        wait_until(lambda: said(self.folder / "log", word, times), word)

    def in_thread(self, pixels: Pixels) -> tuple[threading.Thread, list[object]]:
        outcome: list[object] = []

        def work() -> None:
            try:
                outcome.append(self.predicts.predict(pixels, pixels.key, CLICKS, None))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread, outcome


def setting(kind: type[Engine], folder: Path) -> Iterator[Setting]:
    arguments = {"checkpoint": str(folder), "device": "cpu", "dtype": "auto", "threads": None, "cache_bytes": 0}
    with kind("workspace_services:make", **arguments) as engine:
        made = Setting(engine, folder)
        yield made
        made.predicts.close()


@pytest.fixture(params=[InProcessEngine, WorkerEngine])
def either(request: pytest.FixtureRequest, driver: Path) -> Iterator[Setting]:
    yield from setting(request.param, driver)


@pytest.fixture
def local(driver: Path) -> Iterator[Setting]:
    yield from setting(InProcessEngine, driver)


@pytest.fixture
def worker(driver: Path) -> Iterator[Setting]:
    yield from setting(WorkerEngine, driver)


def test_pixels_are_read_and_sent_once_a_view(either: Setting) -> None:
    pixels = Pixels("a")

    first = either.predicts.predict(pixels, "a", CLICKS, None)
    second = either.predicts.predict(pixels, "a", [*CLICKS, ViewClick(120, 100)], first.logits[0])

    assert pixels.reads == 1
    assert first.logits.shape == (3, 112, 112)
    assert second.logits.shape == (1, 112, 112)
    assert either.log() == ["made", "predict", "encode_predict", "predict"]


def test_the_checkpoint_is_known_with_the_first_prediction(local: Setting) -> None:
    assert local.predicts.checkpoint == ""

    local.predicts.predict(Pixels("a"), "a", CLICKS, None)

    assert local.predicts.checkpoint == "weights in driver"


def test_a_prefetched_view_needs_no_pixels(either: Setting) -> None:
    either.predicts.prefetch(Pixels("a"), "a")
    either.said("prefetched")
    pixels = Pixels("a")

    either.predicts.predict(pixels, "a", CLICKS, None)

    assert pixels.reads == 0


def test_an_image_that_cannot_be_read_fails_the_click_and_not_the_prefetch(local: Setting) -> None:
    def broken() -> Crops:
        raise DamagedImageError("Cannot read level 0.")

    local.predicts.prefetch(broken, "a")
    with pytest.raises(DamagedImageError):
        local.predicts.predict(broken, "a", CLICKS, None)

    local.predicts.predict(Pixels("a"), "a", CLICKS, None)


def test_a_click_stops_a_prefetch(either: Setting) -> None:
    hold = either.folder / "hold"
    hold.touch()
    either.predicts.prefetch(Pixels("a"), "a")
    either.said("prefetch")

    thread, outcome = either.in_thread(Pixels("b"))
    either.said("stopped")
    hold.unlink()
    thread.join()

    assert not isinstance(outcome[0], Exception)
    assert "prefetched" not in either.log()


def test_a_prefetch_still_being_read_is_dropped_for_a_click(local: Setting) -> None:
    slow = Pixels("a")
    slow.gate = threading.Event()
    local.predicts.prefetch(slow, "a")
    wait_until(lambda: slow.reads == 1)

    local.predicts.predict(Pixels("b"), "b", CLICKS, None)
    slow.gate.set()
    local.predicts.close()

    assert "prefetch" not in local.log()


def test_a_cancelled_prefetch_is_neither_read_nor_sent(local: Setting) -> None:
    slow, never = Pixels("a"), Pixels("b")
    slow.gate = threading.Event()
    local.predicts.prefetch(slow, "a")
    wait_until(lambda: slow.reads == 1)
    local.predicts.prefetch(never, "b")

    local.predicts.cancel_prefetch()
    slow.gate.set()
    local.predicts.close()

    assert never.reads == 0
    assert not (local.folder / "log").exists()


def test_of_many_prefetches_only_the_newest_is_read(local: Setting) -> None:
    slow = Pixels("slow")
    slow.gate = threading.Event()
    local.predicts.prefetch(slow, "slow")
    wait_until(lambda: slow.reads == 1)

    many = [Pixels(str(number)) for number in range(50)]
    for pixels in many:
        local.predicts.prefetch(pixels, pixels.key)
    slow.gate.set()
    local.said("prefetched")

    assert [pixels.reads for pixels in many] == [0] * 49 + [1]
    assert local.log().count("prefetch") == 1


def test_a_prefetch_after_close_is_quietly_nothing(local: Setting) -> None:
    local.predicts.close()
    local.predicts.prefetch(Pixels("a"), "a")
    local.engine.close()
    with pytest.raises(EngineClosedError):
        local.predicts.predict(Pixels("a"), "a", CLICKS, None)


def test_an_older_click_gives_way_while_its_pixels_are_read(local: Setting) -> None:
    slow = Pixels("a")
    slow.gate = threading.Event()
    thread, outcome = local.in_thread(slow)
    wait_until(lambda: slow.reads == 1)

    newer = local.predicts.predict(Pixels("b"), "b", CLICKS, None)
    slow.gate.set()
    thread.join()

    assert newer.logits.shape[0] == 3
    assert isinstance(outcome[0], SupersededError)
    assert local.log().count("encode_predict") == 1


# ---- the worker dies


def test_kill_9_during_an_encoding_loses_no_click(worker: Setting) -> None:
    hold = worker.folder / "hold"
    hold.touch()
    pixels = Pixels("a")
    thread, outcome = worker.in_thread(pixels)
    worker.said("encode_predict")
    assert worker.engine.pid is not None

    os.kill(worker.engine.pid, signal.SIGKILL)
    worker.said("made", 2)
    hold.unlink()
    thread.join()

    assert outcome[0].logits.shape == (3, 112, 112)
    assert pixels.reads == 1
    assert worker.log() == ["made", "predict", "encode_predict", "made", "encode_predict"]


def test_kill_9_while_the_head_computes_sends_the_pixels_again(worker: Setting) -> None:
    pixels = Pixels("a")
    worker.predicts.predict(pixels, "a", CLICKS, None)
    (worker.folder / "die-predict").touch()

    second = worker.predicts.predict(pixels, "a", [*CLICKS, ViewClick(120, 100)], np.zeros((112, 112), np.float32))

    assert second.logits.shape == (1, 112, 112)
    assert worker.log()[2:] == ["encode_predict", "predict", "made", "encode_predict"]


def test_a_click_that_kills_every_worker_is_reported(worker: Setting) -> None:
    (worker.folder / "die-predict").touch()
    (worker.folder / "die-encode").touch()

    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        worker.predicts.predict(Pixels("a"), "a", CLICKS, None)

    assert worker.predicts.predict(Pixels("a"), "a", CLICKS, None).scores[0] == 0.9


def test_a_click_that_lost_its_worker_does_not_displace_a_newer_one(worker: Setting) -> None:
    (worker.folder / "hold").touch()
    thread, old = worker.in_thread(Pixels("a"))
    worker.said("encode_predict")
    newer, new = worker.in_thread(Pixels("b"))
    wait_until(lambda: worker.engine._jobs.waiting)
    assert worker.engine.pid is not None

    os.kill(worker.engine.pid, signal.SIGKILL)
    worker.said("encode_predict", 2)
    (worker.folder / "hold").unlink()
    thread.join()
    newer.join()

    assert isinstance(old[0], SupersededError)
    assert new[0].logits.shape == (3, 112, 112)
