"""Cards and files of checkpoints: round trip, and a clear word for each kind of bad file."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from napari_relay.errors import CheckpointError
from napari_relay.model.checkpoint import Card, list_bundled, load_checkpoint, read_card, save_checkpoint
from napari_relay.model.config import ModelConfig


@pytest.fixture
def carried(tmp_path, step0):
    path = tmp_path / "mine.safetensors"
    card = Card(name="mine", title="Mine", licence="none", config=step0.config.to_dict(), metrics={"NoC": 1.5})
    save_checkpoint(path, step0.state_dict(), card)
    return path


def test_carried_checkpoint_round_trip(carried, step0):
    model, card = load_checkpoint(carried)
    assert card.name == "mine"
    assert card.metrics == {"NoC": 1.5}
    loaded = model.state_dict()
    for name, value in step0.state_dict().items():
        torch.testing.assert_close(loaded[name].float(), value.float(), atol=2e-3, rtol=2e-3)


def test_bundled_cards_are_read_without_torch():
    code = (
        "import sys; from napari_relay.model import list_bundled; print(len(list_bundled())); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 1


def test_bundled_checkpoints_stay_small_and_shards_under_16_mib():
    of_all = set()
    for card in list_bundled():
        files = {(card.path / shard["file"]).resolve() for shard in card.shards}
        of_all |= files
        assert all(path.stat().st_size < 16 << 20 for path in files)
        assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert sum(path.stat().st_size for path in of_all) <= 31_000_000, "shared tensors are stored twice"


def test_every_bundled_checkpoint_loads_and_has_a_licence():
    for card in list_bundled():
        assert card.licence not in ("", "not stated")
        load_checkpoint(card.name)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def text(path):
    path.write_text("hello")


def without_card(path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, path)


def newer(path):
    from safetensors.torch import save_file

    card = {"name": "x", "config": {}, "format": 99}
    save_file({"a": torch.zeros(3)}, path, metadata={"card": json.dumps(card)})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(truncated, "truncated"), (text, "no safetensors"), (without_card, "no model card"), (newer, "Update")],
)
def test_bad_file_is_named(carried, spoil, message):
    spoil(carried)
    with pytest.raises(CheckpointError, match=message) as info:
        load_checkpoint(carried)
    assert str(carried) in str(info.value)


def test_missing_file_and_unknown_name(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_card(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="Bundled are"):
        read_card("nonesuch")


def test_unknown_configuration_key_asks_for_an_update():
    with pytest.raises(CheckpointError, match="newer program"):
        ModelConfig.from_dict({"relay_tokens": 4, "wormholes": 1})
    with pytest.raises(CheckpointError):
        ModelConfig(pixel_path=3)


def test_damaged_shard_is_found_by_its_hash(tmp_path, carried):
    card = replace(read_card(carried), shards=({"file": carried.name, "sha256": "0" * 64},))
    (tmp_path / "card.json").write_text(json.dumps(card.to_json()))
    with pytest.raises(CheckpointError, match="not the shard"):
        load_checkpoint(tmp_path)
