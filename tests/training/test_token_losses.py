"""Token and relay losses: hand-computed values and invariants."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from relay_training.relay_losses import (
    local_window,
    pooled_target,
    relay_consistency_loss,
    relay_context_loss,
)
from relay_training.token_losses import cell_shares, infonce, token_score_loss, triplet, triplet_distances


def unit(*angles: float) -> torch.Tensor:
    """Unit vectors in the plane at angles in degrees, [1, n, 2]."""
    a = torch.tensor(angles) * math.pi / 180
    return torch.stack([a.cos(), a.sin()], dim=1)[None]


def yes(n: int = 1) -> torch.Tensor:
    return torch.ones(1, n, dtype=torch.bool)


def random_tokens(seed: int = 0, b: int = 2, n: int = 64, d: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = F.normalize(torch.randn(b, n, d, generator=generator), dim=-1)
    return tokens, (torch.rand(b, n, generator=generator) > 0.5).float()


# -- shares ---------------------------------------------------------------------------------------


def test_cell_shares_average_the_mask_and_drop_cells_with_ignored_pixels():
    y = torch.zeros(1, 4, 4)
    y[0, :2, :2] = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    y[0, 3, 3] = -1

    cells = cell_shares(y, 2)

    assert cells.share.tolist() == [[0.75, 0, 0, 0]]
    assert cells.valid.tolist() == [[True, True, True, False]]
    with pytest.raises(ValueError, match="does not divide"):
        cell_shares(y, 3)


# -- InfoNCE --------------------------------------------------------------------------------------


def test_infonce_equals_the_value_computed_by_hand():
    # a.p = 1 and cos 60 = 1/2, a.q = 0 (90 degrees), tau = 1/2: terms ln(1 + e^0 / e^2) and ln(1 + e^0 /
    # e^1).
    tokens, share = unit(0, 60, 90, 45), torch.tensor([[1.0, 0.9, 0.0, 0.5]])

    value = infonce(tokens, share, unit(0), yes(), tau=0.5)

    assert value.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2, rel=1e-5)


def test_infonce_adds_the_mirrored_term_of_negative_clicks():
    tokens, share = unit(0, 90), torch.tensor([[1.0, 0.0]])
    one = infonce(tokens, share, unit(0), yes(), tau=0.5).item()

    both = infonce(tokens, share, unit(0), yes(), unit(90), yes(), tau=0.5).item()
    only_negative = infonce(tokens, share, unit(0), ~yes(), unit(90), yes(), tau=0.5).item()

    assert both == pytest.approx(2 * one, rel=1e-6)
    assert only_negative == pytest.approx(one, rel=1e-6)


def test_infonce_averages_anchors_and_skips_absent_ones_whatever_they_hold():
    tokens, share = random_tokens(b=1)
    anchors = F.normalize(torch.randn(1, 3, 8), dim=-1)
    singles = [infonce(tokens, share, anchors[:, i : i + 1], yes()).item() for i in range(2)]
    anchors[:, 2] = float("nan")
    leaf = tokens.clone().requires_grad_()

    value = infonce(leaf, share, anchors, torch.tensor([[True, True, False]]))
    value.backward()

    assert value.item() == pytest.approx(sum(singles) / 2, rel=1e-5)
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("share", [torch.zeros(2, 64), torch.ones(2, 64), torch.full((2, 64), 0.5)])
def test_infonce_without_both_sides_is_zero_with_zero_gradient(share):
    tokens, _ = random_tokens()
    leaf = tokens.clone().requires_grad_()

    value = infonce(leaf, share, tokens[:, :1], torch.ones(2, 1, dtype=torch.bool))
    value.backward()

    assert value.item() == 0
    assert leaf.grad.abs().max() == 0


def test_infonce_of_two_samples_is_the_mean_of_the_samples_that_have_it():
    tokens, share = random_tokens()
    anchors, valid = tokens[:, :2], torch.ones(2, 2, dtype=torch.bool)
    each = infonce(tokens, share, anchors, valid, reduction="none")
    singles = [
        infonce(tokens[i : i + 1], share[i : i + 1], anchors[i : i + 1], valid[:1]).item() for i in (0, 1)
    ]

    assert each.tolist() == pytest.approx(singles, rel=1e-5)
    assert infonce(tokens, share, anchors, valid).item() == pytest.approx(sum(singles) / 2, rel=1e-5)
    valid[1] = False
    assert infonce(tokens, share, anchors, valid).item() == pytest.approx(singles[0], rel=1e-5)


def test_infonce_mines_the_hardest_negatives_and_some_random_ones():
    tokens, share = unit(0, 30, 60, 120, 180), torch.tensor([[1.0, 0, 0, 0, 0]])
    hardest = infonce(tokens[:, :3], share[:, :3], unit(0), yes()).item()

    mined = infonce(tokens, share, unit(0), yes(), hard_negatives=2, random_negatives=0).item()
    draws = {
        round(infonce(tokens, share, unit(0), yes(), tau=1.0, hard_negatives=2, random_negatives=1,
                      generator=torch.Generator().manual_seed(s)).item(), 5)
        for s in range(20)
    }  # fmt: skip

    assert mined == pytest.approx(hardest, rel=1e-5)
    assert len(draws) == 2  # the third negative is one of the two others


def test_infonce_limits_the_positives():
    tokens, share = unit(0, 20, 40, 170), torch.tensor([[1.0, 1, 1, 0]])
    single = [infonce(tokens[:, [i, 3]], share[:, [i, 3]], unit(10), yes(), tau=1.0).item() for i in range(3)]

    drawn = infonce(tokens, share, unit(10), yes(), tau=1.0, max_positives=1).item()

    assert any(drawn == pytest.approx(value, rel=1e-5) for value in single)


# -- triplet --------------------------------------------------------------------------------------


def test_triplet_equals_the_value_computed_by_hand():
    # Chords of 60 and 180 degrees: D+ = 1, D- = 2.
    tokens, share = unit(60, 180), torch.tensor([[1.0, 0.0]])
    assert triplet(tokens, share, unit(0)[:, 0]).item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-5)


def test_raw_triplet_keeps_the_length_of_tokens_and_the_other_forgets_it():
    tokens, share, kernel = unit(60, 180) * 3, torch.tensor([[1.0, 0.0]]), unit(0)[:, 0]

    raw = triplet_distances(tokens, share, kernel, raw=True)

    assert (raw.positive.item(), raw.negative.item()) == pytest.approx((math.sqrt(7), 4.0), rel=1e-5)
    assert triplet(tokens, share, kernel).item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-5)


def test_triplet_falls_steadily_as_the_foreground_moves_to_the_kernel():
    share, kernel = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), unit(0)[:, 0]
    values = [triplet(unit(a, -a, 70, 130), share, kernel).item() for a in (150, 110, 70, 30, 0)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


def test_swapping_foreground_and_background_flips_the_margin():
    tokens, share = random_tokens()
    kernel = F.normalize(torch.randn(2, 8), dim=-1)
    there, back = triplet_distances(tokens, share, kernel), triplet_distances(tokens, 1 - share, kernel)
    assert torch.allclose(there.negative - there.positive, -(back.negative - back.positive))


def test_triplet_without_positive_click_or_one_side_is_zero_with_zero_gradient():
    tokens, share = random_tokens(b=4)
    share[1], share[2] = 1, 0.5
    kernel = tokens[:, 0].clone()
    kernel[0] = 0
    leaf = tokens.clone().requires_grad_()

    value = triplet(leaf, share, kernel, valid=torch.tensor([True, True, True, False]))
    value.backward()

    assert value.item() == 0
    assert leaf.grad.abs().max() == 0


# -- token scores ---------------------------------------------------------------------------------


def test_token_score_loss_equals_the_value_computed_by_hand():
    # Foreground at s = 0.5: 1/4 * 1/4 * ln 2; background at 0.2: 3/4 * 0.04 * -ln 0.8.
    scores, share = torch.tensor([[0.5, 0.2]]), torch.tensor([[1.0, 0.0]])
    expected = (0.25 * 0.25 * math.log(2) + 0.75 * 0.04 * -math.log(0.8)) / 2

    assert token_score_loss(scores, share).item() == pytest.approx(expected, rel=1e-5)
    assert token_score_loss(scores, share, kind="mse").item() == pytest.approx((0.25 + 0.04) / 2, rel=1e-5)


def test_token_score_loss_of_a_soft_share_equals_the_value_computed_by_hand():
    # t = 0.5, s = 0.25: weight 0.5, focus 1/16, cross-entropy -(ln 0.25 + ln 0.75) / 2.
    value = token_score_loss(torch.tensor([[0.25]]), torch.tensor([[0.5]])).item()
    assert value == pytest.approx(0.5 / 16 * -(math.log(0.25) + math.log(0.75)) / 2, rel=1e-5)


@pytest.mark.parametrize(("kind", "limit"), [("focal", 1e-6), ("mse", 0.0)])
def test_token_score_loss_of_the_truth_is_nothing(kind, limit):
    share = torch.tensor([[0.0, 1.0, 0.3, 0.9]])
    assert token_score_loss(share, share, kind=kind).item() <= limit


def test_token_score_loss_leaves_out_samples_without_positive_click():
    share = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    scores = torch.tensor([[0.0, 0.0], [0.5, 0.2], [0.9, 0.9]], requires_grad=True)

    value = token_score_loss(scores, share, valid=torch.tensor([True, True, False]))
    value.backward()

    assert value.item() == pytest.approx(token_score_loss(scores[1:2], share[1:2]).item())
    assert scores.grad[[0, 2]].abs().max() == 0
    assert token_score_loss(torch.zeros(1, 2), share[:1]).item() == 0


def test_token_score_gradient_is_finite_at_both_ends():
    scores = torch.tensor([[0.0, 1.0, 1.0, 0.0]], requires_grad=True)
    token_score_loss(scores, torch.tensor([[1.0, 0.0, 1.0, 0.0]])).backward()
    assert torch.isfinite(scores.grad).all()


# -- relay ----------------------------------------------------------------------------------------


def geometry(dy: float = 0.0, dx: float = 0.0, ratio: float = 4.0) -> torch.Tensor:
    return torch.tensor([[dy, dx, math.log2(ratio), 0.0]])


def test_local_window_of_a_concentric_view_is_the_central_crop():
    z = torch.randn(1, 2, 16, 16)
    assert torch.allclose(local_window(z, geometry(), 4), z[:, :, 6:10, 6:10], atol=1e-5)


def test_local_window_moves_with_the_local_view():
    # Half a global half side is a quarter of the global view: 4 of 16 pixels.
    z = torch.randn(1, 1, 16, 16)
    assert torch.allclose(local_window(z, geometry(dy=0.5), 4), z[:, :, 10:14, 6:10], atol=1e-5)
    assert torch.allclose(local_window(z, geometry(dx=-0.5), 4), z[:, :, 6:10, 2:6], atol=1e-5)


def test_relay_context_loss_equals_the_values_computed_by_hand():
    y = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 0]]])
    # Pooled by 2: 3/4, 0, 0 and an ignored block.
    expected = (-(0.75 + 2) * math.log(0.5) - 0.25 * math.log(0.5)) / 3  # logits 0: ln 2 each

    mask = relay_context_loss(torch.zeros(1, 1, 2, 2), y)
    classes = relay_context_loss(torch.tensor([0.0, math.log(3)]).reshape(1, 2, 1, 1).repeat(1, 1, 2, 2), y)

    assert mask.item() == pytest.approx(expected, rel=1e-5)
    by_hand = (-(0.25 + 2) * math.log(0.25) - 0.75 * math.log(0.75)) / 3
    assert classes.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_relay_context_loss_is_zero_where_everything_is_ignored(channels):
    window = torch.randn(1, channels, 2, 2, requires_grad=True)
    y = torch.zeros(1, 4, 4, dtype=torch.long)
    y[:, ::2, ::2] = -1  # one ignored pixel in every block

    loss = relay_context_loss(window, y)
    loss.backward()

    assert loss.item() == 0
    assert window.grad.abs().max() == 0


def test_ignored_labels_never_enter_the_soft_target():
    y = torch.tensor([[[1, -1], [-1, -1]]])
    for classes in (1, 2):
        soft, mask = pooled_target(y, 1, classes)
        assert soft[0, -1].item() == 0.25
        assert soft.sum().item() == 0.25
        assert mask.item() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_consistency_has_no_gradient_for_the_global_branch_where_both_agree(channels):
    block = torch.randn(1, channels, 2, 2)
    local = block.repeat_interleave(2, 2).repeat_interleave(2, 3)
    window = block.clone().requires_grad_()

    relay_consistency_loss(window, local).backward()
    agreed = window.grad.clone()
    relay_consistency_loss(window, local + torch.randn_like(local)).backward()

    assert agreed.abs().max() < 1e-6
    assert window.grad.abs().max() > 1e-3


def test_consistency_equals_the_value_computed_by_hand_and_can_spare_the_local_branch():
    local = torch.tensor(
        [[[0.0, math.log(3)], [0.0, math.log(3)]]], requires_grad=True
    )  # p = 1/2, 3/4: mean 5/8
    window = torch.full((1, 1, 1, 1), math.log(3.0))

    loss = relay_consistency_loss(window, local)
    loss.backward()

    assert loss.item() == pytest.approx(-0.625 * math.log(0.75) - 0.375 * math.log(0.25), rel=1e-5)
    assert local.grad.abs().max() > 0
    assert not relay_consistency_loss(window, local, cons_detach=True).requires_grad


def test_samples_without_a_global_view_do_not_count():
    window, y, local = torch.randn(2, 1, 2, 2), torch.ones(2, 4, 4), torch.randn(2, 4, 4)
    first = torch.tensor([True, False])
    assert relay_context_loss(window, y, first).item() == pytest.approx(
        relay_context_loss(window[:1], y[:1]).item()
    )
    assert relay_consistency_loss(window, local, first).item() == pytest.approx(
        relay_consistency_loss(window[:1], local[:1]).item()
    )
    assert relay_context_loss(window, y, torch.zeros(2)).item() == 0
