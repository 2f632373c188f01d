"""CVAT's XML: every kind of shape, and files that are wrong or mean harm. Whole files: `test_real_files.py`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from import_checks import run

from napari_relay.errors import ImportFileError, RelayError
from napari_relay.formats.run_lengths import column_counts, from_column_counts, from_row_counts
from napari_relay.formats.runs import from_mask
from napari_relay.geometry import Box
from napari_relay.store import Project

META = """<meta><job><labels>
  <label><name>leaf</name><color>#33ddff</color><attributes></attributes></label>
  <label><name>stone</name><color>#FA3253</color></label>
</labels></job></meta>"""
POLYGON = '<polygon label="leaf" points="10.00,10.00;15.00,10.00;15.00,14.00;10.00,14.00" z_order="0"></polygon>'
MASK = '<mask label="leaf" rle="1, 3, 1, 1" left="2" top="1" width="3" height="2"/>'


def image(*shapes: str, name: str = "image.tif", size: tuple[int, int] = (40, 50)) -> str:
    inner = "\n".join(shapes)
    return f'<image id="0" name="{name}" subset="train" width="{size[1]}" height="{size[0]}">\n{inner}\n</image>'


def xml(folder: Path, *images: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> Path:
    path = folder / "annotations.xml"
    inner = "\n".join(images)
    path.write_text(f"{head}\n<annotations><version>1.1</version>{META}\n{inner}\n</annotations>\n", encoding="utf-8")
    return path


def test_every_kind_of_shape(new_project, tmp_path):
    project = new_project((40, 50))
    report = run(project, xml(tmp_path, image(
        POLYGON,
        MASK,
        '<box label="stone" xtl="20.00" ytl="5.00" xbr="30.00" ybr="9.00"><attribute name="wet">yes</attribute></box>',
        '<box label="stone" xtl="20" ytl="20" xbr="40" ybr="24" rotation="90.00"/>',
        '<ellipse label="leaf" cx="10.00" cy="30.00" rx="8.00" ry="4.00"/>',
        '<polyline label="leaf" points="1,1;2,2"/><points label="leaf" points="1,1"/><tag label="leaf"/>',
        '<skeleton label="leaf"><points label="eye" points="1,1"/></skeleton>',
    )))  # fmt: skip

    polygon, mask, box, turned, ellipse = project.objects()
    assert (polygon.class_name, polygon.box, polygon.area) == ("leaf", Box(10, 10, 14, 15), 20)
    assert (mask.box, mask.mask.tolist()) == (Box(1, 2, 3, 5), [[False, True, True], [True, False, True]])
    assert (box.class_name, box.box, box.area) == ("stone", Box(5, 20, 9, 30), 40)
    assert (turned.box, turned.area) == (Box(12, 28, 32, 32), 80)
    assert (ellipse.box, ellipse.area) == (Box(26, 2, 34, 18), pytest.approx(np.pi * 32, rel=0.03))
    colors = {info.name: info.color for info in project.classes()}
    assert (colors["leaf"], colors["stone"]) == ("#33ddff", "#fa3253")
    assert report.skipped == {"polyline": 1, "points": 1, "tag": 1, "skeleton": 1}


def test_shapes_of_a_group_and_a_label_are_one_object(new_project, tmp_path):
    project = new_project((40, 50))
    second = POLYGON.replace("10.00,", "20.00,").replace("15.00,", "25.00,")
    grouped = [shape.replace(" label", ' group_id="3" label', 1) for shape in (POLYGON, second, MASK)]
    other = grouped[0].replace("leaf", "stone")
    run(project, xml(tmp_path, image(*grouped, other, POLYGON, POLYGON)))
    assert [(item.class_name, item.area) for item in project.objects()] == [
        ("leaf", 44), ("stone", 20), ("leaf", 20), ("leaf", 20)
    ]  # fmt: skip


def test_of_many_pictures_the_one_of_that_name_is_taken(new_project, tmp_path):
    path = xml(
        tmp_path, image(POLYGON, name="a.tif", size=(9, 9)), image(MASK, name="sub/image.tif"), image(name="c.tif")
    )
    project = new_project((40, 50))
    run(project, path)
    assert [item.area for item in project.objects()] == [4]
    with pytest.raises(ImportFileError, match=r"none of its 3 pictures is other\.tif"):
        run(new_project((40, 50), name="other.tif"), path)


WRONG = {
    "another size": (image(POLYGON, size=(40, 51)), "line 6: image.width"),
    "no label": (image(POLYGON.replace("label", "lable")), "line 7: polygon: it has no label"),
    "no points": (image(POLYGON.replace("points", "dots")), "line 7: polygon: it has no points"),
    "a word": (image(POLYGON.replace("15.00,14.00", "fifteen,14")), "line 7: polygon.points"),
    "not a number": (image(POLYGON.replace("14.00", "nan")), "line 7: polygon.points"),
    "two points": (image('<polygon label="a" points="1,1;2,2"/>'), "2 different points"),
    "a single number": (image('<polygon label="a" points="1,1;2;3,3"/>'), "polygon.points"),
    "a group of half": (image(POLYGON.replace("z_order", 'group_id="0.5" z_order')), "polygon.group_id"),
    "an infinite box": (image('<box label="a" xtl="inf" ytl="0" xbr="1" ybr="1"/>'), "box.xtl"),
    "a mask outside": (image(MASK.replace('left="2"', 'left="48"')), "do not lie in the picture"),
    "runs too long": (image(MASK.replace("1, 3", "1, 4")), "mask.rle"),
    "runs below 0": (image(MASK.replace("1, 3", "-1, 3")), "mask.rle"),
    "no runs": (image(MASK.replace("1, 3, 1, 1", "")), "mask.rle"),
    "endless digits": (image(MASK.replace("1, 3", "9" * 5000)), "mask.rle"),
    "an unknown shape": (image('<blob label="a"/>'), "no 'blob'"),
    "a video": ('<track id="0" label="a"><box frame="0"/></track>', "line 6: track"),
    "a bad colour": (META.replace("#33ddff", "blue"), "line 10: color"),
    "too deep": ("<a>" * 40 + "</a>" * 40, "too deep"),
    "cut off": ("<image>", "not complete XML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_and_changes_nothing(new_project, tmp_path, case):
    content, words = WRONG[case]
    project = new_project((40, 50))
    with pytest.raises(ImportFileError, match=rf"annotations\.xml: .*{words}"):
        run(project, xml(tmp_path, image(POLYGON), content) if case == "a bad colour" else xml(tmp_path, content))
    assert project.count() == 0


def test_xml_of_something_else_is_refused(new_project, tmp_path):
    path = tmp_path / "voc.xml"
    path.write_text("<annotation><object/></annotation>", encoding="utf-8")
    with pytest.raises(ImportFileError, match="a file of CVAT begins with <annotations>"):
        run(new_project((40, 50)), path)


LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(12))
HARMFUL = {
    "bomb": f'<!DOCTYPE annotations [<!ENTITY l0 "ha">{LAUGHS}]><annotations>&l12;</annotations>',
    "quadratic bomb": f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><annotations>{"&a;" * 50_000}</annotations>',
    "another file": '<!DOCTYPE x [<!ENTITY a SYSTEM "secret.txt">]><annotations>&a;</annotations>',
    "another document type": '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><annotations/>',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("case", HARMFUL)
def test_bombs_and_the_files_of_this_machine_are_refused(new_project, tmp_path, case, encoding):
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    path = tmp_path / "harmful.xml"
    path.write_text(HARMFUL[case], encoding=encoding)
    with pytest.raises(ImportFileError, match="DOCTYPE"):
        run(new_project((40, 50)), path)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    return xml(folder, image(POLYGON, MASK, '<ellipse label="leaf" cx="10" cy="30" rx="8" ry="4"/>')).read_bytes()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    path = tmp_path_factory.mktemp("project") / "p.relay"
    with Project.open(path, fingerprint="f", shape=(40, 50), image_name="image.tif") as opened:
        yield opened


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.floats(0, 1), st.integers(0, 30), st.sampled_from([b"", b"\x00\xff", b"-1", b"1e999", b"<a>", b"&x;", b'"']))
def test_a_garbled_file_is_imported_or_refused(project, small, tmp_path_factory, share, length, piece):
    at = int(len(small) * share)
    path = tmp_path_factory.mktemp("fuzz") / "garbled.xml"
    path.write_bytes(small[:at] + piece + small[at + length :])
    with contextlib.suppress(RelayError):
        run(project, path)
        project.undo()
    assert project.count() == 0


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_run_lengths_by_row_are_those_by_column_of_the_turned_mask(height, width, random):
    mask = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    turned = column_counts(from_mask(np.ascontiguousarray(mask.T)), (width, height))
    assert np.array_equal(from_row_counts(turned, width), from_mask(mask))
    by_column = column_counts(from_mask(mask), (height, width))
    assert np.array_equal(from_column_counts(by_column, (height, width)), from_mask(mask))
