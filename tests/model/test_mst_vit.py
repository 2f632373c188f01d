"""Adaptive patch embedding and the published multi-scale token module, on a SimpleClick-like ViT."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.model.adaptive_patch import (
    AdaptivePatchEmbed,
    inverse_matrix,
    resize,
    resize_kernel,
    resize_positions,
)
from napari_relay.model.layers import tokens_of
from napari_relay.model.mst_module import MSTConfig, MultiScaleModule
from napari_relay.model.mst_vit import MSTViT, prompt_map, under_clicks
from relay_training.token_losses import token_score_loss, triplet, triplet_distances

SIDE = 128
"""8 x 8 base tokens, 256 small ones (16 chosen), 16 large ones (1 chosen)."""
CLICKS = torch.tensor([[[40.0, 50.0, 1], [90, 20, 0], [50, 60, 1]], [[100.0, 10.0, 1], [-1, -1, -1], [-1, -1, -1]]])


def network(config: MSTConfig | None = None, *, gate: float | None = None, depth: int = 2) -> MSTViT:
    torch.manual_seed(0)
    body = timm.create_model("vit_tiny_patch16_224", depth=depth, num_classes=0, img_size=SIDE)
    model = MSTViT(body, config, neck=(16, 16, 16, 16), head_width=16).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if gate is not None and "gamma" in name:
                parameter.fill_(gate)
    return model


SMALL = MSTConfig(before=(1, 2))


@pytest.fixture(scope="module")
def model() -> MSTViT:
    return network(SMALL, gate=0.5).requires_grad_(False)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


# Adaptive patch embedding --------------------------------------------------------------------------------------------


def convolution(seed: int = 0) -> torch.nn.Conv2d:
    torch.manual_seed(seed)
    return torch.nn.Conv2d(3, 24, 16, stride=16)


def test_at_its_own_size_the_kernel_is_itself(image):
    proj = convolution()
    assert resize_kernel(proj.weight, 16) is proj.weight
    assert torch.equal(AdaptivePatchEmbed(proj)(image), tokens_of(proj(image)))


@pytest.mark.parametrize("size", [28, 32])
def test_a_larger_kernel_keeps_the_inner_product(size):
    proj = convolution()
    patches = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    here = torch.einsum("bcij,ocij->bo", patches, proj.weight)
    there = torch.einsum("bcij,ocij->bo", resize(patches, size), resize_kernel(proj.weight, size))
    torch.testing.assert_close(there, here, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_constant_image_gives_the_same_token_at_larger_sizes():
    embed, flat = AdaptivePatchEmbed(convolution()), torch.full((1, 3, 224, 224), 0.7)
    own = embed(flat)[:, :1]
    for size in (28, 32):
        tokens = embed(flat, size)
        assert tokens.shape == (1, (224 // size) ** 2, 24)
        torch.testing.assert_close(tokens, own.expand_as(tokens), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_a_smaller_kernel_errs_within_its_bound_and_little_where_the_kernel_is_smooth():
    # |1' w_8 - 1' w| <= |pinv(R)' 1 - 1| |w|, and a kernel without fine detail is nearly kept.
    bound = (inverse_matrix(16, 8).T.sum(1) - 1).norm()
    assert bound < 1.52
    rough = convolution().weight
    smooth = F.interpolate(torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(3)), 16, mode="bicubic")
    for kernel, share in ((rough, 1.0), (smooth, 0.1)):
        error = (resize_kernel(kernel, 8).sum((2, 3)) - kernel.sum((2, 3))).abs()
        assert (error <= share * bound * kernel.flatten(2).norm(dim=2) + 1e-5).all()


def test_positions_of_other_grids_and_sizes_that_do_not_fit(image):
    table = torch.randn(1, 64, 8)
    assert resize_positions(table, 8) is table
    flat = torch.ones(1, 64, 8)
    torch.testing.assert_close(resize_positions(flat, 16), torch.ones(1, 256, 8))
    embed = AdaptivePatchEmbed(convolution())
    with pytest.raises(UsageError, match="whole patches of 28"):
        embed(image, 28)
    with pytest.raises(UsageError, match="do not overlap"):
        AdaptivePatchEmbed(torch.nn.Conv2d(3, 8, 16, stride=8))


# The network ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_shut_gates_are_simple_click_bit_for_bit(image):
    shut, plain = network(SMALL), network(None)
    plain.load_state_dict({k: v for k, v in shut.state_dict().items() if not k.startswith("scales")})
    for clicks in (CLICKS, CLICKS[:, :1], torch.full((2, 2, 3), -1.0), torch.tensor([[[127.4, 0, 0]]] * 2)):
        out = shut(image, clicks)
        assert torch.equal(out.logits, plain(image, clicks).logits)
        assert out.logits.shape == (2, 1, SIDE, SIDE)
        assert len(out.traces) == 2


@torch.no_grad()
def test_open_gates_and_the_224_release_change_the_mask(image):
    plain = network(None)(image, CLICKS).logits
    for config in (MSTConfig(before=(1, 2), gate=1.0), MSTConfig(before=(2,), keep_ratio=8, reduction=1, trim=False,
                   kernel="mean", last="mlp", gate=0.5)):  # fmt: skip
        out = network(config)(image, CLICKS)
        assert torch.isfinite(out.logits).all()
        assert (out.logits - plain).abs().max() > 1e-6
    assert out.traces[0].small.index.shape == (2, 32)
    assert MSTConfig.release_224().before == (1, 5, 9)


@torch.no_grad()
def test_a_batch_equals_its_samples(model, image):
    previous = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    whole = model(image, CLICKS, previous)
    for b in range(2):
        single = model(image[b : b + 1], CLICKS[b : b + 1], previous[b : b + 1])
        torch.testing.assert_close(whole.logits[b : b + 1], single.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(whole.traces[1].kernel[b : b + 1], single.traces[1].kernel, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_mirrored_image_and_clicks_choose_mirrored_tokens(image):
    model = network(MSTConfig(before=(1,)), gate=0.5, depth=1)
    model.pos_embed.zero_()
    for kernel in (model.patch_embed.proj.weight, model.prompt_embed.weight, model.scales["1"].update.reduce.weight):
        kernel.copy_((kernel + kernel.flip(3)) / 2)  # mirror-symmetric, as the positions are
    mirrored = CLICKS.clone()
    mirrored[..., 1] = torch.where(CLICKS[..., 2] >= 0, SIDE - 1 - CLICKS[..., 1], CLICKS[..., 1])
    here = model(image, CLICKS).traces[0]
    there = model(image.flip(3), mirrored).traces[0]
    for a, b, side in ((here.small, there.small, 16), (here.large, there.large, 4)):
        torch.testing.assert_close(a.scores.unflatten(1, (side, side)).flip(2).flatten(1), b.scores, atol=1e-5, rtol=0)
        flipped = a.index // side * side + (side - 1 - a.index % side)
        assert [set(r.tolist()) for r in flipped] == [set(r.tolist()) for r in b.index]


def test_no_positive_click_is_finite_and_without_losses(image):
    model = network(SMALL, gate=0.5)
    clicks = torch.tensor([[[90.0, 20, 0]], [[-1.0, -1, -1]]])
    out = model(image, clicks)
    assert torch.isfinite(out.logits).all()
    total = out.logits.sum() * 0
    for trace in out.traces:
        assert not trace.kernel.any()
        for part in (trace.small, trace.large):
            assert not part.scores.any()
            assert not part.tokens.any()
            total = total + triplet(part.tokens, torch.ones_like(part.tokens[..., 0]), trace.kernel)
            total = total + token_score_loss(part.scores, torch.zeros_like(part.scores))
    assert total.item() == 0.0
    total.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_prompt_map_holds_previous_mask_and_disks_of_81_pixels():
    previous = torch.rand(2, 1, SIDE, SIDE)
    prompt = prompt_map(CLICKS, previous, SIDE)
    assert torch.equal(prompt[:, :1], previous)
    assert prompt[:, 1].sum((1, 2)).tolist() == [162.0, 81.0]
    assert prompt[:, 2].sum((1, 2)).tolist() == [81.0, 0.0]
    assert not prompt_map(CLICKS, None, SIDE)[:, 0].any()


def test_clicks_fall_into_the_tokens_under_them():
    corners = torch.tensor([[[0.0, 0.0, 1], [15, 16, 1], [127, 127, 1], [127.4, -0.4, 0], [-1, -1, -1]]])
    assert under_clicks(corners, 16, 8).tolist() == [[0, 1, 63, 56, 0]]


# The module ----------------------------------------------------------------------------------------------------------


def inputs(batch: int = 1) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(5)
    base, *scales = (torch.randn(batch, n, 48, generator=generator) for n in (64, 256, 64))
    return base, scales, [torch.randn(1, n, 48, generator=generator) for n in (256, 64)]


def module(**changes: object) -> MultiScaleModule:
    torch.manual_seed(6)
    return MultiScaleModule(48, MSTConfig(gate=0.7, **changes))  # type: ignore[arg-type]


CLICKED, YES = torch.tensor([[9, 20, 33]]), torch.ones(1, 3, dtype=torch.bool)


@torch.no_grad()
@pytest.mark.parametrize("kernel", ["attention", "mean"])
def test_kernel_ignores_order_padding_and_a_repetition_of_all_clicks(kernel):
    part, (base, *_) = module(kernel=kernel), inputs()
    own = part.kernel(base, CLICKED, YES)
    torch.testing.assert_close(part.kernel(base, CLICKED.flip(1), YES), own)
    torch.testing.assert_close(part.kernel(base, CLICKED.repeat(1, 2), YES.repeat(1, 2)), own)
    padded = torch.cat([CLICKED, torch.tensor([[0, 50]])], dim=1)
    torch.testing.assert_close(part.kernel(base, padded, torch.arange(5)[None] < 3), own)
    if kernel == "attention":
        assert own.norm() == pytest.approx(1.0, abs=1e-5)
    # Two clicks in one patch count twice.
    assert (part.kernel(base, torch.tensor([[9, 9, 20, 33]]), torch.ones(1, 4).bool()) - own).abs().max() > 1e-3


@torch.no_grad()
def test_choice_follows_the_tokens_and_keeps_what_it_says():
    part, (base, scales, places) = module(), inputs()
    kernel = part.kernel(base, CLICKED, YES)
    chosen = part.choose(scales[0], places[0], kernel, YES)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(7))
    moved = part.choose(scales[0][:, order], places[0][:, order], kernel, YES)
    assert torch.equal(order[moved.index], chosen.index)
    torch.testing.assert_close(moved.placed, chosen.placed)
    assert chosen.scores.min() >= 0
    assert chosen.scores.max() <= 1
    assert len(set(chosen.index[0].tolist())) == 256 // 16
    # k' = min(k, max(k - 10, #{s > 0.65})), the best ones.
    best = chosen.scores.topk(16).values[0]
    count = max(6, int((best > 0.65).sum()))
    assert chosen.kept[0].tolist() == [True] * count + [False] * (16 - count)
    assert (chosen.tokens[0].abs().sum(1) > 0).tolist() == chosen.kept[0].tolist()
    untrimmed = module(trim=False).choose(scales[0], places[0], kernel, YES)
    assert untrimmed.kept.all()


@torch.no_grad()
def test_straight_through_adds_nothing_to_the_value():
    part, (base, scales, places) = module(trim=False), inputs()
    chosen = part.choose(scales[1], places[1], part.kernel(base, CLICKED, YES), YES)
    assert torch.equal(chosen.tokens, scales[1][:, chosen.index[0]])
    assert torch.equal(chosen.placed, (scales[1] + places[1])[:, chosen.index[0]])


@torch.no_grad()
def test_trimmed_slots_are_no_keys():
    part, (base, scales, places) = module(), inputs()
    out, _, trace = part(base, scales, places, CLICKED, YES)
    assert not trace.small.kept.all()
    z = trace.small.placed + part.gamma * part.large_to_small(trace.small.placed, trace.large.placed, trace.large.kept)
    z = z[:, trace.small.kept[0]]
    expected = base + part.gamma_base * part.to_base(base, z, torch.ones(1, z.shape[1], dtype=torch.bool))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_gradient_reaches_the_kernel_and_the_chosen_tokens_alone():
    part, (base, scales, places) = module(), inputs()
    x, kernel = scales[0].requires_grad_(), part.kernel(base, CLICKED, YES).detach().requires_grad_()
    chosen = part.choose(x, places[0], kernel, YES)
    weights = torch.randn(chosen.placed.shape, generator=torch.Generator().manual_seed(8))
    (chosen.placed * weights).sum().backward()
    assert kernel.grad is not None
    assert kernel.grad.abs().max() > 0  # through the scores
    assert x.grad is not None
    kept = set(chosen.index[chosen.kept].tolist())
    assert set(x.grad[0].abs().sum(1).nonzero().flatten().tolist()) == kept
    # The gather alone would give the kept tokens exactly their weights; the scores add their share.
    direct = torch.zeros_like(x)
    direct[0, chosen.index[0]] = weights[0] * chosen.kept[0, :, None]
    assert (x.grad - direct).abs().max() > 1e-5


def test_gradient_of_the_mask_reaches_every_part(image):
    model = network(MSTConfig(before=(1, 2), gate=0.5))
    model(image, CLICKS).logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0 or name == "scales.1.gamma", name


# The losses on what a module chose -----------------------------------------------------------------------------------


def under(target: Tensor, patch: int) -> Tensor:
    """Ground truth [B, N] of the cells, sampled by nearest neighbour at the stride of the tokens."""
    return F.interpolate(target, scale_factor=1 / patch, mode="nearest").flatten(1)


def test_losses_read_the_grid_of_their_tokens_and_pull_towards_the_kernel(model, image):
    target = torch.zeros(2, 1, SIDE, SIDE)
    target[..., 32:, :] = 1.0
    trace = model(image, CLICKS).traces[1]
    shares = under(target, 8), under(target, 32)
    assert [tuple(s.shape) for s in shares] == [tuple(c.scores.shape) for c in (trace.small, trace.large)]
    share = shares[0].gather(1, trace.small.index)
    share[:, 0], share[:, 1] = 1.0, 0.0  # both sides present whatever was chosen
    tokens, losses = F.normalize(trace.small.tokens + 0.01, dim=-1), []
    for step in (0.0, 0.3, 0.6, 0.9):
        moved = torch.where(share[..., None] > 0.5, tokens.lerp(trace.kernel[:, None], step), tokens)
        losses.append(float(triplet(moved, share, trace.kernel)))
    assert losses == sorted(losses, reverse=True)
    a, b = (triplet_distances(tokens, s, trace.kernel) for s in (share, 1 - share))
    torch.testing.assert_close(a.positive - a.negative, b.negative - b.positive)
    for kind in ("focal", "mse"):
        assert float(token_score_loss(shares[0], shares[0], kind=kind)) < 1e-6
    assert float(token_score_loss(trace.small.scores, shares[0])) > 0


def test_wrong_bodies_are_errors():
    with pytest.raises(UsageError, match="SwinTransformerV2"):
        MSTViT(timm.create_model("swinv2_tiny_window8_256", img_size=64, depths=(1,), num_heads=(3,)))
    with pytest.raises(UsageError, match="no block 12"):
        MSTViT(timm.create_model("vit_tiny_patch16_224", depth=1), MSTConfig())
    with pytest.raises(UsageError, match="28 or 32"):
        MSTConfig(large_patch=30)
