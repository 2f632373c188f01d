"""A whole-image job from its plan to objects in the project: tasks in any order, one writer, resumable at every task.

Until the result is in the project the job lies in a folder beside it. Whatever kills the program, the job goes on from
the tasks that are done, and ends with the same objects.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_relay.errors import UsageError
from napari_relay.fullimage import joining
from napari_relay.fullimage.candidates import Candidate, shared_area
from napari_relay.fullimage.jobfile import JOINED, SEAMS, TILES, JobFile
from napari_relay.fullimage.sees import Sees
from napari_relay.fullimage.work import Task, Work, tiles
from napari_relay.geometry import Box, Plane
from napari_relay.sources import Source
from napari_relay.store import NewObject, ObjectState, Project

SAME = 0.5
"""IoU above which a candidate is an object that the project has already."""
DUPLICATE_AREA = 4.0
"""An object of the project hides a candidate inside it up to this many times the candidate's area: what is larger is
another kind of thing, such as a region of tissue round a nucleus."""


@dataclass(frozen=True, slots=True)
class Step:
    """`done` of `total` tasks; `found` candidates so far."""

    done: int
    total: int
    found: int = 0


@dataclass(frozen=True, slots=True)
class Proposed:
    """What a job did: ids of the proposals, tasks that it was made of, and the seam report: masks that were joined over
    seams, and those of them that were given up because no window showed them whole."""

    ids: tuple[int, ...]
    tasks: int
    joined: int = 0
    given_up: int = 0


class Does(Protocol):
    """What the tasks of a job have in common, and how one is done: `Work`, `ClassWork`."""

    def do(self, task: Task, source: Source, sees: Sees, /) -> list[Candidate]:
        """What a task finds."""
        ...


class Pool(Protocol):
    """Does tasks, in any order."""

    def run(self, tasks: Iterable[Task | None], /) -> Generator[tuple[Task, list[Candidate]], None, None]:
        """Each task with what it found, as they end; closing the generator gives up the rest.

        `tasks` is asked for the next one only when there is room for it. Where it gives None, nothing can be begun
        before something that runs has ended: it is asked again then.
        """
        ...


class LocalPool:
    """Two threads of this process: while the model looks at one view, the next is read and its masks are cut out."""

    def __init__(self, work: Does, source: Source, sees: Sees, threads: int = 2) -> None:
        self._work, self._source, self._sees, self._threads = work, source, sees, threads

    def run(self, tasks: Iterable[Task | None], /) -> Generator[tuple[Task, list[Candidate]], None, None]:
        """See `Pool`."""
        waiting = iter(tasks)
        running: dict[Future[list[Candidate]], Task] = {}
        with ThreadPoolExecutor(self._threads, thread_name_prefix="whole image") as threads:
            try:
                while True:
                    while len(running) < 2 * self._threads and (task := next(waiting, None)) is not None:
                        running[threads.submit(self._work.do, task, self._source, self._sees)] = task
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield running.pop(future), future.result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)


def job_folder(project: Path) -> Path:
    """Where an unfinished job of a project lies."""
    return project.with_name(f"{project.name}.job")


def open_job(project: Path, plan: Mapping[str, Any], *, resume: bool, anew: bool = False) -> JobFile:
    """The job's file: made, or found where it was left.

    Parameters
    ----------
    plan : JSON values that must be the same for an unfinished job to go on.
    resume : go on with an unfinished job; one that was never begun begins.
    anew : throw an unfinished job away.

    Raises
    ------
    UsageError
        There is an unfinished job and neither is asked for, or it has another plan.
    StorageError
    """
    folder = job_folder(project)
    if anew and not resume:
        shutil.rmtree(folder, ignore_errors=True)
    left = folder.exists()
    if left and not resume:
        raise UsageError(
            f"An unfinished job lies in {folder}.",
            "Go on with it (--resume), or throw it away and begin anew (--anew).",
        )
    job = JobFile(folder)
    known = job.fact("plan")
    if known is None:
        job.set_fact("plan", plan)
    elif known != plan:
        job.close()
        names = ", ".join(sorted(key for key in {*known, *plan} if known.get(key) != plan.get(key)))
        raise UsageError(
            f"The unfinished job in {folder} was begun with another {names}.",
            "Give the same options, or throw it away and begin anew (--anew).",
        )
    return job


def remove_job(job: JobFile) -> None:
    """The result is in the project: the folder goes."""
    job.close()
    shutil.rmtree(job.folder, ignore_errors=True)


def find_candidates(
    job: JobFile, work: Work, pool: Pool, region: Box
) -> Generator[Step, None, tuple[Iterator[Candidate], dict[str, int]]]:
    """Do what is left of a job's tasks.

    Returns
    -------
    The candidates that stay, the highest score first, each object once; and numbers for the report.
    """
    tasks = tiles(list(work.grids.values()))
    yield from do_tasks(job, tasks, pool, TILES)
    if job.fact("joined") is None:
        job.finish("join", JOINED, joining.join(job, work.grids))
        job.set_fact("joined", True)
    seams = [
        Task("seam", one.place, one.number, one, joining.seam_click(one)) for one in joining.joined_candidates(job)
    ]
    yield from do_tasks(job, seams, pool, SEAMS)
    # Settled before the project is touched: whoever accepts meanwhile must not wait for this.
    for done, total in joining.keep_best(job, work.grids, work.filters.nested, region):
        yield Step(done, total)
    again = len(job.ranked((SEAMS,)))
    report = {"tasks": len(tasks) + len(seams), "joined": again, "given_up": len(seams) - again}
    return joining.kept(job), report


def write_proposals(
    project: Project, candidates: Iterable[Candidate], *, class_name: str | None, plane: Plane, checkpoint: str,
    summary: str,
) -> tuple[tuple[int, ...], list[Candidate]]:  # fmt: skip
    """Put candidates into the project as one action; those that it has already are left out.

    Returns
    -------
    ids, and for each the candidate without its mask.
    """
    taken: list[Candidate] = []

    def new() -> Iterator[NewObject]:
        for one in candidates:
            if is_known(project, one, plane):
                continue
            empty = np.zeros((0, 0), bool)
            taken.append(Candidate(one.place, one.number, one.box, empty, one.score, vector=one.vector))
            yield NewObject(
                one.box, one.mask, class_name, plane, ObjectState.PROPOSED, round(one.score, 4), None, checkpoint
            )

    done = project.propose(new(), summary=summary)
    return (() if done is None else done.ids), taken


def is_known(project: Project, one: Candidate, plane: Plane) -> bool:
    """Whether the project has the object already, in whatever state."""
    area = one.area
    for stored in project.objects(one.box, plane):
        shared = shared_area(one.box, one.mask, one.box, stored.mask_in(one.box))
        if shared > SAME * (area + stored.area - shared):
            return True
        hidden = stored.state != ObjectState.REJECTED and stored.area <= DUPLICATE_AREA * area
        if hidden and shared > SAME * min(area, stored.area):
            return True
    return False


def in_order(tasks: Sequence[Task], done: Collection[str]) -> Iterator[Task | None]:
    """Tasks that need nothing of each other."""
    yield from tasks


def do_tasks(
    job: JobFile,
    tasks: Sequence[Task],
    pool: Pool,
    kind: str,
    order: Callable[[Sequence[Task], Collection[str]], Iterator[Task | None]] = in_order,
) -> Generator[Step, None, None]:
    """Do the tasks that are not done yet, and keep what they find.

    Parameters
    ----------
    order : from the tasks that are left, and the names of those that are done (which grow meanwhile), the next one to
        begin, or None while it must wait for one that runs.
    """
    done = job.done()
    left = [task for task in tasks if task.name not in done]
    count, found = len(tasks) - len(left), 0
    yield Step(count, len(tasks))
    results = pool.run(order(left, done))
    try:
        for task, candidates in results:
            job.finish(task.name, kind, candidates)
            done.add(task.name)
            count, found = count + 1, found + len(candidates)
            yield Step(count, len(tasks), found)
    finally:
        results.close()
    assert count == len(tasks), "a task waited for one that was never begun"
