"""The costs that `docs/model.md` tells are those that are counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model_cost(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    known = set(sys.modules)
    import model_cost

    yield model_cost
    for name in ("model_cost", "counting", "recording"):
        if name not in known:
            sys.modules.pop(name, None)


def test_the_page_holds_what_is_counted(model_cost):
    page = ROOT / "docs" / "model.md"
    text = page.read_text(encoding="utf-8")
    assert text == model_cost.replaced(text, model_cost.tables(), page)
