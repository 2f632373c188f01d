"""Sets of pictures are found, played by the robot, summed up, kept on disk and gone on from."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from skimage.segmentation import flood

from napari_relay.errors import DamagedImageError, ProjectError, UnsupportedImageError, UsageError
from napari_relay.geometry import Box, Click
from napari_relay.predictor import load_predictor
from napari_relay.sources import Source
from relay_training.__main__ import main
from relay_training.bench_data import ObjectRule, find_sets, plan_tasks, read_label_map, read_quick_list
from relay_training.contest import Answer, Limits, play_object
from relay_training.evaluate import Contest, Progress, evaluate, run_contest
from relay_training.product import KeepsNothing, SessionContender
from relay_training.report import Report


@dataclass
class Shown:
    box: Box
    mask: np.ndarray


class FloodSession:
    """Fills what looks like the positive clicks; a negative click cuts a disk out."""

    def __init__(self, source: Source, tolerance: float = 40) -> None:
        self.pixels = source.read(Box(0, 0, *source.shape))[..., 0].astype(float)
        self.tolerance = tolerance
        self.mask = np.zeros(source.shape, bool)

    def click(self, y: float, x: float, positive: bool = True) -> Shown:
        if positive:
            self.mask |= flood(self.pixels, (int(y), int(x)), tolerance=self.tolerance)
        else:
            ys, xs = np.ogrid[: self.mask.shape[0], : self.mask.shape[1]]
            self.mask &= (ys - y) ** 2 + (xs - x) ** 2 > 64
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        if rows.size == 0:
            return Shown(Box(0, 0, 0, 0), np.zeros((0, 0), bool))
        box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        return Shown(box, self.mask[box.slices])


def drawn_set(root: Path, pictures: int = 3, shift: int = 0) -> Path:
    """A set of flat squares of different sizes and grey values on black, which flooding finds exactly."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(pictures):
        label = np.zeros((90, 120), np.uint8)
        label[10:40, 10 + shift : 50 + shift] = 1
        label[50:70, 60:80] = 2
        label[80:85, 5:10] = 3
        pixels = np.array([0, 100, 180, 250], np.uint8)[label]
        Image.fromarray(pixels).save(root / "images" / f"p{number}.png")
        Image.fromarray(label).save(root / "labels" / f"p{number}.png")
    return root


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    drawn_set(tmp_path / "bench" / "squares")
    drawn_set(tmp_path / "bench" / "shifted", pictures=2, shift=7)
    return tmp_path / "bench"


@pytest.fixture
def coins(tmp_path: Path, sample_data: Path) -> Path:
    """A set made of a bundled photograph with its outlines."""
    for kind, name in {"images": "coins.png", "labels": "coins_labels.png"}.items():
        (tmp_path / "coins" / kind).mkdir(parents=True)
        shutil.copy(sample_data / name, tmp_path / "coins" / kind / "coins.png")
    return tmp_path / "coins"


# Sets, label maps and lists ---------------------------------------------------------------------------------------


def test_a_folder_is_one_set_or_holds_some(bench):
    assert [s.name for s in find_sets(bench)] == ["shifted", "squares"]
    assert [s.name for s in find_sets(bench / "squares")] == ["squares"]
    assert [p.id for p in find_sets(bench, ["squares"])[0].pictures] == ["p0", "p1", "p2"]


def test_largest_objects_of_enough_area_are_clicked(bench):
    squares = find_sets(bench, ["squares"])[0]

    assert plan_tasks(squares, ObjectRule(), None)[0].labels == (1, 2)
    assert plan_tasks(squares, ObjectRule(min_area_px=1, per_picture=5), None)[0].labels == (1, 2, 3)
    assert plan_tasks(squares, ObjectRule(per_picture=1), None)[0].labels == (1,)


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 65535)])
def test_largest_value_of_a_label_map_is_ignored(tmp_path, dtype, ignore):
    values = np.zeros((20, 30), dtype)
    values[:10], values[15:] = 1, ignore
    Image.fromarray(values).save(tmp_path / "label.png")

    labels = read_label_map(tmp_path / "label.png")

    assert labels.objects() == [1]
    assert labels.ignore.sum() == 150


def test_list_of_objects_is_read(tmp_path):
    (tmp_path / "quick.txt").write_text("# comment\n\na/p one 3\na/p one 4\nb/q 1\n")

    assert read_quick_list(tmp_path / "quick.txt") == {"a": {"p one": [3, 4]}, "b": {"q": [1]}}


@pytest.mark.parametrize("line", ["squares/p0", "squares p0 1", "squares/p0 one", "/p0 1"])
def test_a_wrong_line_of_a_list_is_named(tmp_path, line):
    (tmp_path / "quick.txt").write_text(f"# comment\n{line}\n")

    with pytest.raises(UsageError, match=r"Line 2 of .*quick.txt"):
        read_quick_list(tmp_path / "quick.txt")


def test_what_is_missing_is_named(bench, tmp_path):
    with pytest.raises(UsageError, match=r"no set moon.*shifted, squares"):
        find_sets(bench, ["moon"])
    with pytest.raises(UsageError, match="no folder"):
        find_sets(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no set"):
        find_sets(bench / "squares" / "images")
    (bench / "squares" / "labels" / "p1.png").unlink()
    with pytest.raises(UsageError, match="p1 has only a picture or only a label"):
        find_sets(bench)


def test_an_object_that_is_not_there_is_named(bench, tmp_path):
    (tmp_path / "quick.txt").write_text("squares/p0 9\n")
    with pytest.raises(UsageError, match="no object 9"):
        evaluate(bench, FloodSession, quick=tmp_path / "quick.txt")
    (tmp_path / "quick.txt").write_text("squares/p7 1\n")
    with pytest.raises(UsageError, match="squares/p7"):
        evaluate(bench, FloodSession, quick=tmp_path / "quick.txt")


def test_damaged_or_mismatched_files_are_named(bench):
    (bench / "squares" / "labels" / "p1.png").write_bytes(b"no picture")
    with pytest.raises(DamagedImageError, match=r"p1.png"):
        evaluate(bench, FloodSession, sets=["squares"])
    Image.fromarray(np.ones((50, 50), np.uint8)).save(bench / "squares" / "labels" / "p1.png")
    with pytest.raises(UnsupportedImageError, match=r"90 x 120.*50 x 50"):
        evaluate(bench, FloodSession, sets=["squares"])


# Playing ----------------------------------------------------------------------------------------------------------


def test_an_oracle_needs_one_click_for_each_object(bench):
    seen: list[Progress] = []

    report = evaluate(bench, FloodSession, progress=seen.append)

    metrics = report.metrics()
    assert list(metrics) == ["shifted", "squares"]
    assert metrics["squares"].objects == 6
    assert metrics["squares"].noc == {80: 1, 85: 1, 90: 1, 95: 1}
    assert metrics["squares"].miou == {1: 1, 3: 1, 5: 1}
    assert report.mean_noc(85) == 1
    assert [step.done for step in seen] == list(range(1, 11))
    assert seen[-1].total == 10


def test_only_listed_objects_are_clicked_in_fresh_sessions(bench, tmp_path):
    (tmp_path / "quick.txt").write_text("squares/p2 2\nsquares/p2 3\n")
    sources: list[str] = []

    def factory(source: Source) -> FloodSession:
        sources.append(source.name)
        return FloodSession(source)

    report = evaluate(bench, factory, quick=tmp_path / "quick.txt")

    runs = report.contenders["factory"].sets["squares"]
    assert [(run.picture, run.label, run.ious) for run in runs] == [("p2", 2, (1.0,)), ("p2", 3, (1.0,))]
    assert list(report.contenders["factory"].sets) == ["squares"]
    assert len(sources) == 2


def test_robot_stops_when_content_or_after_twenty_clicks():
    truth = np.zeros((60, 60), bool)
    truth[5:45, 5:45] = True
    nothing = np.zeros_like(truth)
    everything = Box(0, 0, 60, 60)

    def rows_shown(click: Click) -> Answer:
        rows_shown.rows += 20
        return Answer(everything, truth & (np.arange(60) < 5 + rows_shown.rows)[:, None], 1.0)

    rows_shown.rows = 0
    assert play_object(rows_shown, truth, nothing)[1] == [0.5, 1.0]
    empty = play_object(lambda click: Answer(Box(0, 0, 0, 0), nothing[:0, :0], 1.0), truth, nothing)
    assert empty[1] == [0.0] * 20
    assert all(click.positive for click in empty[0])
    assert len(play_object(lambda c: Answer(everything, nothing, 1.0), truth, nothing, Limits(max_clicks=3))[0]) == 3


def test_a_perfect_mask_ends_an_object_even_where_the_target_is_out_of_reach():
    truth = np.zeros((30, 30), bool)
    truth[5:15, 5:15] = True

    clicks, ious, _ = play_object(
        lambda click: Answer(Box(0, 0, 30, 30), truth, 1.0), truth, np.zeros_like(truth), Limits(20, stop_iou=1.01)
    )

    assert (len(clicks), ious) == (1, [1.0])


def test_encodings_are_counted_for_the_click_that_waited(bench):
    made = iter(range(100))
    count = [0]

    def factory(source: Source) -> FloodSession:
        session = FloodSession(source)
        if next(made) == 0:
            plain = session.click

            def click(y: float, x: float, positive: bool = True) -> Shown:
                count[0] += 1
                return plain(y, x, positive)

            session.click = click  # type: ignore[method-assign]
        return session

    contender = SessionContender("counted", factory, count_encodings=lambda: count[0])

    runs = evaluate(bench, contender, sets=["shifted"]).contenders["counted"].sets["shifted"]

    assert [run.encodings for run in runs] == [(1,), (0,), (0,), (0,)]


# The report -------------------------------------------------------------------------------------------------------


def test_report_goes_on_set_by_set_after_a_kill(bench, tmp_path):
    path = tmp_path / "out" / "report.json"
    contest = Contest(bench, json_path=path)
    contender = SessionContender("flood", FloodSession)

    steps = run_contest(contest, [contender])
    for _ in range(6):  # all of "shifted", two objects of "squares"
        next(steps)
    steps.close()
    assert list(Report.load(path).contenders["flood"].sets) == ["shifted"]

    rest = list(run_contest(contest, [contender]))
    assert [(step.set_name, step.total) for step in rest] == [("squares", 6)] * 6
    assert list(run_contest(contest, [contender])) == []
    assert list(Report.load(path).metrics()) == ["shifted", "squares"]
    assert list(path.parent.iterdir()) == [path]


def test_a_second_contender_joins_a_stored_report(bench, tmp_path):
    contest = Contest(bench / "squares", json_path=tmp_path / "report.json")
    one, two = SessionContender("one", FloodSession), SessionContender("two", FloodSession)
    list(run_contest(contest, [one]))

    steps = list(run_contest(contest, [one, two]))

    assert {step.contender for step in steps} == {"two"}
    report = Report.load(tmp_path / "report.json")
    assert list(report.contenders) == ["one", "two"]
    assert [table.row_count for table in report.tables()] == [2, 2]


def test_another_evaluation_is_not_mixed_in(bench, tmp_path):
    path = tmp_path / "report.json"
    contender = SessionContender("flood", FloodSession, {"weights": "a"})
    evaluate(bench / "squares", contender, json_path=path)

    with pytest.raises(UsageError, match="another flood"):
        evaluate(bench / "squares", SessionContender("flood", FloodSession, {"weights": "b"}), json_path=path)
    with pytest.raises(UsageError, match="another value of max_clicks"):
        evaluate(bench / "squares", contender, limits=Limits(max_clicks=5), json_path=path)
    path.write_text("{}")
    with pytest.raises(UsageError, match="not a report"):
        evaluate(bench / "squares", contender, json_path=path)
    evaluate(bench / "squares", contender, json_path=path, overwrite=True)
    assert Report.load(path).metrics()["squares"].objects == 6


def test_json_holds_every_click_on_one_line_an_object(bench, tmp_path):
    path = tmp_path / "report.json"

    report = evaluate(bench / "squares", FloodSession, json_path=path)

    data = json.loads(path.read_text())
    kept = data["contenders"]["FloodSession"]
    assert kept["metrics"]["squares"]["noc"] == {"80": 1.0, "85": 1.0, "90": 1.0, "95": 1.0}
    assert kept["objects"]["squares"][0]["clicks"] == [[24, 24, True]]
    assert sum('"picture": "p' in line for line in path.read_text().splitlines()) == 6
    assert Report.load(path).to_json() == json.loads(path.read_text())
    assert report.metrics() == Report.load(path).metrics()


def test_tables_fit_into_eighty_characters(bench, tmp_path):
    long, other = SessionContender("random-walker", FloodSession), SessionContender("mobilesam", FloodSession)
    contest = Contest(bench, json_path=tmp_path / "report.json")
    list(run_contest(contest, [long, other]))
    console = Console(width=80, record=True, file=io.StringIO())

    for table in Report.load(tmp_path / "report.json").tables():
        console.print(table)

    text = console.export_text()
    assert "…" not in text
    assert next(line.split()[:3] for line in text.splitlines() if "walker" in line) == ["shifted", "random-walker", "4"]
    assert "1.000" in text


# The command line ---------------------------------------------------------------------------------------------------


def test_commands_are_listed_and_wrong_calls_end_with_two(capsys, bench):
    assert main(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
    assert main(["nothing"]) == 2
    assert main(["compare", "--data", str(bench), "--only", "moon"]) == 2
    assert "moon" in capsys.readouterr().err
    assert main(["compare", "--data", str(bench), "--only", "mobilesam"]) == 2
    assert "--peer-weights" in capsys.readouterr().err


# The product's own path -------------------------------------------------------------------------------------------


def test_a_predictor_is_clicked_through_source_views_and_session(coins):
    predictor = load_predictor("step0", device="cpu", dtype="float32")

    report = evaluate(coins, predictor, rule=ObjectRule(per_picture=2), limits=Limits(3))

    first, second = report.contenders["relay"].sets["coins"]
    assert first.encodings[0] == 1
    assert second.encodings[0] == 0
    assert min(first.ious[-1], second.ious[-1]) > 0.7
    assert report.contenders["relay"].card["checkpoint"] == "step0"


def test_a_session_of_a_measurement_keeps_nothing():
    with pytest.raises(ProjectError, match="keeps no objects"):
        KeepsNothing().accept(Box(0, 0, 1, 1), np.ones((1, 1), bool))
    assert (KeepsNothing().undo(), KeepsNothing().redo()) == (None, None)
