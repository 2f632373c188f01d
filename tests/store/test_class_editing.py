"""Classes are renamed, ordered below each other and taken from templates, each time as one undoable step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_relay.errors import UsageError
from napari_relay.geometry import Box
from napari_relay.store import ClassSpec, ObjectFilter, Project

SQUARE = np.ones((4, 4), bool)
TISSUE = [
    ClassSpec("tissue", "#112233", "1"),
    ClassSpec("tumour", "#ff0000", "2", "tissue"),
    ClassSpec("nucleus", "#00ff00", "", "tumour"),
]
TISSUE_NAMES = [spec.name for spec in TISSUE]


def test_a_template_makes_what_is_missing_and_changes_what_is_there(project: Project) -> None:
    kept = project.accept(Box(0, 0, 4, 4), SQUARE, class_name="tumour")
    project.ensure_class("dust")
    before = project.class_specs()

    assert project.apply_classes(TISSUE)

    specs = project.class_specs()
    assert specs[:3] == TISSUE
    assert [spec.name for spec in specs[3:]] == [spec.name for spec in before if spec.name != "tumour"]
    assert not {spec.key for spec in specs[3:]} & {"1", "2"}, "a key of the template is taken from others"
    assert project.object(kept.id).class_name == "tumour"
    assert not project.apply_classes(TISSUE), "a second time there is nothing to do"
    project.undo()
    assert project.class_specs() == before
    project.redo()
    assert project.class_specs() == specs


def test_objects_follow_a_class_that_is_renamed(project: Project) -> None:
    project.current_class = "cell"
    stored = project.accept(Box(0, 0, 4, 4), SQUARE)

    project.change_class("cell", ClassSpec("nucleus", "#ABCDEF", "7", "object"))

    assert (project.object(stored.id).class_name, project.current_class) == ("nucleus", "nucleus")
    assert project.class_specs()[-1] == ClassSpec("nucleus", "#abcdef", "7", "object")
    project.undo()
    assert project.object(stored.id).class_name == "cell"


def test_a_class_that_goes_leaves_its_children_to_its_parent(project: Project) -> None:
    project.apply_classes(TISSUE)
    project.remove_class("tumour")
    assert project.class_specs()[:2] == [TISSUE[0], ClassSpec("nucleus", "#00ff00", "", "tissue")]
    project.undo()
    assert project.class_specs()[:3] == TISSUE


def test_what_cannot_be_is_refused_and_changes_nothing(project: Project) -> None:
    project.apply_classes(TISSUE)
    project.accept(Box(0, 0, 4, 4), SQUARE, class_name="nucleus")
    before, history = project.class_specs(), len(project.history())
    for wrong in (
        lambda: project.change_class("tissue", ClassSpec("tissue", "#112233", "1", "nucleus")),
        lambda: project.change_class("tissue", ClassSpec("tumour", "#112233")),
        lambda: project.change_class("tissue", ClassSpec("tissue", "red")),
        lambda: project.change_class("tissue", ClassSpec("tissue", "#112233", "12")),
        lambda: project.change_class("nothing", TISSUE[0]),
        lambda: project.remove_class("nucleus"),
        lambda: project.apply_classes([ClassSpec("a", "#000000", "", "nowhere")]),
        lambda: project.apply_classes([ClassSpec("a", "#000000", "", "b"), ClassSpec("b", "#000000", "", "a")]),
        lambda: project.apply_classes([TISSUE[0], TISSUE[0]]),
        lambda: project.apply_classes([ClassSpec("a", "#000000", "1"), ClassSpec("b", "#000000", "1")]),
    ):
        with pytest.raises(UsageError):
            wrong()
    assert (project.class_specs(), len(project.history())) == (before, history)


def test_a_class_stands_for_those_below_it_when_objects_are_looked_for(project: Project) -> None:
    project.apply_classes(TISSUE)
    ids = {
        name: project.accept(Box(0, 10 * n, 4, 10 * n + 4), SQUARE, class_name=name).id
        for n, name in enumerate(["tissue", "tumour", "nucleus", "dust"])
    }
    assert project.find(ObjectFilter(class_names=("tissue",))).tolist() == [ids[n] for n in TISSUE_NAMES]
    assert project.find(ObjectFilter(class_names=("nucleus", "dust"))).tolist() == [ids["nucleus"], ids["dust"]]


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)


@given(first=NAMES, second=NAMES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_two_templates_one_after_the_other_undo_to_the_start(
    first: list[str], second: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)

    def template(names: list[str]) -> list[ClassSpec]:
        keys = [*rng.permutation(list("1234567890"))]
        return [
            ClassSpec(name, f"#{rng.integers(1 << 24):06x}", str(keys[place]) if rng.random() < 0.5 else "",
                      names[int(rng.integers(place))] if place and rng.random() < 0.5 else "")
            for place, name in enumerate(names)
        ]  # fmt: skip

    place = tmp_path_factory.mktemp("templates") / "a.relay"
    with Project.open(place, fingerprint="x", shape=(50, 50)) as project:
        states = [project.class_specs()]
        for names in (first, second):
            wanted = template(names)
            try:
                changed = project.apply_classes(wanted)
            except UsageError:  # a class of the first template lies above its parent of the second
                assert project.class_specs() == states[-1]
                continue
            assert project.class_specs()[: len(wanted)] == wanted
            if changed:
                states.append(project.class_specs())
        for expected in reversed(states[:-1]):
            project.undo()
            assert project.class_specs() == expected
        for expected in states[1:]:
            project.redo()
            assert project.class_specs() == expected
