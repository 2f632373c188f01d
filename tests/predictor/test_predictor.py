"""Encode once, predict many; the cache and its keys; bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_relay.errors import ClickError, MissingEncodingError, UsageError
from napari_relay.geometry import Box
from napari_relay.model.checkpoint import load_checkpoint
from napari_relay.predictor import Predictor, load_predictor
from napari_relay.predictor.clicks import click_array, thin
from napari_relay.predictor.device import choose, choose_device
from napari_relay.views import Crops, View, ViewClick, ViewPair

RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(3, 448, 448)).astype(np.float32)
WIDE = RNG.normal(size=(3, 448, 448)).astype(np.float32)
PAIR = ViewPair(View(Box(0, 0, 448, 448)), View(Box(-448, -448, 1344, 1344)))


def crops(key: str = "a", *, wide: bool = True) -> Crops:
    pair = PAIR if wide else ViewPair(PAIR.local)
    return Crops(key, pair, PIXELS, WIDE if wide else None, "g" if wide else None)


@pytest.fixture(scope="module")
def predictor():
    return load_predictor("step0", device="cpu", dtype="float32")


def test_first_click_gives_three_masks_best_first_and_later_ones_one(predictor):
    encoded = predictor.encode(crops())
    first = predictor.predict(encoded, [ViewClick(100, 100)])
    assert first.logits.shape == (3, 112, 112)
    assert first.logits.dtype == np.float32
    assert list(first.scores) == sorted(first.scores, reverse=True)
    second = predictor.predict(encoded, [ViewClick(100, 100), ViewClick(9, 9, False)], first.logits[0])
    assert second.logits.shape == (1, 112, 112)


def test_cached_equals_uncached_bit_for_bit(predictor):
    fresh = predictor.encode(crops("b"))
    predictor.clear()
    again = predictor.encode(crops("b"))
    assert torch.equal(fresh.encoding.image, again.encoding.image)
    clicks = [ViewClick(50.5, 60)]
    by_key = predictor.predict("b", clicks).logits
    assert np.array_equal(by_key, predictor.predict(fresh, clicks).logits)
    assert predictor.encode(crops("b")).encode_ms == 0.0


def test_an_unknown_key_asks_for_the_pixels(predictor):
    with pytest.raises(MissingEncodingError):
        predictor.predict("nowhere", [ViewClick(1, 1)])


@pytest.fixture
def open_predictor(predictor):
    """One whose gates to the global view are open."""
    model, card = load_checkpoint("step0")
    for gates in model.encoder.relay.blocks:
        gates.gate.data.fill_(0.5)
    return Predictor(model, card, choose("cpu", "float32"))


def test_views_that_share_a_global_view_compute_it_once(open_predictor):
    first = list(open_predictor.encode_steps(crops("c")))
    second = list(open_predictor.encode_steps(crops("d")))
    assert "global" in first
    assert "global" not in second


def test_a_global_view_that_nothing_reads_is_not_encoded(predictor, open_predictor):
    predictor.clear()
    assert list(predictor.encode_steps(crops("f"))) == ["stem"]
    without = open_predictor.encode(crops("g", wide=False)).encoding.image
    assert not torch.equal(open_predictor.encode(crops("h")).encoding.image, without)


def test_encoding_can_be_stopped_between_its_parts(predictor):
    predictor.clear()
    steps = predictor.encode_steps(crops("e"))
    next(steps)
    steps.close()
    assert not predictor.has("e")


def test_cache_stays_within_its_bytes():
    small = load_predictor("step0", device="cpu", dtype="float32", cache_bytes=20 << 20)
    for i in range(6):
        small.encode(crops(str(i), wide=False))
    assert small._encodings.nbytes <= 20 << 20
    assert small.has("5")
    assert not small.has("0")


def test_a_request_is_a_pure_function(predictor):
    encoded = predictor.encode(crops())
    previous = RNG.normal(size=(112, 112)).astype(np.float32)
    clicks = [ViewClick(10, 20), ViewClick(200, 300, False)]
    a, b = (predictor.predict(encoded, clicks, previous).logits for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("clicks", "message"),
    [
        ([], "inside the view"),
        ([ViewClick(-5, 3)], "inside the view"),
        ([ViewClick(float("nan"), 3)], "finite"),
        ([ViewClick(3, 3, False)], "positive"),
    ],
)
def test_bad_clicks_are_named(predictor, clicks, message):
    with pytest.raises(ClickError, match=message):
        predictor.predict(predictor.encode(crops()), clicks)


def test_previous_of_another_shape_is_named(predictor):
    with pytest.raises(ClickError, match="shape"):
        predictor.predict(predictor.encode(crops()), [ViewClick(3, 3)], np.zeros((10, 10), np.float32))


def test_nan_pixels_never_reach_the_masks(predictor):
    holes = PIXELS.copy()
    holes[:, :100] = np.nan
    assert np.isfinite(predictor.predict(predictor.encode(holes), [ViewClick(200, 200)]).logits).all()


def test_five_hundred_clicks_are_thinned_and_order_within_a_sign_does_not_matter(predictor):
    points = RNG.uniform(0, 447, (500, 2))
    clicks = [ViewClick(y, x, bool(i % 2)) for i, (y, x) in enumerate(points)]
    rows = click_array(clicks)
    assert rows.shape == (1, 128, 3)
    encoded = predictor.encode(crops())
    assert np.isfinite(predictor.predict(encoded, clicks, np.zeros((112, 112), np.float32)).logits).all()
    few = [ViewClick(10, 10), ViewClick(20, 200), ViewClick(300, 30)]
    a = predictor.predict(encoded, few).logits
    np.testing.assert_allclose(a, predictor.predict(encoded, few[::-1]).logits, atol=1e-3)


def test_thinning_keeps_the_latest():
    points = RNG.uniform(0, 447, (200, 2)).astype(np.float32)
    kept = {tuple(p) for p in thin(points)}
    assert len(kept) == 64
    assert {tuple(p) for p in points[-8:]} <= kept


def test_a_gpu_that_is_not_there_falls_back_with_a_word(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, notes = choose_device("cuda")
    assert device.type == "cpu"
    assert "CPU" in notes[0]
    assert choose_device("auto") == (torch.device("cpu"), ())


def test_unknown_device_and_dtype_are_usage_errors():
    with pytest.raises(UsageError, match="device"):
        choose_device("tpu9")
    with pytest.raises(UsageError, match="dtype"):
        choose("cpu", "float7")


def test_bfloat16_masks_agree_with_float32(predictor):
    half = load_predictor("step0", device="cpu", dtype="bfloat16")
    yy, xx = np.mgrid[:448, :448]
    disc = ((yy - 220) ** 2 + (xx - 200) ** 2 < 90**2) * 2.0 - 1.0
    image = np.repeat(disc[None], 3, 0).astype(np.float32)
    a, b = (p.predict(p.encode(image), [ViewClick(220, 200)]).logits[0] > 0 for p in (predictor, half))
    assert (a & b).sum() / (a | b).sum() >= 0.98
