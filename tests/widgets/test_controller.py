"""What clicks and keys do to an open image, without Qt: threads are stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest

from napari_relay.errors import EngineError, StorageError
from napari_relay.geometry import Plane
from napari_relay.widgets.controller import ClickController
from napari_relay.widgets.state import Model, Phase
from napari_relay.widgets.transforms import ImagePoint

DISC, BIG_DISC, GROUND = (100.0, 100.0), (200.0, 300.0), (20.0, 200.0)


def at(place: tuple[float, float], plane: Plane | None = None) -> ImagePoint:
    return ImagePoint(*place, plane or Plane())


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def controller(opened: Any, runner: Any, notices: list[str]) -> Any:
    made = ClickController(opened, runner)
    made.notice.connect(lambda text: notices.append(text))
    runner.run()
    yield made
    made.close()


def test_a_click_becomes_a_proposal(controller: Any, runner: Any) -> None:
    assert controller.shown.phase is Phase.READY
    controller.click(at(DISC))
    assert controller.shown.phase is Phase.COMPUTING
    assert controller.scene.busy

    runner.run()

    shown = controller.shown
    assert shown.phase is Phase.PROPOSAL
    assert (len(shown.clicks), shown.alternatives) == (1, 3)
    assert controller.scene.proposal.box.contains(*DISC)


def test_only_the_newest_of_quick_clicks_is_computed(controller: Any, runner: Any, workspace: Any) -> None:
    for offset in range(5):
        controller.click(at((100.0 + offset, 100.0)))

    runner.run()

    assert [count for _, count in workspace.predicts.calls] == [5]
    assert controller.shown.phase is Phase.PROPOSAL
    assert len(controller.shown.clicks) == 5


def test_the_old_mask_stays_while_the_next_is_computed(controller: Any, runner: Any) -> None:
    controller.click(at(DISC))
    runner.run()
    first = controller.scene.proposal

    controller.click(at((110.0, 100.0)))

    assert controller.shown.phase is Phase.COMPUTING
    assert controller.scene.proposal is first


def test_accepting_keeps_the_object_and_is_ready_for_the_next_click_at_once(
    controller: Any, runner: Any, workspace: Any
) -> None:
    controller.click(at(DISC))
    runner.run()
    mask = controller.scene.proposal.mask

    assert controller.accept()
    assert controller.shown.phase is Phase.READY
    assert controller.shown.accepting == 1
    assert controller.scene.accepted[0].proposal.mask is mask
    controller.click(at(BIG_DISC))
    runner.run()

    assert workspace.project.count() == 1
    assert controller.shown.phase is Phase.PROPOSAL
    assert controller.shown.objects == 1
    assert controller.scene.proposal.box.contains(*BIG_DISC)
    assert next(workspace.project.objects()).n_clicks == 1


def test_enter_before_the_mask_is_there_accepts_that_mask(controller: Any, runner: Any, workspace: Any) -> None:
    controller.click(at(DISC))
    controller.accept()
    controller.click(at(BIG_DISC))

    runner.run()

    assert workspace.project.count() == 1
    assert next(workspace.project.objects()).box.contains(*DISC)
    assert controller.scene.proposal.box.contains(*BIG_DISC)


def test_enter_before_an_empty_mask_accepts_nothing_and_gives_the_clicks_back(
    controller: Any, runner: Any, workspace: Any, notices: list[str]
) -> None:
    workspace.predicts.nothing = True
    controller.click(at(DISC))
    controller.accept()

    runner.run()

    assert workspace.project.count() == 0
    assert "nothing was accepted" in notices[-1]
    assert len(controller.shown.clicks) == 1


def test_no_object_at_the_click_is_a_state_not_an_error(
    controller: Any, runner: Any, workspace: Any, notices: list[str]
) -> None:
    workspace.predicts.nothing = True
    controller.click(at(GROUND))
    runner.run()

    assert controller.shown.phase is Phase.NOTHING
    assert not controller.accept()
    assert "no mask" in notices[-1]
    assert controller.drop()
    assert controller.shown.phase is Phase.READY


def test_escape_drops_and_a_late_answer_changes_nothing(controller: Any, runner: Any) -> None:
    controller.click(at(DISC))
    assert controller.drop()

    runner.run()

    assert controller.shown.phase is Phase.READY
    assert controller.scene.proposal is None
    assert not controller.drop()


def test_tab_goes_through_the_masks_of_the_first_click(controller: Any, runner: Any) -> None:
    controller.click(at(DISC))
    runner.run()
    areas = []
    for _ in range(3):
        areas.append(int(controller.scene.proposal.mask.sum()))
        controller.next_mask()
        runner.run()

    assert controller.shown.alternative == 0
    assert areas[1] > areas[0] > areas[2] > 0
    controller.click(at((110.0, 100.0)))
    runner.run()
    assert not controller.next_mask()


def test_undo_and_redo_walk_over_clicks_then_over_the_project(
    controller: Any, runner: Any, workspace: Any, notices: list[str]
) -> None:
    controller.click(at(DISC))
    runner.run()
    controller.accept()
    runner.run()
    controller.click(at(BIG_DISC))
    controller.click(at((210.0, 300.0)))
    runner.run()

    controller.undo()
    assert len(controller.shown.clicks) == 1
    controller.redo()
    assert len(controller.shown.clicks) == 2
    controller.undo()
    controller.undo()
    assert controller.shown.phase is Phase.READY
    controller.undo()
    runner.run()
    assert workspace.project.count() == 0
    assert controller.shown.objects == 0
    assert not controller.scene.accepted
    controller.redo()
    runner.run()
    assert workspace.project.count() == 1
    controller.redo()
    runner.run()
    assert notices[-1] == "There is nothing to redo."


def test_a_click_after_an_undo_is_not_taken_back_by_it(controller: Any, runner: Any) -> None:
    controller.click(at(DISC))
    controller.click(at((110.0, 100.0)))
    controller.undo()
    controller.click(at((120.0, 100.0)))
    runner.run()

    assert [click.y for click in controller.shown.clicks] == [100, 120]
    assert controller.shown.phase is Phase.PROPOSAL


def test_a_negative_first_click_is_explained(controller: Any, notices: list[str]) -> None:
    assert not controller.click(at(DISC), positive=False)

    assert "positive" in notices[-1].lower()
    assert controller.shown.phase is Phase.READY


def test_a_failure_is_said_and_the_next_click_tries_again(controller: Any, runner: Any, workspace: Any) -> None:
    workspace.predicts.fail = EngineError("The worker ran out of memory.", "Close other programs.")
    controller.click(at(DISC))
    runner.run()

    assert controller.shown.phase is Phase.FAILED
    assert "Close other programs." in controller.shown.message
    workspace.predicts.fail = None
    controller.click(at((110.0, 100.0)))
    runner.run()
    assert controller.shown.phase is Phase.PROPOSAL
    assert len(controller.shown.clicks) == 2


def test_an_object_that_cannot_be_written_comes_back_and_is_written_later(
    controller: Any, runner: Any, workspace: Any, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise StorageError("The disk is full.", "Free some space.")

    controller.click(at(DISC))
    runner.run()
    with monkeypatch.context() as patch:
        patch.setattr(workspace.project, "accept", full)
        controller.accept()
        controller.click(at(BIG_DISC))
        runner.run()
        assert controller.shown.unsaved == 1
        assert "Free some space." in notices[-1]
    controller.accept()
    runner.run()

    assert workspace.project.count() == 2
    assert controller.shown.unsaved == 0


def test_an_object_that_cannot_be_written_is_in_hand_again_when_no_other_was_begun(
    controller: Any, runner: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise StorageError("The disk is full.", "Free some space.")

    controller.click(at(DISC))
    runner.run()
    with monkeypatch.context() as patch:
        patch.setattr(workspace.project, "accept", full)
        controller.accept()
        runner.run()

    assert controller.shown.phase is Phase.FAILED
    assert len(controller.shown.clicks) == 1
    controller.accept()
    runner.run()
    assert workspace.project.count() == 1
    assert controller.shown.phase is Phase.READY


def test_classes_are_chosen_by_digit_and_made_by_name(controller: Any, runner: Any, workspace: Any) -> None:
    assert [choice.name for choice in controller.shown.classes] == ["object"]
    controller.ledger.set_class("cell")
    assert controller.shown.current_class == "cell"
    runner.run()
    assert workspace.project.current_class == "cell"
    assert [(choice.name, choice.digit) for choice in controller.shown.classes] == [("object", 1), ("cell", 2)]

    assert controller.choose_class(1)
    assert not controller.choose_class(7)
    runner.run()
    assert workspace.project.current_class == "object"


def test_the_class_of_an_object_is_the_one_at_enter(controller: Any, runner: Any, workspace: Any) -> None:
    controller.ledger.set_class("cell")
    runner.run()
    controller.click(at(DISC))
    runner.run()
    controller.accept()
    controller.choose_class(1)
    runner.run()

    assert next(workspace.project.objects()).class_name == "cell"


def test_prefetch_only_when_nothing_else_is_to_be_done(controller: Any, workspace: Any, runner: Any) -> None:
    assert controller.prefetch(at(DISC), 1.0)
    runner.run()
    assert len(workspace.predicts.prefetched) == 1
    cancelled = workspace.predicts.cancelled
    controller.click(at(DISC))
    assert workspace.predicts.cancelled == cancelled + 1
    assert not controller.prefetch(at(DISC), 1.0)
    workspace.engine.say("starting")
    runner.run()
    controller.drop()
    assert not controller.prefetch(at(BIG_DISC), 1.0)


def test_the_models_state_is_shown(controller: Any, runner: Any, workspace: Any) -> None:
    workspace.engine.say("restarting", "The worker ended unexpectedly and is started again.")
    runner.run()

    assert controller.shown.model is Model.RESTARTING
    assert "started again" in controller.shown.message


def test_closing_writes_what_was_accepted_and_then_closes(opened: Any, workspace: Any, runner: Any) -> None:
    controller = ClickController(opened, runner)
    runner.run()
    controller.click(at(DISC))
    runner.run()
    controller.accept()
    written = []
    workspace.project.changed.connect(lambda change: written.append(change.kind))

    controller.close()
    controller.close()

    assert written == ["accept"]
    assert workspace.closed
    assert not workspace.engine.listeners


def test_closing_right_after_enter_still_computes_and_writes(opened: Any, workspace: Any, runner: Any) -> None:
    controller = ClickController(opened, runner)
    runner.run()
    controller.click(at(DISC))
    controller.accept()
    written = []
    workspace.project.changed.connect(lambda change: written.append(change.kind))

    controller.close()

    assert written == ["accept"]


def test_closing_tries_once_more_to_write_what_could_not_be_written(
    opened: Any, workspace: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise StorageError("The disk is full.", "Free some space.")

    controller = ClickController(opened, runner)
    runner.run()
    controller.click(at(DISC))
    runner.run()
    with monkeypatch.context() as patch:
        patch.setattr(workspace.project, "accept", full)
        controller.accept()
        controller.click(at(BIG_DISC))
        runner.run()
    assert controller.shown.unsaved == 1
    written = []
    workspace.project.changed.connect(lambda change: written.append(change.kind))

    controller.close()

    assert written == ["accept"]
