"""Learning in the window: one job on one image, looked at now and then, promoted when it is better. No Qt here.

The job is another process and outlives the window: when the image is opened again, its job is followed again, and what
came of it meanwhile is taken up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_relay.widgets.telling import sentence
from napari_relay.widgets.threads import Runner

if TYPE_CHECKING:
    from napari_relay.learn import Follower, LearnResult, RunningJob

HANDLED = "handled.json"
"""In a job's folder: the result was taken up (promoted, or left) by a window."""

MINUTES, DEEP_MINUTES = 5.0, 20.0


@dataclass(frozen=True, slots=True)
class LearnShown:
    """What the panel shows.

    status : "" before anything was learned, else a `LearnStatus`. words : what it is doing. share : of it all, 0..1.
    curve : (step, IoU of simulated clicks) of the part that runs now. result : of the last job that ended.
    current : file of the learned checkpoint that the project names, "" where it names none. classes : a learned class
    head is in use. message : what went wrong.
    """

    status: str = ""
    words: str = ""
    share: float = 0.0
    left_s: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    result: LearnResult | None = None
    promoted: bool = False
    current: str = ""
    classes: bool = False
    message: str = ""

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused")


class LearnWork:
    """Who makes it closes it; the job goes on then.

    Parameters
    ----------
    workspace : of the image; stays its owner's.
    runner : owned; files and processes are touched in its thread.
    fallback : the checkpoint that is chosen for images which have learned nothing; None is the default one.

    Attributes
    ----------
    changed : Signal(LearnShown).
    """

    changed = Signal(object)

    def __init__(
        self, workspace: Any, runner: Runner, fallback: Callable[[], str | None] = lambda: None
    ) -> None:
        self.workspace, self._runner, self._fallback = workspace, runner, fallback
        self.shown = LearnShown()
        self._job: RunningJob | None = None
        self._follower: Follower | None = None
        self._busy = False
        self._do(self._find)

    # -- what the user does ------------------------------------------------------------------------------------

    def start(self, *, deep: bool = False) -> None:
        """Learn from what is accepted so far; where the last job was interrupted, go on with it."""
        if self.shown.running:
            return
        self._show(status="running", words="Starting", share=0.0, left_s=None, curve=(), result=None, message="")

        def begin() -> LearnShown:
            job = self._job.resume() if self._job is not None and self._job.status == "interrupted" else None
            self._take(job or self.workspace.learn(minutes=DEEP_MINUTES if deep else MINUTES, deep=deep))
            return self.shown

        self._do(begin)

    def pause(self) -> None:
        """Let the job wait, or go on."""
        paused = self.shown.status == "paused"
        self._with_job(lambda job: job.go_on() if paused else job.pause())

    def cancel(self) -> None:
        """Give the job up."""
        self._with_job(lambda job: job.cancel())

    def promote_anyway(self) -> None:
        """Use what was learned although it is not better."""

        def promote() -> LearnShown:
            assert self.shown.result is not None
            self.workspace.promote(self.shown.result, anyway=True)
            return replace(self.shown, promoted=True, **self._in_use(), message="")

        self._do(promote)

    def roll_back(self) -> None:
        """Take back what was learned last."""

        def back() -> LearnShown:
            done = self.workspace.roll_back(self._fallback())
            promoted = self.shown.promoted and not done.checkpoint
            message = "The class head before it is in use." if done.classes else ""
            return replace(self.shown, promoted=promoted, **self._in_use(), message=message)

        self._do(back)

    def look(self) -> None:
        """See how far the job is; for a timer. Does nothing while the last look is not over."""
        if self._job is not None and self.shown.running and not self._busy:
            self._busy = True
            self._do(self._looked)

    def close(self) -> None:
        """End the thread; the job goes on."""
        self._runner.close()

    # -- in the runner's thread --------------------------------------------------------------------------------

    def _find(self) -> LearnShown:
        """The last job of the project, and what became of it while nobody looked."""
        from napari_relay.learn import JobFolder, RunningJob

        folder = JobFolder.latest(self.workspace.project.path)
        shown = replace(self.shown, **self._in_use())
        if folder is None:
            return shown
        self._take(RunningJob(folder))
        return self._after(shown)

    def _take(self, job: RunningJob) -> None:
        from napari_relay.learn import Follower

        self._job, self._follower = job, Follower(job.folder.progress)

    def _looked(self) -> LearnShown:
        return self._after(self.shown)

    def _after(self, shown: LearnShown) -> LearnShown:
        """`shown` with what is new of the job."""
        assert self._job is not None
        assert self._follower is not None
        status = self._job.status
        curve = list(shown.curve)
        for step in self._follower.read():
            # Each part of the job (a test, the last training) begins at step 0 again.
            if step.step is not None and step.iou is not None:
                curve = [*(curve if curve and step.step > curve[-1][0] else ()), (step.step, step.iou)]
            part = f" ({step.part})" if step.part else ""
            count = f" {step.done} of {step.total}" if step.total else ""
            words = f"{step.stage.capitalize()}{part}{count}"
            message = step.note or shown.message
            shown = replace(shown, words=words, share=step.share, left_s=step.left_s, message=message)
        shown = replace(shown, status=str(status), curve=tuple(curve))
        if shown.running:
            return shown
        return self._ended(shown)

    def _ended(self, shown: LearnShown) -> LearnShown:
        assert self._job is not None
        folder, result = self._job.folder, self._job.result()
        if result is None:
            return replace(shown, words="Interrupted", message="Learning was interrupted; Learn goes on with it.")
        if result.status == "failed":
            return replace(shown, words="Failed", message=result.reason)
        handled = folder.read(HANDLED)
        promoted = bool(handled and handled["promoted"])
        if handled is None:
            if result.better:
                self.workspace.promote(result)
                promoted = True
            self.workspace.promote_classes(result)
            folder.write(HANDLED, {"promoted": promoted})
        return replace(
            shown, words="", share=1.0, left_s=None, result=result, promoted=promoted, **self._in_use()
        )

    def _in_use(self) -> dict[str, Any]:
        """The values of `LearnShown` that tell what is used now."""
        from napari_relay.learn import Shelf
        from napari_relay.workspace.learning import class_shelf

        project = self.workspace.project
        path = Shelf(project).current()
        return {"current": "" if path is None else str(path), "classes": class_shelf(project.path).last() is not None}

    # -- between -----------------------------------------------------------------------------------------------

    def _with_job(self, act: Callable[[RunningJob], None]) -> None:
        job = self._job
        if job is None:
            return

        def done() -> LearnShown:
            act(job)
            return self._after(self.shown)

        self._do(done)

    def _do(self, work: Callable[[], LearnShown]) -> None:
        def settled(shown: LearnShown) -> None:
            self._busy = False
            self.shown = shown
            self.changed.emit(shown)

        def failed(error: BaseException) -> None:
            status = "" if self.shown.words == "Starting" else self.shown.status
            settled(replace(self.shown, status=status, words="", message=sentence(error)))

        self._runner.submit(work, settled, failed)

    def _show(self, **changes: Any) -> None:
        self.shown = replace(self.shown, **changes)
        self.changed.emit(self.shown)
