"""Maps for people: true to what the network computes, and of sizes that lie over the view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_relay.errors import ClickError
from napari_relay.geometry import Box
from napari_relay.model.config import ModelConfig
from napari_relay.model.network import ClickModel
from napari_relay.model.relay import relay_attention, to_windows
from napari_relay.model.relay_maps import block_maps
from napari_relay.predictor import Predictor, explain, load_predictor
from napari_relay.predictor.device import choose
from napari_relay.views import Crops, View, ViewClick, ViewPair

RNG = np.random.default_rng(0)
PIXELS, WIDE = (RNG.normal(size=(3, 448, 448)).astype(np.float32) for _ in range(2))
PAIR = ViewPair(View(Box(0, 0, 448, 448)), View(Box(-448, -448, 1344, 1344)))
CROPS = Crops("a", PAIR, PIXELS, WIDE, "g")
CLICKS = [ViewClick(100, 200), ViewClick(300, 50, False), ViewClick(120, 210)]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The untrained start with its gates open."""
    loaded = load_predictor("step0", device="cpu", dtype="float32")
    model = loaded._model
    with torch.inference_mode():
        for gates in model.encoder.relay.blocks:
            gates.gate.fill_(0.5)
    return Predictor(model, loaded.card, choose("cpu", "float32"))


@pytest.fixture(scope="module")
def maps(predictor):
    return explain(predictor, CROPS, CLICKS, np.zeros((112, 112), np.float32))


def test_every_map_lies_over_the_view(maps):
    sides = {name: values.shape for name, values in maps.items()}
    assert {sides["mask"], sides["score of small tokens"]} == {(112, 112)}
    assert all(shape in ((28, 28), (112, 112)) for shape in sides.values())
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in maps.values())
    assert len([name for name in maps if "looks" in name]) == 8
    assert len([name for name in maps if "is read" in name]) == 4


def test_cosines_are_one_at_a_click_in_the_middle_of_a_token(predictor):
    maps = explain(predictor, CROPS, [ViewClick(7.5 + 16 * 4, 7.5 + 16 * 9)])
    assert maps["cosine to positive clicks"][4, 9] == pytest.approx(1.0, abs=1e-4)
    assert np.abs(maps["cosine to positive clicks"]).max() <= 1.0001
    assert not maps["cosine to negative kernel"].any()
    assert 0 <= maps["score of small tokens"].min() <= maps["score of small tokens"].max() <= 1


def test_mask_is_the_prediction(predictor, maps):
    shown = predictor.predict(predictor.encode(CROPS), CLICKS, np.zeros((112, 112), np.float32)).logits[0]
    np.testing.assert_allclose(maps["mask"], 1 / (1 + np.exp(-shown)), atol=1e-5)


def test_half_precision_encodings_are_explained_too(maps):
    half = load_predictor("step0", device="cpu", dtype="bfloat16")
    found = explain(half, CROPS, CLICKS, np.zeros((112, 112), np.float32))
    assert set(found) == set(maps)
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in found.values())


def test_attention_is_shared_out(maps):
    read = np.sum([values for name, values in maps.items() if "is read" in name], axis=0)
    np.testing.assert_allclose(read, 1.0, atol=1e-5)
    for name, values in maps.items():
        if "looks" in name:
            assert 0 < values.sum() <= 1.00001


def test_without_a_global_view_it_adds_nothing_and_open_gates_add_something(predictor, maps):
    alone = explain(predictor, PIXELS, CLICKS[:1])
    assert not alone["global view adds"].any()
    assert (alone["own relay tokens add"] > 0).all()
    assert (maps["global view adds"] > 0).all()
    assert not np.array_equal(alone["own relay tokens add"], maps["own relay tokens add"])


@torch.inference_mode()
def test_block_maps_are_those_of_the_network(predictor):
    """The attention rebuilt from the maps' weights gives the relay update that the block computes."""
    encoder = predictor._model.encoder
    stem = encoder.stem(torch.from_numpy(PIXELS)[None])
    first = next(iter(block_maps(encoder, stem)))
    block, relay = encoder.stages[2].blocks[0], encoder.relay.start(1)
    windows = to_windows(stem.f16.permute(0, 2, 3, 1), block.window_size)
    _, update = relay_attention(block.attn, windows, relay, None, encoder.relay.blocks[0])
    per_head = _relay_update(block.attn, windows, relay)
    torch.testing.assert_close(block.attn.proj(per_head.flatten(2)), update, atol=1e-5, rtol=1e-4)
    weights = _relay_weights(block.attn, windows, relay).mean(2)[..., 4:].mean(1)  # [1, R, N], mean over windows
    looks = to_windows(first.looks.permute(0, 2, 3, 1), block.window_size).sum(1).transpose(1, 2)
    torch.testing.assert_close(looks, weights, atol=1e-6, rtol=1e-4)


def _relay_weights(attn, windows, relay):
    """softmax(q_r [K_r ; K_p]' s) [1, W, heads, R, R + N], written out."""
    together = torch.cat([relay[:, None].expand(-1, windows.shape[1], -1, -1), windows], dim=2)
    qkv = attn.qkv(attn.norm(together)).unflatten(-1, (attn.num_heads, -1)).transpose(2, 3)
    q, k, _ = qkv.split([attn.key_dim, attn.key_dim, attn.val_dim], dim=-1)
    return (q[..., : relay.shape[1], :] @ k.transpose(-2, -1) / attn.key_dim**0.5).softmax(-1)


def _relay_update(attn, windows, relay):
    together = torch.cat([relay[:, None].expand(-1, windows.shape[1], -1, -1), windows], dim=2)
    qkv = attn.qkv(attn.norm(together)).unflatten(-1, (attn.num_heads, -1)).transpose(2, 3)
    values = qkv.split([attn.key_dim, attn.key_dim, attn.val_dim], dim=-1)[2]
    return (_relay_weights(attn, windows, relay) @ values).mean(1).transpose(1, 2)


def test_a_checkpoint_without_the_parts_has_only_the_mask():
    torch.manual_seed(0)
    model = ClickModel(ModelConfig(relay_tokens=0, multi_scale=False, similarity=False, pixel_path=0))
    bare = Predictor(model, load_predictor("step0", device="cpu").card, choose("cpu", "float32"))
    assert set(explain(bare, CROPS, CLICKS[:1])) == {"mask"}


def test_bad_clicks_are_named(predictor):
    with pytest.raises(ClickError, match="inside the view"):
        explain(predictor, CROPS, [ViewClick(-50, 3)])
