"""The TOML configuration of the training data."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_relay.errors import UsageError
from relay_training.data_config import read_data_config
from relay_training.index import load_index


def test_the_shipped_configuration_reads_and_balances_its_sets():
    config = read_data_config(Path(__file__).parents[2] / "training" / "configs" / "data.toml")
    assert len(config.sets) == 36
    assert config.sets["bsds"].merge == "neighbours"
    photos = sum(rule.weight for rule in config.sets.values() if rule.domain == "photo")
    assert 0.3 < photos / sum(rule.weight for rule in config.sets.values()) < 0.7


def test_the_published_setting_reads():
    config = read_data_config(Path(__file__).parents[2] / "training" / "configs" / "coco_lvis.toml")
    assert config.views.random_p == 1
    assert config.sets["lvis"].min_area_px == 1000


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[sets.a]\nwieght = 2", "wieght"),
        ("[view]\nlow = 1", "unknown table"),
        ('[sets.a]\nmerge = "all"', "merge"),
        ("[sets.a\n", "Cannot read"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path, text, word):
    path = tmp_path / "data.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=word):
        read_data_config(path)


def test_a_configuration_draws_from_the_sets_it_names_only(sets, tmp_path):
    path = tmp_path / "data.toml"
    path.write_text("[sets.plain]\nweight = 1.0\n[views]\nwhole_p = 0.5\n")
    index = load_index(sets)
    sampler = read_data_config(path).sampler(index)
    assert {sampler.view(n).set for n in range(8)} == {"plain"}
    path.write_text("[sets.nowhere]\n")
    with pytest.raises(UsageError, match="nowhere"):
        read_data_config(path).sampler(index)
