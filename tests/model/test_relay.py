"""Relay tokens in the windows of the encoder: what they join, and what they must leave alone."""

from __future__ import annotations

import copy

import pytest
import torch

from napari_relay.model.relay import from_windows, to_windows

GEOMETRY = torch.tensor([[0.1, -0.2, 2.0, 0.0]])


def without_local_convolutions(encoder: torch.nn.Module) -> torch.nn.Module:
    """A copy whose 3x3 convolutions of stage 3 see one pixel: they too carry news from window to window."""
    encoder = copy.deepcopy(encoder)
    for block in encoder.stages[2].blocks:
        kernel = block.local_conv.conv.weight
        centre = kernel[..., 1, 1].clone()
        kernel.zero_()
        kernel[..., 1, 1] = centre
    return encoder


def change_in_the_opposite_window(encoder: torch.nn.Module, views: torch.Tensor) -> float:
    """Largest change of f16a in the last window when pixels of the first one change."""
    other = views[:1].clone()
    other[..., 40:60, 40:60] += 3.0
    difference = encoder(views[:1]).f16a - encoder(other).f16a
    return float(difference[:, :, 14:, 14:].abs().max())


@torch.no_grad()
def test_windows_talk_through_open_gates_only(step0, open_model, views):
    assert change_in_the_opposite_window(without_local_convolutions(open_model.encoder), views) > 1e-4
    assert change_in_the_opposite_window(without_local_convolutions(step0.encoder), views) == 0.0


@torch.inference_mode()
def test_local_output_from_a_stored_trajectory_equals_the_joint_computation(open_model, views):
    encoder = open_model.encoder
    states = encoder.global_trajectory(encoder.stem(views[1:]).f16)
    stored = encoder.trunk(encoder.stem(views[:1]), states, GEOMETRY)
    joint = encoder(views[:1], views[1:], GEOMETRY)
    assert torch.equal(stored.image, joint.image)
    assert [tuple(s.shape) for s in states] == [(1, 4, 160)] * 6 + [(1, 4, 320)] * 2


@torch.inference_mode()
def test_without_global_view_equals_the_second_set_absent(open_model, views):
    encoder = open_model.encoder
    assert torch.equal(encoder(views[:1]).image, encoder.trunk(encoder.stem(views[:1]), None, GEOMETRY).image)


@torch.inference_mode()
def test_global_view_matters_and_its_trajectory_is_all_that_matters(open_model, views):
    encoder = open_model.encoder
    without, with_global = encoder(views[:1]), encoder(views[:1], views[1:], GEOMETRY)
    assert (without.image - with_global.image).abs().max() > 1e-4
    moved = encoder(views[:1], views[1:], GEOMETRY * 2)
    assert (moved.image - with_global.image).abs().max() > 1e-6


@torch.inference_mode()
def test_permuting_relay_tokens_changes_nothing(open_model, views):
    encoder = open_model.encoder
    before = encoder(views[:1], views[1:], GEOMETRY).image
    original = encoder.relay.init.clone()
    encoder.relay.init.copy_(original[[2, 0, 3, 1]])
    after = encoder(views[:1], views[1:], GEOMETRY).image
    encoder.relay.init.copy_(original)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rule", ["sequential", "mean"])
def test_lock_step_rules_reach_the_global_view(make_model, views, rule):
    encoder = make_model(relay_rule=rule).encoder
    with torch.no_grad():
        for gates in encoder.relay.blocks:
            gates.gate.fill_(0.5)
    wide = views[1:].clone().requires_grad_()
    encoder(views[:1], wide, GEOMETRY).f16b.square().mean().backward()
    assert wide.grad is not None
    assert wide.grad.abs().max() > 0


def test_every_gate_and_zero_layer_gets_a_gradient_at_step_0(views, clicks, previous):
    from napari_relay.model.checkpoint import load_checkpoint

    model, _ = load_checkpoint("step0")
    output = model(views[:1], clicks[:1], previous[:1], views[1:], GEOMETRY)
    (output.logits.float().sigmoid().mean() + output.iou.mean()).backward()
    gates = {n: p for n, p in model.named_parameters() if "gate" in n or "gamma" in n}
    starts = ("similarity_in.weight", "pixels.out.weight")
    gates |= {n: p for n, p in model.named_parameters() if n.endswith(starts)}
    assert len([n for n in gates if n.startswith("encoder.relay.blocks.")]) == 8
    for name, parameter in gates.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        if parameter.dim() == 2 and "relay.blocks" in name:
            assert (parameter.grad.abs().sum(dim=1) > 0).all(), f"{name}: one relay set has no gradient"


def test_tokens_differ_after_a_few_steps(make_model, views):
    encoder = make_model().encoder.train()
    with torch.no_grad():
        for gates in encoder.relay.blocks:
            gates.gate.fill_(0.3)
    optimiser = torch.optim.SGD(encoder.relay.parameters(), lr=0.1)
    small = views[:1, :, :224, :224]
    for _ in range(3):
        optimiser.zero_grad()
        encoder(small).f16b.square().mean().backward()
        optimiser.step()
    init = encoder.relay.init.detach()
    assert torch.pdist(init).min() > 1e-3


def test_windows_there_and_back_is_identity():
    x = torch.randn(2, 28, 28, 5)
    for size in (7, 14):
        assert torch.equal(from_windows(to_windows(x, size), size, 28, 28), x)
