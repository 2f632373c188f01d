"""The drawing of the rooms holds: imports point down, and Qt and torch stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [ROOT / "napari_relay", ROOT / "training" / "relay_training"]
SOURCES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "misc", "common"}


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_has_a_home_and_says_what_it_is(file: Path) -> None:
    assert file.stem not in BANNED_NAMES
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "every file opens with what it is for"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_not_named_is_only_caught_to_be_passed_on(file: Path) -> None:
    """A bare `except` raises again, or hands the error to the thread that waits for it; it never swallows it."""
    swallowing = [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "BaseException"))
        and not any(_passes_on(inner, node.name) for statement in node.body for inner in ast.walk(statement))
    ]

    assert not swallowing, f"lines {swallowing} catch everything"


def _passes_on(node: ast.AST, name: str | None) -> bool:
    return isinstance(node, ast.Raise) or (name is not None and isinstance(node, ast.Name) and node.id == name)


def test_print_stays_in_the_command_line_and_training() -> None:
    talkers = [
        str(file.relative_to(ROOT))
        for file in SOURCES
        if file.is_relative_to(ROOT / "napari_relay") and "cli" not in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]

    assert not talkers
