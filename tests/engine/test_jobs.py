"""The queue by itself: whatever happens in whatever order, each future is settled once, and the rules hold."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from napari_relay.engine.jobs import LANES, Job, JobQueue
from napari_relay.errors import CancelledError, EngineClosedError, SupersededError

lanes = st.sampled_from(sorted(LANES))
steps = st.one_of(
    st.tuples(st.just("add"), lanes),
    st.tuples(st.just("cancel"), lanes),
    st.tuples(st.sampled_from(["take", "finish", "late"]), st.none()),
)


@given(st.lists(steps, max_size=40))
def test_each_future_is_settled_once_and_newest_wins(plan: list[tuple[str, str | None]]) -> None:
    queue = JobQueue()
    futures: list[Future[Any]] = []
    settled: list[Future[Any]] = []
    running: Job | None = None

    for number, (step, lane) in enumerate(plan):
        if step == "add":
            futures.append(queue.add("m", (number,), LANES[lane or ""]))
            futures[-1].add_done_callback(settled.append)
        elif step == "cancel":
            queue.cancel(LANES[lane or ""])
        elif step == "take":
            taken = queue.take()
            assert running is None or taken is None
            running = taken or running
        elif running is not None:
            queue.finish(running.ticket + (step == "late"), running.args[0])
            running = None if step == "finish" else running

    assert queue.busy == (running is not None)
    order = []
    while (job := running or queue.take()) is not None:
        order.append(job)
        queue.finish(job.ticket, "end")
        running = None
    newest = [job for job in order[1:] if job.lane.newest_wins]
    assert len({job.lane for job in newest}) == len(newest)
    assert [job.lane.rank for job in order[1:]] == sorted(job.lane.rank for job in order[1:])
    assert sorted(map(id, settled)) == sorted(map(id, futures))
    queue.close(EngineClosedError("closed"))
    for future in futures:
        assert isinstance(future.exception(), SupersededError | CancelledError | None)


def test_a_job_given_up_still_counts_as_running_until_it_ends() -> None:
    queue = JobQueue()
    prefetch = queue.add("m", (), LANES["prefetch"])
    job = queue.take()
    assert job is not None

    queue.add("m", (), LANES["click"])

    assert isinstance(prefetch.exception(), SupersededError)
    assert queue.must_stop(job.ticket)
    assert queue.stopping == job.ticket
    assert queue.take() is None
    queue.finish(job.ticket)
    assert queue.stopping is None
    assert queue.take() is not None
