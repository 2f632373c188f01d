"""Relay tokens on plain ViTs: what each rule lets through, and what it leaves alone."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch import Tensor

from napari_relay.errors import CheckpointError, UsageError
from napari_relay.geometry import Box, Plane
from napari_relay.model.relay_attach import attach_relay, load_backbone
from napari_relay.model.relay_rules import RelayBackbone, RelayConfig
from napari_relay.model.semantic import SimpleHead
from napari_relay.sources import open_image
from napari_relay.views import View, ViewPair, default_mix, measure_stretch, read_crops
from relay_training.losses import soft_cross_entropy
from relay_training.relay_losses import local_window, relay_consistency_loss, relay_context_loss

NAMES = [
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "deit3_small_patch16_224",
]
RULES = ["sequential", "mean", "oneway", "oneway_keep"]
ATTACH = ["gated", "concat"]
GEOMETRY = torch.tensor([[0.1, -0.2, 2.0], [0.3, 0.0, 3.0]])


def vit(name: str = NAMES[0], *, depth: int = 2, **options: object) -> torch.nn.Module:
    torch.manual_seed(1)
    body = timm.create_model(name, depth=depth, num_classes=0, dynamic_img_size=True, **options).eval()
    with torch.no_grad():
        for parameter in body.parameters():
            # Random weights as large as trained ones: timm's own start hardly mixes tokens.
            if parameter.dim() == 2:
                parameter.mul_(3.0)
    return body


def views(side: int = 64, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def opened(model: RelayBackbone, *, offset: bool = True) -> RelayBackbone:
    """Open the gates, and give the offset code and the branch bias values."""
    generator = torch.Generator().manual_seed(3)
    assert model.relay is not None
    with torch.no_grad():
        for name, parameter in model.relay.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.7)
            elif offset and (name.startswith("offset.out") or name == "branch"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            elif name in ("init", "position"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def relay_vit(rule: str, attach: str = "gated", *, depth: int = 2, tokens: int = 4, **changes: object) -> RelayBackbone:
    torch.manual_seed(2)
    return attach_relay(vit(depth=depth), RelayConfig(tokens, rule, attach, **changes))  # type: ignore[arg-type]


# A plain backbone stays what it is -----------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_no_relay_tokens_leave_two_plain_backbones(name):
    body, x, y = vit(name), views(56 if "14" in name else 64), views(56 if "14" in name else 64, seed=1)
    model = attach_relay(body, RelayConfig(0, "sequential", "concat"))
    out = model(x, y, GEOMETRY)
    assert torch.equal(out.local, body.forward_features(x))
    assert torch.equal(out.global_, body.forward_features(y))
    assert out.relay is None


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", [1, 4])
def test_shut_gates_leave_a_pretrained_backbone_untouched_bit_for_bit(name, tokens):
    body, x, y = vit(name), views(56 if "14" in name else 64), views(56 if "14" in name else 64, seed=1)
    plain, plain_global = body.forward_features(x), body.forward_features(y)
    for rule in RULES:
        out = attach_relay(body, RelayConfig(tokens, rule))(x, y, GEOMETRY)
        assert torch.equal(out.local, plain), rule
        assert torch.equal(out.global_, plain_global), rule
        assert out.relay is not None
        assert out.relay.shape == (2, tokens, body.embed_dim)


@pytest.mark.parametrize("tokens", [1, 2, 4, 8])
def test_shut_gates_have_a_gradient(tokens):
    model = relay_vit("oneway_keep", tokens=tokens)
    model(views(), views(seed=1), GEOMETRY).local.square().mean().backward()
    assert model.relay is not None
    for gates in model.relay.blocks:
        assert (gates.gate.grad.abs().sum(dim=1) > 0).all()


def test_layer_scale_acts_on_relay_tokens_too():
    # With DINOv2's LayerScale at 0 no block changes anything, relay tokens included.
    body = vit("vit_small_patch14_dinov2")
    for block in body.blocks:
        torch.nn.init.zeros_(block.ls1.gamma)
        torch.nn.init.zeros_(block.ls2.gamma)
    for attach in ATTACH:
        model = opened(attach_relay(body, RelayConfig(2, "sequential", attach)), offset=False)
        with torch.no_grad():
            out = model(views(56), views(56, seed=1))
        assert model.relay is not None
        torch.testing.assert_close(out.relay, model.relay.start(2))


# Batches, order, symmetry --------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(RULES, ATTACH)])
def test_samples_of_a_batch_do_not_touch_each_other(rule, attach):
    model = opened(relay_vit(rule, attach))
    x, y, order = views(batch=3), views(batch=3, seed=1), torch.tensor([2, 0, 1])
    geometry = torch.randn(3, 3)
    out = model(x, y, geometry)
    moved = model(x[order], y[order], geometry[order])
    torch.testing.assert_close(moved.local, out.local[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved.relay, out.relay[order], atol=1e-5, rtol=1e-5)
    x[1], y[1] = 0.0, 1.0
    other = model(x, y, geometry)
    assert torch.equal(other.local[[0, 2]], out.local[[0, 2]])
    assert not torch.equal(other.local[1], out.local[1])


@torch.no_grad()
@pytest.mark.parametrize("attach", ATTACH)
def test_mean_treats_both_views_alike(attach):
    model = opened(relay_vit("mean", attach), offset=False)
    x, y = views(), views(seed=1)
    out, swapped = model(x, y), model(y, x)
    torch.testing.assert_close(swapped.local, out.global_, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(swapped.global_, out.local, atol=1e-6, rtol=1e-6)
    own = opened(relay_vit("mean", attach, separate_embedding=True), offset=False)
    torch.nn.init.normal_(own.embedding.pos_embed)
    assert (own(y, x).local - own(x, y).global_).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("attach", ATTACH)
def test_mean_of_two_equal_views_is_one_branch_with_registers(attach):
    model, x = opened(relay_vit("mean", attach), offset=False), views()
    out, alone = model(x, x), model(x)
    torch.testing.assert_close(out.local, out.global_, atol=0, rtol=0)
    torch.testing.assert_close(out.local, alone.local, atol=1e-6, rtol=1e-6)
    if attach == "concat":
        z = torch.cat([model.relay.start(2), model.embed(x, 0)], dim=1)
        z = model.body.norm(model.body.blocks(z))
        torch.testing.assert_close(out.local, z[:, 4:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(RULES, ATTACH)])
def test_relay_tokens_have_no_order(rule, attach):
    model, x, y = opened(relay_vit(rule, attach)), views(), views(seed=1)
    out, order = model(x, y, GEOMETRY), torch.tensor([2, 0, 3, 1])
    for rows in (model.relay.init, model.relay.position):
        rows.copy_(rows[order])
    moved = model(x, y, GEOMETRY)
    torch.testing.assert_close(moved.local, out.local, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved.relay, out.relay[:, order], atol=1e-5, rtol=1e-5)


# What reaches what ---------------------------------------------------------------------------------------------------


def reach(rule: str, attach: str, depth: int) -> dict[str, float]:
    """Largest gradients between the views: of each branch's output with respect to each input."""
    model = opened(relay_vit(rule, attach, depth=depth))
    x, y = views().requires_grad_(), views(seed=1).requires_grad_()
    out = model(x, y, GEOMETRY)
    assert out.global_ is not None
    weights = torch.randn(out.local.shape, generator=torch.Generator().manual_seed(5))
    found = {}
    for name, tokens in (("local", out.local), ("global", out.global_)):
        of_x, of_y = torch.autograd.grad((tokens * weights).sum(), (x, y), retain_graph=True, allow_unused=True)
        for view, gradient in (("local", of_x), ("global", of_y)):
            found[f"{name} of {view}"] = 0.0 if gradient is None else float(gradient.abs().max())
    of_start = torch.autograd.grad((out.local * weights).sum(), model.relay.init, allow_unused=True)[0]
    found["local of start"] = 0.0 if of_start is None else float(of_start.abs().max())
    return found


@pytest.mark.parametrize("attach", ATTACH)
def test_sequential_reaches_local_in_the_first_block_and_global_in_the_second(attach):
    first, second = reach("sequential", attach, 1), reach("sequential", attach, 2)
    assert first["global of local"] == 0
    assert first["local of global"] > 0
    assert second["global of local"] > 0


@pytest.mark.parametrize("attach", ATTACH)
def test_mean_reaches_the_other_view_one_block_later(attach):
    assert reach("mean", attach, 1)["local of global"] == 0
    assert reach("mean", attach, 2)["local of global"] > 0
    assert reach("mean", attach, 2)["global of local"] > 0


@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(["oneway", "oneway_keep"], ATTACH)])
def test_oneway_global_branch_never_sees_the_local_view(rule, attach):
    found = reach(rule, attach, 2)
    assert found["global of local"] == 0
    assert found["local of global"] > 0
    model, y = opened(relay_vit(rule, attach)), views(seed=1)
    with torch.no_grad():
        assert torch.equal(model(views(), y, GEOMETRY).global_, model(views(seed=7), y, -GEOMETRY).global_)


@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(RULES, ATTACH)])
def test_local_loss_has_a_gradient_for_relay_tokens(rule, attach):
    assert reach(rule, attach, 2)["local of start"] > 0


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(["oneway", "oneway_keep"], ATTACH)])
def test_stored_trajectory_gives_the_joint_result_bit_for_bit(rule, attach):
    model, x, y = opened(relay_vit(rule, attach)), views(), views(seed=1)
    joint = model(x, y, GEOMETRY)
    tokens, states = model.global_pass(y)
    stored = model.local_pass(x, [state.clone() for state in states], GEOMETRY)
    assert torch.equal(stored.local, joint.local)
    assert torch.equal(stored.relay, joint.relay)
    assert torch.equal(tokens, joint.global_)
    assert [tuple(s.shape) for s in states] == [(2, 4, 192)] * 2


@torch.no_grad()
def test_offset_code_moves_the_local_result_and_is_nothing_at_first():
    x, y = views(), views(seed=1)
    for rule in RULES:
        fresh = opened(relay_vit(rule), offset=False)
        assert torch.equal(fresh(x, y, GEOMETRY).local, fresh(x, y).local), rule
        model = opened(relay_vit(rule))
        assert not torch.equal(model(x, y, GEOMETRY).local, model(x, y, -GEOMETRY).local), rule


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(RULES, ATTACH)])
def test_relay_states_are_all_that_reaches_the_local_view(rule, attach):
    model, x = opened(relay_vit(rule, attach)), views()
    out = model(x, views(seed=1), GEOMETRY)
    assert torch.equal(model.local_pass(x, out.reads).local, out.local)
    assert not torch.equal(model(x, views(seed=2), GEOMETRY).local, out.local)


# Size ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "separate"), [*((name, False) for name in NAMES), ("vit_small_patch16_224", True)])
def test_relay_tokens_add_less_than_two_percent(name, separate):
    with torch.device("meta"):
        body = timm.create_model(name, num_classes=0, img_size=256 if separate else 224)
        model = attach_relay(body, RelayConfig(4, separate_embedding=separate))
    backbone = sum(p.numel() for p in body.parameters())
    added = sum(p.numel() for p in model.parameters()) - backbone
    assert 0 < added < 0.02 * backbone


# Geometry and losses -------------------------------------------------------------------------------------------------


def pair_at(y: int, x: int, dy: int = 0, dx: int = 0) -> ViewPair:
    """A local view of 64 pixels and a global one of four times the side, whose centre is off by (dy, dx)."""
    top, left = y - 96 + dy, x - 96 + dx
    return ViewPair(View(Box(y, x, y + 64, x + 64), 64), View(Box(top, left, top + 256, left + 256), 64))


def crops_of(image: Tensor, pair: ViewPair) -> tuple[Tensor, Tensor, Tensor]:
    with open_image(image.numpy()) as source:
        crops = read_crops(source, pair, Plane(), default_mix(source), measure_stretch(source))
    assert crops.global_ is not None
    return (
        torch.from_numpy(crops.local)[None],
        torch.from_numpy(crops.global_)[None],
        torch.tensor([pair.geometry[:3]]),
    )


@torch.no_grad()
def test_views_of_a_shifted_image_give_identical_outputs():
    image = torch.randint(0, 256, (512, 512, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = opened(relay_vit("sequential"))
    here = model(*crops_of(image, pair_at(192, 128)))
    there = model(*crops_of(image.roll((64, 128), (0, 1)), pair_at(256, 256)))
    assert torch.equal(here.local, there.local)
    assert torch.equal(here.global_, there.global_)


@pytest.mark.parametrize("off", [(0, 0), (48, -64)])
def test_central_part_of_the_global_view_lies_over_the_local_one(off):
    # The label is a function of position: a soft spot around (215, 170) in image pixels.
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    spot = torch.exp(-((y - 215) ** 2 + (x - 170) ** 2) / 200)
    image = (spot * 255).to(torch.uint8)[..., None].repeat(1, 1, 3)
    local, global_, geometry = crops_of(image, pair_at(192, 128, *off))
    window = local_window(global_[:, :1], geometry, 16)[0, 0]
    pooled = torch.nn.functional.avg_pool2d(local[:, :1], 4)[0, 0]
    centres = [centre_of_mass(m - m.min()) for m in (window, pooled)]
    assert (centres[0] - centres[1]).abs().max() < 0.5


def centre_of_mass(weights: Tensor) -> Tensor:
    at = torch.arange(len(weights)) + 0.5
    return torch.stack([(weights.sum(1) * at).sum(), (weights.sum(0) * at).sum()]) / weights.sum()


def test_losses_of_both_views_through_one_head():
    model, head = opened(relay_vit("sequential")), SimpleHead(192, 3)
    x, y = views(), views(seed=1)
    out = model(x, y, GEOMETRY)
    assert out.global_ is not None
    local, wide = head(model.as_map(out.local, x)), head(model.as_map(out.global_, y))
    assert local.shape == (2, 3, 64, 64)
    window = local_window(wide, torch.tensor([[0.0, 0.0, 2.0]] * 2), 16)
    torch.testing.assert_close(window, wide[..., 24:40, 24:40])  # concentric: the central crop
    target = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(4))
    target[:, :32] = -1
    context = relay_context_loss(window, target)
    gradient = torch.autograd.grad(context, wide, retain_graph=True)[0]
    assert (gradient[..., 24:32, :] == 0).all()  # nothing where labels are ignored
    assert gradient[..., 32:40, 24:40].abs().max() > 0
    total = context + 0.1 * relay_consistency_loss(window, local)
    total.backward()
    assert head.up.weight.grad.abs().max() > 0


def test_consistency_of_agreeing_branches_pulls_nowhere():
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    same = logits.detach().repeat_interleave(4, 2).repeat_interleave(4, 3)
    relay_consistency_loss(logits, same).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7
    target = torch.softmax(logits.detach(), dim=1)
    assert soft_cross_entropy(logits, target, torch.zeros(1, 4, 4)) == 0


# Doors ---------------------------------------------------------------------------------------------------------------


def test_taps_are_maps_of_the_local_branch():
    body = vit("vit_small_patch14_reg4_dinov2", depth=3)
    model = attach_relay(body)
    with torch.no_grad():
        out = model(views(56)[:, :, :42], taps=(1, 3))
        plain = body.forward_intermediates(views(56)[:, :, :42], indices=[0, 2], norm=False, intermediates_only=True)
    assert [tuple(t.shape) for t in out.taps] == [(2, 384, 3, 4)] * 2
    for ours, theirs in zip(out.taps, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_separate_embedding_starts_as_a_copy_and_learns_alone():
    model = relay_vit("sequential", separate_embedding=True)
    x = views()
    assert torch.equal(model.embed(x, 0), model.embed(x, 1))
    out = model(x, x)
    assert out.global_ is not None
    out.global_.square().sum().backward()
    assert model.embedding.patch_embed.proj.weight.grad.abs().max() > 0
    assert not model.body.patch_embed.proj.weight.grad.any()


def test_a_model_of_fixed_size_and_one_without_positions_work():
    torch.manual_seed(0)
    fixed = timm.create_model(NAMES[0], depth=1, img_size=64, num_classes=0, drop_path_rate=0.2).eval()
    with torch.no_grad():
        assert torch.equal(attach_relay(fixed)(views(), views()).local, fixed.forward_features(views()))
    with pytest.raises(UsageError, match="64 x 64"):
        attach_relay(fixed)(views(80))
    with pytest.raises(UsageError, match="patches of 16"):
        attach_relay(vit())(views(72))
    bare = timm.create_model(NAMES[0], depth=1, img_size=64, num_classes=0, pos_embed="none").eval()
    model = attach_relay(bare, RelayConfig(separate_embedding=True))
    with torch.no_grad():
        assert torch.equal(model(views(), views()).local, bare.forward_features(views()))


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("deit_tiny_distilled_patch16_224", {}, "VisionTransformerDistilled"),
        ("vit_tiny_patch16_224", {"block_fn": timm.models.vision_transformer.ResPostBlock}, "ResPostBlock"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 0.2}, "PatchDropout"),
        ("eva02_tiny_patch14_224", {}, "Eva"),
    ],
)
def test_any_other_class_is_an_error_that_names_it(name, options, named):
    with torch.device("meta"):
        body = timm.create_model(name, depth=1, **options)
    with pytest.raises(UsageError, match=named):
        attach_relay(body)


def test_impossible_configurations_are_errors():
    with pytest.raises(UsageError, match="rule"):
        RelayConfig(rule="both")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="attach"):
        RelayConfig(attach="glued")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 or more"):
        RelayConfig(-1)


# Weights that find their place or say so -----------------------------------------------------------------------------


def released_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the released ViT stores them: modules of a block in lists of one, LayerScale as gamma_1 and gamma_2."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "blocks" and parts[2].startswith("ls"):
            renamed[f"blocks.{parts[1]}.gamma_{parts[2][-1]}"] = tensor
        elif parts[0] == "blocks":
            renamed[".".join([*parts[:3], "0", *parts[3:]])] = tensor
        else:
            renamed[name] = tensor
    return renamed


def test_backbone_weights_load_whole_and_the_report_says_so():
    source, target = (vit("deit3_small_patch16_224", depth=1) for _ in range(2))
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1.0)
    state = released_names(source.state_dict())
    report = load_backbone(attach_relay(target), {**state, "norm_of_another.weight": torch.zeros(3)})
    assert report.share == 1.0
    assert report.missing == ()
    assert report.unexpected == ("norm_of_another.weight",)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_backbone_weights_that_find_no_place_are_an_error():
    body = vit(depth=1)
    state = {name.replace("blocks.", "layers."): tensor for name, tensor in body.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"fill only .* layers\.0\."):
        load_backbone(body, state)
