"""Words become commands, errors become one sentence and an exit code, and help costs nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import napari_relay
from napari_relay.cli import app as app_module
from napari_relay.cli.app import FileOrCommand
from napari_relay.errors import EngineError, StorageError, UsageError

COMMANDS = ("open", "demo", "segment", "evaluate", "export", "info", "doctor")
Run = Callable[..., Any]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object, object]]:
    """What the window was asked to open, instead of opening it."""
    import napari_relay.widgets

    calls: list[tuple[object, object, object]] = []

    def launch(
        image: object = None, *, project: object = None, checkpoint: object = None, recursive: bool = False
    ) -> int:
        calls.append((image, project, "recursive" if recursive else checkpoint))
        return 0

    monkeypatch.setitem(vars(napari_relay.widgets), "launch", launch)
    return calls


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples(command: str, run: Run) -> None:
    ran = run(command, "--help")

    assert ran.code == 0
    assert "Examples:" in ran.out
    assert f"napari-relay {command if command != 'open' else 'slide.svs'}" in ran.out


def test_help_lists_every_command(run: Run) -> None:
    ran = run("--help")

    assert ran.code == 0
    assert all(f" {command} " in ran.out for command in COMMANDS)
    assert "--install-completion" in ran.out


@pytest.mark.parametrize(
    "words", [["--help"], ["segment", "--help"], ["demo", "--help"], ["doctor", "-h"], ["--version"]]
)
def test_help_loads_neither_torch_nor_napari(words: list[str]) -> None:
    script = (
        "import sys\nfrom napari_relay.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as stop:\n    code = stop.code\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print('LOADED', *sorted(loaded & {'torch', 'timm', 'napari', 'qtpy', 'PyQt5', 'PyQt6', 'numpy', 'zarr'}))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_version(run: Run) -> None:
    assert run("--version").out == f"napari-relay {napari_relay.__version__}\n"


def test_no_word_opens_the_empty_window(run: Run, opened: list[Any]) -> None:
    assert run().code == 0
    assert opened == [(None, None, None)]


def test_first_word_that_is_no_command_is_opened(run: Run, opened: list[Any]) -> None:
    assert run("slide.svs", "--project", "p.relay", "-c", "small").code == 0
    assert opened == [("slide.svs", Path("p.relay"), "small")]


def test_global_option_before_the_file(run: Run, opened: list[Any]) -> None:
    assert run("--debug", "slide.svs").code == 0
    assert opened == [("slide.svs", None, None)]


def test_file_named_like_a_command_is_opened_by_open(run: Run, opened: list[Any]) -> None:
    assert run("open", "demo").code == 0
    assert opened == [("demo", None, None)]


def test_existing_file_is_opened_although_its_name_is_close_to_a_command(
    run: Run, opened: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inf").touch()

    assert run("inf").code == 0
    assert opened == [("inf", None, None)]


def test_mistyped_command_is_told_from_a_file(run: Run, opened: list[Any]) -> None:
    ran = run("evalute", "--data", "x")

    assert (ran.code, opened) == (2, [])
    assert "neither a command nor a file" in ran.err
    assert "Did you mean `napari-relay evaluate`?" in ran.err


def test_a_folder_may_be_opened_with_those_below_it(
    opened: list[tuple[object, object, object]], run: Run, tmp_path: Path
) -> None:
    assert run(tmp_path, "--recursive").code == 0
    assert opened == [(str(tmp_path), None, "recursive")]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    import napari_relay.widgets

    def launch(*args: object, **options: object) -> int:
        raise error

    monkeypatch.setitem(vars(napari_relay.widgets), "launch", launch)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("There is no set x.", "Give one of a, b."), 2, "There is no set x. Give one of a, b."),
        (EngineError("The model failed.", "Try again."), 1, "The model failed. Try again."),
        (StorageError("The disk is full.", "Free some space."), 1, "The disk is full. Free some space."),
        (PermissionError(13, "Permission denied", "/root/x"), 1, "/root/x: Permission denied."),
        (MemoryError(), 1, "There is not enough memory."),
    ],
)
def test_failure_is_one_sentence_on_stderr(
    error: BaseException, code: int, sentence: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, error)

    ran = run("image.png")

    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith(f"Error: {sentence}")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("words", [["--debug", "image.png"], ["image.png", "--debug"]])
def test_debug_shows_the_traceback(words: list[str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, EngineError("The model failed."))

    with pytest.raises(EngineError):
        app_module.main(words)


def test_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        app_module.main(["image.png"])


@pytest.mark.parametrize(
    "words",
    [["--nonsense"], ["segment"], ["segment", "a.png"], ["export", "x.relay"], ["evaluate"], ["info", "a", "b"]],
)
def test_wrong_call_exits_with_2(words: list[str], run: Run) -> None:
    assert run(*words).code == 2


def test_interrupt_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())

    assert run("image.png").code == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_made(shell: str) -> None:
    script = "from napari_relay.cli import main; main([])"
    environment = {"_NAPARI_RELAY_COMPLETE": f"source_{shell}"}
    import os

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment}
    )

    assert done.returncode == 0, done.stderr
    assert "napari-relay" in done.stdout


def test_group_class_is_used() -> None:
    assert app_module.app.info.cls is FileOrCommand
