"""`evaluate`: a set in the public layout, clicked by the robot with the real model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path, sample_data: Path) -> Path:
    for kind, name in (("images", "coins.png"), ("labels", "coins_labels.png")):
        folder = tmp_path / "sets" / "coins" / kind
        folder.mkdir(parents=True)
        shutil.copy(sample_data / name, folder / "coins.png")
    (tmp_path / "quick.txt").write_text("# two coins\ncoins/coins 18\ncoins/coins 3\n")
    return tmp_path


@pytest.mark.slow
def test_report_is_printed_and_kept(run: Run, data: Path) -> None:
    words = ("--quick", data / "quick.txt", "--json", data / "r.json", "--device", "cpu")

    ran = run("evaluate", "--data", data / "sets", *words)

    assert ran.code == 0, ran.err
    assert "coins" in ran.out
    assert "NoC" in ran.out
    (contender,) = json.loads((data / "r.json").read_text())["contenders"].values()
    assert contender["metrics"]["coins"]["objects"] == 2


def test_checks_are_asked_about_the_same_objects(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def report_checks(contest: Any, checkpoint: str | None, **about: Any) -> None:
        asked.update(about, checkpoint=checkpoint, objects=[t.labels for _, tasks in contest.plan() for t in tasks])

    monkeypatch.setattr("relay_training.checks.report_checks", report_checks)
    words = ("--quick", data / "quick.txt", "--checks", "--context", data, "--device", "cpu", "-c", "step0")

    ran = run("evaluate", "--data", data / "sets", *words)

    assert ran.code == 0, ran.err
    assert asked == {"device": "cpu", "threads": None, "context": data, "checkpoint": "step0", "objects": [(18, 3)]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "none"], "There is no folder"),
        (["--data", "."], "holds no set"),
        (["--data", "sets", "--set", "cats"], "has no set cats"),
        (["--data", "sets", "--quick", "none.txt"], "Cannot read the list"),
    ],
)
def test_wrong_data_exits_with_2(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(data)

    ran = run("evaluate", *words)

    assert (ran.code, message in ran.err) == (2, True), ran.err


def test_unknown_checkpoint_exits_with_1(run: Run, data: Path) -> None:
    ran = run("evaluate", "--data", data / "sets", "--checkpoint", "nonsense")

    assert ran.code == 1
    assert "nonsense" in ran.err
