"""SETR's decoders: sizes, counts, auxiliary heads, and windows over a large image."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.model.relay_attach import attach_relay
from napari_relay.model.semantic import (
    ConvNorm,
    MlaDecoder,
    Scores,
    SemanticHead,
    enlarge,
    segment,
    sliding_window,
    vit_maps,
)
from relay_training.semantic_losses import semantic_loss

KINDS = ["naive", "pup", "mla"]


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()


def maps(head: SemanticHead, width: int = 32, side: int = 3, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, width, side, side, generator=generator) for _ in head.taps]


def make(kind: str, width: int = 32, classes: int = 5, depth: int = 12, **options: object) -> SemanticHead:
    torch.manual_seed(0)
    return SemanticHead(kind, width, classes, depth, **options)  # type: ignore[arg-type]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(48, 64), (50, 33)])
def test_output_has_the_size_of_the_input(vit, kind, size):
    head = make(kind, 192).eval()
    scores = segment(vit_maps(vit), head, torch.randn(1, 3, *size))
    assert scores.logits.shape == (1, 5, *size)
    assert torch.isfinite(scores.logits).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_relay_backbone_feeds_the_decoders(vit, kind):
    backbone, head = attach_relay(vit), make(kind, 192).eval()
    image, wide = torch.randn(1, 3, 48, 48), torch.randn(1, 3, 48, 48)
    scores = segment(lambda x, taps: backbone(x, wide, taps=taps).taps, head, image)
    torch.testing.assert_close(scores.logits, segment(vit_maps(vit), head, image).logits, atol=1e-5, rtol=1e-5)


def without_positions() -> torch.nn.Module:
    """A ViT that only permutes its tokens when the image is rolled."""
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True, pos_embed="none", class_token=False,
        global_pool="avg", fc_norm=False,
    ).eval()  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("kind", ["naive", "pup"])
def test_moving_the_image_by_a_patch_moves_the_logits_by_sixteen_away_from_the_borders(kind):
    backbone, head, image = vit_maps(without_positions()), make(kind, 192).eval(), torch.randn(1, 3, 160, 160)
    here = segment(backbone, head, image).logits
    there = segment(backbone, head, image.roll(16, 3)).logits.roll(-16, 3)
    inner = (..., slice(64, 96), slice(64, 80))
    torch.testing.assert_close(there[inner], here[inner], atol=1e-3 * float(here.std()), rtol=0)


@torch.no_grad()
def test_moving_the_image_by_a_patch_moves_mla_s_streams_by_a_cell():
    # Its published enlargement aligns corners and so stretches the map: the logits move by a little more than 16.
    backbone, head, image = vit_maps(without_positions()), make("mla", 192).eval(), torch.randn(1, 3, 160, 160)
    here = head.decoder.streams(backbone(image, head.taps))
    there = head.decoder.streams(backbone(image.roll(16, 3), head.taps))
    for a, b in zip(here, there, strict=True):
        moved = b.roll(-1, 3)[..., 1:-2]
        torch.testing.assert_close(moved, a[..., 1:-2], atol=1e-3 * float(a.std()), rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_auxiliary_heads_change_nothing_in_eval_mode(kind):
    head = make(kind)
    trained = head(maps(head))
    assert len(trained.auxiliary) == {"naive": 3, "pup": 4, "mla": 4}[kind]
    assert all(a.shape == trained.logits.shape for a in trained.auxiliary)
    head.eval()
    scores = head(maps(head))
    assert scores.auxiliary == ()
    alone = make(kind, auxiliary=False).eval()
    alone.load_state_dict({k: v for k, v in head.state_dict().items() if not k.startswith("auxiliary")})
    features = dict(zip(head.taps, maps(head), strict=True))
    assert torch.equal(alone([features[tap] for tap in alone.taps]).logits, scores.logits)
    assert alone.train()([features[tap] for tap in alone.taps]).auxiliary == ()


@torch.no_grad()
@pytest.mark.parametrize("left", range(4))
def test_mla_with_three_streams_at_zero_is_a_single_path(left):
    head = make("mla").eval()
    decoder = head.decoder
    assert isinstance(decoder, MlaDecoder)
    features = [x if i == left else torch.zeros_like(x) for i, x in enumerate(maps(head))]
    logits = head(features).logits
    # Deepest first: the map enters the sums at place 3 - left and all later ones hold it alone.
    place = 3 - left
    own = decoder.enter[place](decoder.norms[place](features[left]))
    parts = [decoder.narrow[i](decoder.smooth[i](own if i >= place else torch.zeros_like(own))) for i in range(4)]
    joined = torch.cat([enlarge(p, 4, corners=True) for p in parts], dim=1)
    torch.testing.assert_close(logits, enlarge(decoder.classify(joined), 4))
    for i in range(place):
        assert not parts[i].any()  # a path before it holds nothing (norms are at their start: no bias)


def formula(kind: str, d: int, k: int) -> int:
    """Parameters of the main decoder, counted from the layers in the paper's order."""
    layer_norm, batch_norm = 2 * d, 2 * 256
    if kind == "naive":
        return layer_norm + (d * 256 + 256) + batch_norm + (256 * k + k)
    if kind == "pup":
        convolutions = 9 * d * 256 + 3 * 9 * 256 * 256 + 4 * 256
        return layer_norm + convolutions + 4 * batch_norm + (256 * k + k)
    stream = layer_norm + d * 256 + batch_norm + 9 * 256 * 256 + batch_norm
    narrow = 9 * 256 * 128 + 256 + 9 * 128 * 128 + 256
    return 4 * (stream + narrow) + 9 * 512 * k + k


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "depth"), [(1024, 24), (768, 12)])
def test_parameter_counts_match_the_formulas(kind, width, depth):
    with torch.device("meta"):
        head = SemanticHead(kind, width, 19, depth)
    count = sum(p.numel() for p in head.decoder.parameters())
    assert count == formula(kind, width, 19)
    if kind == "pup" and depth == 24:
        assert round(count / 1e6, 2) == 4.14


def test_group_norm_does_not_mix_samples_and_batch_norm_does():
    for norm, mixes in (("GN", False), ("BN", True)):
        head = make("pup", norm=norm).train()
        whole = head(maps(head)).logits[:1]
        alone = head([x[:1] for x in maps(head)]).logits
        assert torch.allclose(whole, alone, atol=1e-4) != mixes


@torch.no_grad()
def test_mean_over_overlapping_windows_of_a_constant_is_the_constant():
    logits = torch.tensor([1.5, -2.0, 0.25])

    def score(x: Tensor) -> Tensor:
        return logits[None, :, None, None].expand(1, 3, *x.shape[2:])

    for size in ((100, 130), (64, 64), (40, 200)):
        mean = sliding_window(score, torch.zeros(1, 3, *size), 64, 43)
        assert mean.shape == (1, 3, *size)
        assert torch.equal(mean, logits[None, :, None, None].expand_as(mean))


@torch.no_grad()
def test_each_pixel_is_the_mean_of_the_windows_that_hold_it():
    image = torch.zeros(1, 1, 8, 24)
    seen: list[int] = []

    def score(x: Tensor) -> Tensor:
        seen.append(len(seen))
        return torch.full((1, 1, *x.shape[2:]), float(len(seen)))

    mean = sliding_window(score, image, 16, 8)
    assert mean[0, 0, 0].tolist() == [1.0] * 8 + [1.5] * 8 + [2.0] * 8


def test_loss_weighs_auxiliary_heads_by_two_fifths_and_skips_ignored_pixels():
    two = torch.zeros(1, 2, 1, 2)
    sure = torch.tensor([[[[0.0, 9.0]], [[math.log(3), 0.0]]]])  # class 1 with probability 3/4, then class 0
    target = torch.tensor([[[1, -1]]])
    loss = semantic_loss(Scores(sure, (two, two)), target)
    assert float(loss) == pytest.approx(math.log(4 / 3) + 0.8 * math.log(2), rel=1e-5)
    assert float(semantic_loss(Scores(sure), torch.full_like(target, -1))) == 0.0


def test_every_part_of_a_decoder_learns():
    for kind in KINDS:
        head = make(kind)
        semantic_loss(head(maps(head)), torch.zeros(2, 48, 48, dtype=torch.long)).backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, f"{kind}: {name}"


def test_norm_flag_and_wrong_words():
    assert isinstance(ConvNorm(8, 128, 3, "GN")[1], torch.nn.GroupNorm)
    assert isinstance(ConvNorm(8, 128, 3, "BN")[1], torch.nn.BatchNorm2d)
    with pytest.raises(UsageError, match="naive, pup or mla"):
        make("fpn")
    with pytest.raises(UsageError, match="12 or 24"):
        make("pup", depth=7)
    with pytest.raises(UsageError, match="patch 16"):
        vit_maps(timm.create_model("vit_tiny_patch16_224", patch_size=8, depth=1))
