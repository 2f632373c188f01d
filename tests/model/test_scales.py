"""Click kernels, cosine maps and the choice of multi-scale tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_relay.model.contrast import ContrastSpace, click_kernel, disks
from napari_relay.model.scales import choose, gather, uncertain_band

SPACE = F.normalize(torch.randn(2, 784, 16, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_kernel_ignores_order_padding_and_a_repetition_of_all_clicks():
    rows = F.normalize(torch.randn(1, 3, 16), dim=-1)
    kernel = click_kernel(rows, torch.ones(1, 3, dtype=torch.bool))
    assert kernel.norm() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(kernel, click_kernel(rows.flip(1), torch.ones(1, 3, dtype=torch.bool)))
    torch.testing.assert_close(kernel, click_kernel(rows.repeat(1, 2, 1), torch.ones(1, 6, dtype=torch.bool)))
    padded = torch.cat([rows, torch.randn(1, 2, 16)], dim=1)
    valid = torch.tensor([[True, True, True, False, False]])
    torch.testing.assert_close(kernel, click_kernel(padded, valid))


def test_maps_are_zero_for_a_sign_without_clicks_and_one_under_a_click():
    clicks = torch.tensor([[[7.5, 7.5, 1.0]], [[7.5 + 16 * 3, 7.5, 1.0]]])  # centres of tokens 0 and 3 * 28
    maps = ContrastSpace.kernels(SPACE, clicks, 448).maps(SPACE)
    assert (maps[..., 2:] == 0).all()
    assert maps[0, 0, 0] == pytest.approx(1.0, abs=1e-5)
    assert maps[1, 3 * 28, 1] == pytest.approx(1.0, abs=1e-5)


def test_no_positive_click_gives_zero_kernel_and_finite_maps():
    kernels = ContrastSpace.kernels(SPACE, torch.full((2, 1, 3), -1.0), 448)
    assert (kernels.kernel_positive == 0).all()
    assert torch.isfinite(kernels.maps(SPACE)).all()


def test_choice_is_unique_equivariant_and_spends_half_on_the_band():
    scores = torch.rand(2, 64, generator=torch.Generator().manual_seed(2))
    band = torch.zeros(2, 64, dtype=torch.bool)
    band[:, 10:40] = True
    index = choose(scores, 16, band)
    assert all(len(set(row.tolist())) == 16 for row in index)
    assert band.gather(1, index).sum(1).ge(8).all()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    moved = choose(scores[:, order], 16, band[:, order])
    assert all(set(order[b].tolist()) == set(a.tolist()) for a, b in zip(index, moved, strict=True))


def test_straight_through_changes_no_value_and_gives_scores_a_gradient():
    tokens = torch.randn(1, 20, 4, requires_grad=True)
    scores = torch.rand(1, 20, requires_grad=True)
    index = choose(scores, 5, None)
    chosen = gather(tokens, scores, index)
    assert torch.equal(chosen, tokens.gather(1, index[..., None].expand(-1, -1, 4)))
    chosen.sum().backward()
    assert scores.grad is not None
    assert set(scores.grad[0].nonzero().flatten().tolist()) == set(index[0].tolist())


def test_band_holds_the_outline_and_the_doubtful():
    logits = torch.full((1, 1, 112, 112), -10.0)
    logits[..., 40:80, 40:80] = 10.0
    band = uncertain_band(logits, 56).view(56, 56)
    assert band[20, 25]
    assert not band[30, 30]
    assert not band[5, 5]


def test_disk_counts():
    clicks = torch.tensor([[[50.0, 50.0, 1.0], [0.0, 0.0, 0.0]]])
    assert disks(clicks, 1, 112, 112).sum() == 81
    assert disks(clicks, 0, 112, 112).sum() == 26


@torch.inference_mode()
def test_many_clicks_negative_only_and_corner_clicks_stay_finite(open_model, views):
    head = open_model.head
    prepared = head.prepare(open_model.encoder(views[:1]))
    many = torch.cat([torch.rand(1, 500, 2) * 447, torch.randint(0, 2, (1, 500, 1)).float()], dim=2)
    corners = torch.tensor([[[0.0, 0.0, 1], [447.4, 447.4, 1], [-0.5, 447.0, 0]]])
    for clicks in (many, corners, torch.tensor([[[5.0, 5.0, 0]]]), torch.full((1, 1, 3), -1.0)):
        output = head(prepared, clicks)
        assert torch.isfinite(output.logits).all()
        assert torch.isfinite(output.iou).all()
