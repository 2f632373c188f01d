"""The clicks file: every form it may have, and every way in which it can be wrong, named by object and click."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_relay.cli.clicks import ClickedObject, read_clicks
from napari_relay.errors import UsageError
from napari_relay.geometry import Click, Plane


def written(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "clicks.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_list_of_lists(tmp_path: Path) -> None:
    data = [[{"y": 1, "x": 2.5}, {"y": 3, "x": 4, "positive": False}], [{"y": 5, "x": 6, "positive": True}]]

    assert read_clicks(written(tmp_path, data)) == [
        ClickedObject((Click(1, 2.5), Click(3, 4, positive=False))),
        ClickedObject((Click(5, 6),)),
    ]


def test_object_with_class_plane_and_zoom(tmp_path: Path) -> None:
    data = [{"clicks": [{"y": 1, "x": 2}], "class": "cell", "t": 2, "z": 3, "zoom": 0.5}]

    assert read_clicks(written(tmp_path, data)) == [ClickedObject((Click(1, 2),), "cell", Plane(2, 3), 0.5)]


def test_dash_reads_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('[[{"y": 1, "x": 2}]]'))

    assert read_clicks(Path("-")) == [ClickedObject((Click(1, 2),))]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{not json", "is not JSON"),
        ({}, "names no objects"),
        ([], "names no objects"),
        ([[]], "Object 1 of .* has no clicks"),
        ([[{"y": 1, "x": 1}], 7], "Object 2 of .* has no clicks"),
        ([{"click": []}], "Object 1 of .* has no clicks"),
        ([{"clicks": [{"y": 1, "x": 1}], "colour": "red"}], "unknown entry 'colour'"),
        ([[3]], "Click 1 of object 1 of .* is 3"),
        ([[{"y": 1, "x": 1}, {"y": 1}]], "Click 2 of object 1 of .* has no x"),
        ([[{"y": "1", "x": 1}]], "has y = '1'"),
        ([[{"y": True, "x": 1}]], "has y = True"),
        ('[[{"y": NaN, "x": 1}]]', "has y = nan"),
        ([[{"y": 1, "x": 1, "positive": 1}]], "has positive = 1"),
        ([[{"y": 1, "x": 1, "positive": False}]], "begins with a negative click"),
        ([{"clicks": [{"y": 1, "x": 1}], "class": 3}], "is not a name"),
        ([{"clicks": [{"y": 1, "x": 1}], "zoom": 0}], "has the zoom 0"),
        ([{"clicks": [{"y": 1, "x": 1}], "t": -1}], "has t = -1"),
        ([{"clicks": [{"y": 1, "x": 1}], "z": 1.5}], "has z = 1.5"),
    ],
)
def test_wrong_file_is_refused_with_its_place(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_clicks(written(tmp_path, data))


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")

    for name in ("missing", "binary"):
        with pytest.raises(UsageError, match="Cannot read the clicks file"):
            read_clicks(tmp_path / name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["clicks", "y", "x", "positive", "class", "t", "zoom", "q"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(data=json_values)
def test_any_json_is_read_or_refused_but_never_crashes(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.mktemp("clicks"), data)

    try:
        objects = read_clicks(path)
    except UsageError:
        return
    assert all(one.clicks[0].positive for one in objects)
