"""COCO and LVIS annotations become a set that the index reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_relay.errors import UsageError
from relay_training.coco import convert, instance_mask, read_annotations
from relay_training.index import load_index

SQUARE = [[4, 2, 14, 2, 14, 12, 4, 12]]  # x 4..13, y 2..11


def compressed(mask: np.ndarray) -> str:
    """COCO's compressed run lengths, written from their definition."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [1 - int(flat[-1])]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    text = ""
    for i, run in enumerate(runs):
        value, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = not ((value == 0 and not bits & 0x10) or (value == -1 and bits & 0x10))
            text += chr(bits + (0x20 if more else 0) + 48)
    return text


def write(tmp_path: Path, images: list[dict], annotations: list[dict], files: list[str]) -> Path:
    for file in files:
        path = tmp_path / "pictures" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (9, 9, 9)).save(path)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_polygons_and_both_run_length_codes_give_the_same_mask():
    expected = np.zeros((20, 30), bool)
    expected[2:12, 4:14] = True
    runs = [4 * 20 + 2] + [10, 10] * 9 + [10, 16 * 20 + 8]

    assert (instance_mask(SQUARE, 20, 30) == expected).all()
    assert (instance_mask({"counts": runs, "size": [20, 30]}, 20, 30) == expected).all()
    assert (instance_mask({"counts": compressed(expected), "size": [20, 30]}, 20, 30) == expected).all()


@pytest.mark.parametrize("seed", range(5))
def test_compressed_run_lengths_of_any_mask_are_read(seed):
    mask = np.random.default_rng(seed).random((17, 23)) > 0.3 * seed
    assert (instance_mask({"counts": compressed(mask), "size": [17, 23]}, 17, 23) == mask).all()


def test_coco_becomes_a_set_with_small_instances_on_top_and_crowds_ignored(tmp_path):
    small = [[6, 4, 10, 4, 10, 8, 6, 8]]
    crowd = {"counts": [20 * 20, 10 * 20], "size": [20, 30]}
    path = write(
        tmp_path,
        [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}, {"id": 8, "file_name": "b.jpg"}],
        [
            {"image_id": 7, "segmentation": small},
            {"image_id": 7, "segmentation": SQUARE},
            {"image_id": 7, "segmentation": crowd, "iscrowd": 1},
        ],
        ["a.jpg"],
    )

    steps = list(convert(path, tmp_path / "pictures", tmp_path / "sets" / "coco"))
    index = load_index(tmp_path / "sets")

    assert steps == [(1, 1)]
    assert index.sets.tolist() == ["coco"]
    assert index.label.tolist() == [1, 2]
    assert index.area.tolist() == [16, 84]
    labels = index.read_labels(0)
    assert labels[5, 7] == 1
    assert (labels[:, 20:] == -1).all()
    assert Path(str(index.images[0])) == (tmp_path / "pictures" / "a.jpg").resolve()


def test_lvis_names_its_pictures_by_their_address_and_goes_on_where_it_stopped(tmp_path):
    url = "http://images.cocodataset.org/val2017/{}.jpg"
    path = write(
        tmp_path,
        [{"id": i, "coco_url": url.format(name), "height": 20, "width": 30} for i, name in enumerate("xy")],
        [{"image_id": i, "segmentation": SQUARE} for i in (0, 1)],
        ["val2017/x.jpg", "val2017/y.jpg"],
    )
    out = tmp_path / "sets" / "lvis"

    next(convert(path, tmp_path / "pictures", out))
    with pytest.raises(UsageError, match="holds no set"):
        load_index(tmp_path / "sets")
    first = out / "labels" / "val2017" / "x.png"
    before = first.stat().st_mtime_ns
    list(convert(path, tmp_path / "pictures", out))

    assert load_index(tmp_path / "sets").area.tolist() == [100, 100]
    assert first.stat().st_mtime_ns == before


def test_other_files_and_missing_pictures_are_told(tmp_path):
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match="Cannot read the annotations"):
        read_annotations(tmp_path / "other.json")
    path = write(
        tmp_path,
        [{"id": 1, "file_name": "gone.jpg", "height": 2, "width": 2}],
        [{"image_id": 1, "segmentation": SQUARE}],
        ["a.jpg"],
    )
    with pytest.raises(UsageError, match=r"gone\.jpg"):
        list(convert(path, tmp_path / "pictures", tmp_path / "out"))
