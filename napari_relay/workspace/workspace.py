"""An open image with its project, label pyramid and predictor."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from napari_relay.engine import Engine, EngineState
from napari_relay.errors import RelayError
from napari_relay.geometry import Plane
from napari_relay.model.checkpoint import read_card
from napari_relay.session import ClickSession
from napari_relay.sources import Source
from napari_relay.store import LabelPyramid, Project, PyramidWriter
from napari_relay.views import Stretch, measure_stretch
from napari_relay.workspace.predicts import EnginePredicts

if TYPE_CHECKING:
    from napari_relay.fullimage import Proposed, Step
    from napari_relay.fullimage.ranking import Ranked
    from napari_relay.fullimage.request import ClassRequest, Request
    from napari_relay.fullimage.similar import Examples
    from napari_relay.learn import LearnResult, RunningJob
    from napari_relay.workspace.learning import RolledBack


class Workspace:
    """Everything that belongs to one image. Made by `open_workspace`; who opens it closes it (context manager).

    The predictor is loaded at the first click, or ahead of it by `engine.start()`.

    Attributes
    ----------
    source : the image.
    project : its accepted objects.
    pyramid, writer : the label pyramid, and the thread that renders it after each change of the project.
    engine : runs the predictor; perhaps shared with other workspaces.
    predicts : what sessions ask for masks.
    temporary : whether the project is deleted on close.
    object_px : longest side of the larger ones of this project's objects, where it learned that; None elsewhere.
    """

    def __init__(
        self,
        source: Source,
        project: Project,
        pyramid: LabelPyramid,
        writer: PyramidWriter,
        engine: Engine,
        predicts: EnginePredicts,
        *,
        temporary: bool,
        closing: ExitStack,
    ) -> None:
        self.source = source
        self.project = project
        self.pyramid = pyramid
        self.writer = writer
        self.engine = engine
        self.predicts = predicts
        self.temporary = temporary
        self.object_px: float | None = None
        self._closing = closing
        self._measuring = threading.Lock()
        self._stretch: Stretch | None = None

    def session(self, plane: Plane | None = None) -> ClickSession:
        """A new session of clicks on one plane (t = z = 0 by default)."""
        return ClickSession(
            self.source, self.predicts, self.project, plane=plane, stretch=self.contrast,
            object_px=lambda: self.object_px,
        )  # fmt: skip

    def propose(
        self, request: Request | None = None, *, examples: Examples | None = None, client: Any = None
    ) -> Generator[Step, None, Proposed]:
        """Propose the rest of the image: every object of it, or what is like some of them.

        A generator of progress: drive it to its end; its return value says what was proposed. The proposals go into
        the project in one action at the end. Closed before that (or killed), it leaves its work in a folder beside
        the project, and a request with `resume` goes on from there. Clicks may be made meanwhile and come first.

        Parameters
        ----------
        request : what and how; None proposes every object of the whole image.
        examples : what to look for, of another image; None takes the objects that the request names.
        client : a dask client whose workers do the work (`docs/cluster.md`); None: this process.

        Raises
        ------
        UsageError
            The request does not fit together, or an unfinished job is in the way.
        ImageError, EngineError, StorageError
        """
        from napari_relay.fullimage.request import Request
        from napari_relay.workspace.proposing import propose

        return propose(self, request or Request(), examples, client)

    def classify(self, request: ClassRequest | None = None, *, client: Any = None) -> Generator[Step, None, Path]:
        """Give every pixel a class, with a class head that was learned before (`relay_training.class_head`).

        A generator of progress as `propose` is; its return value is the OME-Zarr: uint8, the number of the class
        (0 background) or, with `probabilities`, 255 x the probability of each class.

        Raises
        ------
        CheckpointError
            There is no class head, or it was learned with another encoder.
        UsageError, ImageError, EngineError, StorageError
        """
        from napari_relay.fullimage.request import ClassRequest
        from napari_relay.workspace.proposing import classify

        return classify(self, request or ClassRequest(), client)

    def examples(self, request: Request) -> Examples:
        """What the objects that a request names look like, to search other images for.

        Raises
        ------
        UsageError, ImageError, EngineError
        """
        from napari_relay.workspace.proposing import examples_of

        return examples_of(self, request)

    def ranked(self) -> Ranked | None:
        """The proposals of the latest search for similar objects, ordered by what was accepted and rejected since;
        None where there was no search."""
        from napari_relay.fullimage.ranking import rank

        return rank(self.project)

    def learn(
        self, *, minutes: float = 5.0, heads: Sequence[str] = ("click",), deep: bool = False, seed: int = 0
    ) -> RunningJob:
        """Start to learn from the accepted objects, in a process of its own at low priority; returns at once.

        It goes on when the workspace, or the program, is closed. `napari_relay.learn.follow(job)` yields its progress,
        `job.pause()`, `job.go_on()`, `job.cancel()` and `job.resume()` steer it, `job.result()` is what came of it.

        Parameters
        ----------
        minutes : how long it may take, with encoding and measuring.
        heads : what is trained.
        deep : adapt the encoder too; give it 20 minutes.
        seed : of every draw.

        Raises
        ------
        UsageError
            The image is an array without a file.
        StorageError
            The job's folder beside the project cannot be made.
        """
        from napari_relay.workspace.learning import learn

        return learn(self, minutes=minutes, heads=heads, deep=deep, seed=seed)

    def promote(self, result: LearnResult, *, anyway: bool = False) -> Path:
        """Use what was learned from the next click on, here and whenever this project is opened.

        Parameters
        ----------
        result : of a job. anyway : also what did not pass its gate.

        Returns
        -------
        The checkpoint's file, kept beside the project with all earlier ones.

        Raises
        ------
        UsageError
            It is not better, and `anyway` is not set.
        StorageError, CheckpointError, EngineError
        """
        from napari_relay.workspace.learning import promote

        return promote(self, result, anyway=anyway)

    def promote_classes(self, result: LearnResult) -> list[Path]:
        """Use the class heads of a job that passed their own gate, whether or not the clicks got better; where they are
        now. Each earlier one is kept.

        Raises
        ------
        StorageError
        """
        from napari_relay.workspace.learning import promote_classes

        return promote_classes(result)

    def roll_back(self, fallback: str | None = None) -> RolledBack:
        """Take back what was learned last: the checkpoint, or the class head promoted after it, or both where one job
        brought them.

        Parameters
        ----------
        fallback : name or file of the checkpoint to use where none of this project's is left; None: the default one.

        Raises
        ------
        UsageError
            There is nothing to go back to.
        """
        from napari_relay.workspace.learning import roll_back

        return roll_back(self, fallback)

    def set_checkpoint(self, checkpoint: str | None) -> None:
        """Use another checkpoint from the next click on: a bundled one's name or a file's path, None the default.

        Waits for it to be loaded where the predictor is loaded already; when it cannot be, the old one stays.

        Raises
        ------
        CheckpointError, EngineError
        """
        if checkpoint is not None:
            read_card(checkpoint)
        if self.engine.state not in (EngineState.NEW, EngineState.FAILED):
            self.engine.call("set_checkpoint", checkpoint, lane="control")
        self.engine.update(checkpoint=checkpoint)

    def info(self) -> dict[str, Any]:
        """Card, hashes and device of the predictor in use; loads it."""
        answer: dict[str, Any] = self.engine.call("info", lane="control")
        return answer

    def contrast(self) -> Stretch:
        """Measured once for all sessions: it reads parts of the image."""
        with self._measuring:
            if self._stretch is None:
                self._stretch = measure_stretch(self.source)
            return self._stretch

    def close(self) -> None:
        """Stop computing, render what is left of the label pyramid, close everything. A second call does nothing.

        A temporary project is deleted; a Source or Engine that was handed to `open_workspace` stays open.
        """
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RelayError:
            if error is None:  # an error in the block says more than what follows from it
                raise
