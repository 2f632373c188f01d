"""Relay tokens in SwinV2's windows: what each rule lets through, and the mean over windows."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch import Tensor

from napari_relay.errors import UsageError
from napari_relay.model.relay_attach import attach_relay
from napari_relay.model.relay_rules import RelayBackbone, RelayConfig
from napari_relay.model.relay_swin import GatedWindowRelay, WindowRelay, window_attention
from napari_relay.model.semantic import SimpleHead

RULES = ["sequential", "mean", "oneway", "oneway_keep"]
ATTACH = ["gated", "concat"]
BOTH = [*itertools.product(RULES, ATTACH)]
GEOMETRY = torch.tensor([[0.1, -0.2, 2.0], [0.3, 0.0, 3.0]])


def swin(*, img_size: int = 64, **options: object) -> torch.nn.Module:
    """SwinV2-T (windows of 8) with awake norms: at timm's start their weights are 0 and no block does anything."""
    torch.manual_seed(1)
    body = timm.create_model("swinv2_tiny_window8_256", num_classes=0, img_size=img_size, **options).eval()
    with torch.no_grad():
        for stage in body.layers:
            for block in stage.blocks:
                block.norm1.weight.fill_(0.6)
                block.norm2.weight.fill_(0.6)
    return body


@pytest.fixture(scope="module")
def small():
    """Two stages of two blocks, windows of 4 on maps of 16 and 8: shifted windows, many windows, one transition."""
    return swin(depths=(2, 2), num_heads=(3, 6), window_size=4)


def views(side: int = 64, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def relay_swin(body: torch.nn.Module, rule: str = "sequential", attach: str = "gated", *, offset: bool = True):
    torch.manual_seed(2)
    model = attach_relay(body, RelayConfig(4, rule, attach))  # type: ignore[arg-type]
    assert model.relay is not None
    with torch.no_grad():
        for name, parameter in model.relay.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.7)
            elif offset and (name.startswith("offset.out") or name == "branch"):
                parameter.normal_(std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("attach", ATTACH)
def test_no_relay_tokens_leave_two_plain_backbones(small, attach):
    out = attach_relay(small, RelayConfig(0, attach=attach))(views(), views(seed=1), GEOMETRY)
    assert torch.equal(out.local, small.forward_features(views()))
    assert torch.equal(out.global_, small.forward_features(views(seed=1)))


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 8])
def test_shut_gates_leave_the_backbone_untouched_bit_for_bit(small, tokens):
    plain = small.forward_features(views())
    for rule in RULES:
        out = attach_relay(small, RelayConfig(tokens, rule))(views(), views(seed=1), GEOMETRY)
        assert torch.equal(out.local, plain), rule
        assert out.relay is not None
        assert out.relay.shape == (2, tokens, 192)


@torch.no_grad()
def test_the_published_tiny_network_at_its_own_size_and_at_an_odd_one():
    # Maps of 64, 32, 16 and 8: at the last stage one window covers the map.
    body = swin(img_size=256)
    out = attach_relay(body)(views(256, 1), views(256, 1, seed=1))
    assert torch.equal(out.local, body.forward_features(views(256, 1)))
    assert out.local.shape == (1, 8, 8, 768)
    assert out.relay is not None
    assert out.relay.shape == (1, 4, 768)
    # 40 pixels: maps of 10, 5, 3 and 2, padded to windows in every block.
    odd = swin(img_size=40, window_size=4, dynamic_img_size=True)
    model = relay_swin(odd, "mean", "concat")
    assert model(views(40), views(40, seed=1)).local.shape == (2, 2, 2, 768)
    assert torch.equal(attach_relay(odd)(views(40), views(40)).local, odd.forward_features(views(40)))


def test_every_shut_gate_has_a_gradient(small):
    model = attach_relay(small, RelayConfig(4, "oneway_keep"))
    model(views(), views(seed=1), GEOMETRY).local.mul(views(8)[:, :1, :, :, None].mean(1)).sum().backward()
    assert model.relay is not None
    for part in model.relay.blocks:
        assert (part.gate.grad.abs().sum(dim=1) > 0).all()


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), BOTH)
def test_samples_of_a_batch_do_not_touch_each_other(small, rule, attach):
    model, order = relay_swin(small, rule, attach), torch.tensor([1, 0])
    x, y = views(), views(seed=1)
    out = model(x, y, GEOMETRY)
    torch.testing.assert_close(model(x[order], y[order], GEOMETRY[order]).local, out.local[order], atol=1e-5, rtol=1e-5)
    x[1], y[1] = 0.0, 1.0
    other = model(x, y, GEOMETRY)
    assert torch.equal(other.local[0], out.local[0])
    assert not torch.equal(other.local[1], out.local[1])


@torch.no_grad()
@pytest.mark.parametrize("attach", ATTACH)
def test_mean_treats_both_views_alike_and_equal_views_as_one(small, attach):
    model, x, y = relay_swin(small, "mean", attach, offset=False), views(), views(seed=1)
    out, swapped = model(x, y), model(y, x)
    torch.testing.assert_close(swapped.local, out.global_, atol=1e-5, rtol=1e-5)
    same = model(x, x)
    assert torch.equal(same.local, same.global_)
    torch.testing.assert_close(same.local, model(x).local, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), BOTH)
def test_relay_tokens_have_no_order(small, rule, attach):
    model, x, y, order = relay_swin(small, rule, attach), views(), views(seed=1), torch.tensor([2, 0, 3, 1])
    out = model(x, y, GEOMETRY)
    model.relay.init.copy_(model.relay.init[order])
    moved = model(x, y, GEOMETRY)
    torch.testing.assert_close(moved.local, out.local, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved.relay, out.relay[:, order], atol=1e-4, rtol=1e-4)


def reach(model: RelayBackbone) -> dict[str, float]:
    """Largest gradients of each branch's output with respect to each view, and to the relay tokens' start."""
    x, y = views(batch=1).requires_grad_(), views(batch=1, seed=1).requires_grad_()
    out = model(x, y, GEOMETRY[:1])
    assert out.global_ is not None
    weights = torch.randn(out.local.shape, generator=torch.Generator().manual_seed(5))
    found = {}
    for name, tokens in (("local", out.local), ("global", out.global_)):
        inputs = {"local": x, "global": y, "start": model.relay.init}
        grads = torch.autograd.grad((tokens * weights).sum(), [*inputs.values()], retain_graph=True, allow_unused=True)
        for view, gradient in zip(inputs, grads, strict=True):
            found[f"{name} of {view}"] = 0.0 if gradient is None else float(gradient.abs().max())
    return found


@pytest.mark.parametrize(("rule", "attach"), BOTH)
def test_what_reaches_what(small, rule, attach):
    found = reach(relay_swin(small, rule, attach))
    assert found["local of global"] > 0
    assert found["local of start"] > 0
    assert (found["global of local"] > 0) == (rule in ("sequential", "mean"))


@pytest.mark.parametrize("attach", ATTACH)
def test_one_block_alone_sequential_reaches_local_and_mean_reaches_nothing(attach):
    body = swin(depths=(1,), num_heads=(3,), window_size=4, img_size=32)
    for rule in ("sequential", "mean"):
        model = relay_swin(body, rule, attach)
        x, y = views(32, 1).requires_grad_(), views(32, 1, seed=1).requires_grad_()
        out = model(x, y, GEOMETRY[:1])
        of_y = torch.autograd.grad(out.local.square().sum(), y, allow_unused=True, retain_graph=True)[0]
        of_x = torch.autograd.grad(out.global_.square().sum(), x, allow_unused=True)[0]
        assert of_x is None or not of_x.any()
        assert (of_y is not None and bool(of_y.any())) == (rule == "sequential")


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), BOTH)
def test_relay_states_are_all_that_reaches_the_local_view(small, rule, attach):
    model, x = relay_swin(small, rule, attach), views()
    out = model(x, views(seed=1), GEOMETRY)
    assert torch.equal(model.local_pass(x, out.reads).local, out.local)
    assert not torch.equal(model(x, views(seed=2), GEOMETRY).local, out.local)


@torch.no_grad()
@pytest.mark.parametrize(("rule", "attach"), [*itertools.product(RULES[2:], ATTACH)])
def test_stored_trajectory_gives_the_joint_result_bit_for_bit(small, rule, attach):
    model, x, y = relay_swin(small, rule, attach), views(), views(seed=1)
    joint = model(x, y, GEOMETRY)
    tokens, states = model.global_pass(y)
    assert torch.equal(model.local_pass(x, states, GEOMETRY).local, joint.local)
    assert torch.equal(tokens, joint.global_)
    assert [tuple(s.shape) for s in states] == [(2, 4, 96)] * 2 + [(2, 4, 192)] * 2


def parts_of(body: torch.nn.Module, attach: str):
    """A block's attention, windows [2, 4, 16, 96], relay tokens, and a gate or bias module."""
    attn = body.layers[0].blocks[0].attn
    windows = torch.randn(2, 4, 16, 96, generator=torch.Generator().manual_seed(0))
    relay = torch.randn(2, 4, 96, generator=torch.Generator().manual_seed(1))
    kind = GatedWindowRelay if attach == "gated" else WindowRelay
    part = kind(3, 8.0)
    if attach == "gated":
        torch.nn.init.constant_(part.gate, 0.7)
    return attn, windows, relay, part


@torch.no_grad()
@pytest.mark.parametrize("attach", ATTACH)
def test_relay_mean_ignores_the_order_of_windows_and_is_the_single_window_s_value(small, attach):
    attn, windows, relay, part = parts_of(small, attach)
    y, mean = window_attention(attn, windows, relay, None, part, None)
    order = torch.tensor([3, 1, 0, 2])
    moved, same = window_attention(attn, windows[:, order], relay, None, part, None)
    torch.testing.assert_close(same, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(moved, y[:, order], atol=1e-6, rtol=1e-6)
    singles = [window_attention(attn, windows[:, i : i + 1], relay, None, part, None)[1] for i in range(4)]
    torch.testing.assert_close(torch.stack(singles).mean(0), mean, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_released_bias_of_zero_hides_relay_tokens_and_eight_shows_them(small):
    attn, windows, relay, part = parts_of(small, "concat")
    plain = attn(windows.flatten(0, 1)).view_as(windows)
    changes = {}
    for bias in (8.0, 0.0):
        torch.nn.init.constant_(part.bias, bias)
        changes[bias] = (window_attention(attn, windows, relay, None, part, None)[0] - plain).abs().mean()
    assert changes[0.0] < 0.02 * changes[8.0]


@torch.no_grad()
def test_relay_tokens_see_and_are_seen_by_every_part_of_a_shifted_window(small):
    block = small.layers[0].blocks[1]
    assert any(block.shift_size)
    model = relay_swin(small, "sequential", "concat")
    relay, x = model.relay.start(1), torch.randn(1, 16, 16, 96)
    before, relay_before = model.step(1, x, relay, None)
    far = x.clone()
    far[:, 0, 0] += 3.0  # rolled into the last window, where the mask keeps it from the tokens of the other corner
    _, relay_after = model.step(1, far, relay, None)
    assert (relay_after - relay_before).abs().max() > 1e-6
    after, _ = model.step(1, x, relay + 1.0, None)
    assert ((after - before).abs().amax(dim=-1) > 0).all()


@pytest.mark.parametrize(("name", "separate"), [("tiny", False), ("tiny", True), ("small", True)])
def test_relay_tokens_add_less_than_two_percent(name, separate):
    with torch.device("meta"):
        body = timm.create_model(f"swinv2_{name}_window8_256", num_classes=0)
        model = attach_relay(body, RelayConfig(4, separate_embedding=separate))
    backbone = sum(p.numel() for p in body.parameters())
    added = sum(p.numel() for p in model.parameters()) - backbone
    assert 388_416 < added < 0.02 * backbone


def test_shared_head_taps_and_wrong_size(small):
    model, head = relay_swin(small), SimpleHead(192, 5, stride=8)
    out = model(views(), views(seed=1), taps=(2, 4))
    assert [tuple(t.shape) for t in out.taps] == [(2, 96, 16, 16), (2, 192, 8, 8)]
    assert head(model.as_map(out.local, views())).shape == (2, 5, 64, 64)
    with pytest.raises(UsageError, match="64 x 64"):
        model(views(72))


def test_another_swin_is_an_error_that_names_it():
    with torch.device("meta"):
        body = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    with pytest.raises(UsageError, match=r"swin_transformer\.SwinTransformer"):
        attach_relay(body)
