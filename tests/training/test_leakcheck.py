"""Training pictures that look like benchmark pictures are found; others are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy import ndimage

from relay_training.__main__ import main
from relay_training.leakcheck import find_pictures, fingerprints, mirrored, suspicious_pairs


def scene(seed: int, side: int = 96) -> Image.Image:
    noise = np.random.default_rng(seed).standard_normal((side, side + 32, 3))
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0))
    return Image.fromarray(((smooth / smooth.std()).clip(-2, 2) * 60 + 128).astype(np.uint8))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Six pictures of training and four of the benchmark, among them a smaller JPEG and a mirrored copy."""
    train, bench = tmp_path / "train", tmp_path / "bench"
    for root in (train, bench):
        (root / "set" / "images").mkdir(parents=True)
        (root / "set" / "labels").mkdir()
        Image.new("L", (96, 96), 3).save(root / "set" / "labels" / "a.png")  # the same labels do not matter
    for i in range(4):
        scene(i).save(bench / "set" / "images" / f"b{i}.png")
        scene(100 + i).save(train / "set" / "images" / f"t{i}.png")
    scene(1).resize((70, 52)).save(train / "set" / "images" / "copy.jpg", quality=60)
    ImageOps.mirror(scene(2)).save(train / "set" / "images" / "mirror.png")
    Image.new("RGB", (96, 96), (9, 9, 9)).save(train / "set" / "images" / "black.png")
    Image.new("RGB", (96, 96), (9, 9, 9)).save(bench / "set" / "images" / "black.png")
    return train, bench


def test_planted_copies_are_found_and_nothing_else(folders):
    train, bench = folders
    pairs = [pair for block in suspicious_pairs(find_pictures(train), find_pictures(bench)) for pair in block]

    found = {(Path(p.train).name, Path(p.bench).name, p.mirrored) for p in pairs}
    assert found == {("copy.jpg", "b1.png", False), ("mirror.png", "b2.png", True)}
    assert all(pair.distance <= 40 and pair.correlation > 0.93 for pair in pairs)


def test_prints_of_mirrored_pictures_are_mirrored_prints(tmp_path):
    paths = []
    for name, image in (("a", scene(5)), ("b", ImageOps.mirror(scene(5)))):
        paths.append(tmp_path / f"{name}.png")
        image.save(paths[-1])
    prints = fingerprints(paths)
    turned = mirrored(prints)
    assert np.abs(turned.thumbs[0] - prints.thumbs[1]).max() < 1e-5
    assert (turned.bits[0] != prints.bits[1]).sum() < 12  # neighbours of equal grey


def test_the_command_lists_pairs_and_says_so_with_its_exit_code(folders, tmp_path, capsys):
    train, bench = folders
    out = tmp_path / "pairs.json"

    assert main(["leakcheck", str(train), str(bench), "--json", str(out)]) == 1
    assert "2 suspicious pairs of 7" in capsys.readouterr().out
    assert {Path(p["train"]).name for p in json.loads(out.read_text())} == {"copy.jpg", "mirror.png"}

    for name in ("copy.jpg", "mirror.png"):
        (train / "set" / "images" / name).unlink()
    assert main(["leakcheck", str(train), str(bench)]) == 0
    assert main(["leakcheck", str(tmp_path / "nothing"), str(bench)]) == 2
