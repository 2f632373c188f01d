"""Mask losses: hand-computed values and the invariants of the normalised focal loss."""

from __future__ import annotations

import math

import pytest
import torch

from relay_training.losses import (
    binary_cross_entropy,
    boundary_weights,
    dice,
    iou_prediction_loss,
    mask_iou,
    mask_loss,
    min_over_masks,
    normalised_focal,
    soft_cross_entropy,
    soft_iou,
    teacher_loss,
)

LN2 = math.log(2.0)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def random_case(seed: int = 0, shape: tuple[int, ...] = (3, 12, 12)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, generator=generator) * 3
    y = (torch.rand(shape, generator=generator) > 0.6).float()
    return z, y


# -- normalised focal loss ------------------------------------------------------------------------


def test_nfl_equals_the_value_computed_by_hand():
    # p = 0.75 on foreground, 0.5 on background: misses 1/4 and 1/2, focus 1/16 and 1/4, D = 2 / (5/16) = 6.4,
    # weights 0.4 and 1.6; loss = (0.5 * 0.4 * -ln 0.75 + 0.5 * 1.6 * ln 2) / 2.
    z = torch.tensor([[[logit(0.75), 0.0]]])
    y = torch.tensor([[[1.0, 0.0]]])

    expected = (0.5 * 0.4 * -math.log(0.75) + 0.5 * 1.6 * LN2) / 2

    assert normalised_focal(z, y).item() == pytest.approx(expected, rel=1e-6)


def test_nfl_of_soft_labels_equals_the_value_computed_by_hand():
    # |y - p| = |0.7 - 0.5| = 0.2; one pixel, so D cancels the focus: loss = 0.5 * -ln 0.8.
    value = normalised_focal(torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.7))

    assert value.item() == pytest.approx(-0.5 * math.log(0.8), rel=1e-6)


def test_nfl_max_mult_caps_the_focal_weight():
    z = torch.tensor([[[logit(0.75), 0.0]]])
    y = torch.tensor([[[1.0, 0.0]]])

    value = normalised_focal(z, y, max_mult=1.0).item()

    assert value == pytest.approx((0.5 * 0.4 * -math.log(0.75) + 0.5 * 1.0 * LN2) / 2, rel=1e-6)


def test_nfl_ignored_pixels_change_nothing():
    z, y = random_case()
    kept = normalised_focal(z[:, :, :6], y[:, :, :6])
    y[:, :, 6:] = -1

    assert normalised_focal(z, y) == pytest.approx(kept.item(), rel=1e-6)
    gradient = torch.autograd.grad(normalised_focal(z.requires_grad_(), y), z)[0]
    assert gradient[:, :, 6:].abs().max() == 0


def test_nfl_without_focus_is_balanced_cross_entropy():
    z, y = random_case()

    value = normalised_focal(z, y, gamma=0.0, alpha=0.3)

    pixel = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    assert value.item() == pytest.approx((torch.where(y > 0.5, 0.3, 0.7) * pixel).mean().item(), rel=1e-5)


def test_nfl_is_unchanged_by_repeating_pixels_and_weight_two_counts_as_two_pixels():
    z, y = random_case()
    doubled = [t.repeat_interleave(2, 1).repeat_interleave(2, 2) for t in (z, y)]
    weight = torch.ones_like(y)
    weight[:, 3] = 2

    assert normalised_focal(*doubled).item() == pytest.approx(normalised_focal(z, y).item(), rel=1e-5)
    repeated = [torch.cat([t, t[:, 3:4]], dim=1) for t in (z, y)]
    assert normalised_focal(z, y, weight=weight).item() == pytest.approx(
        normalised_focal(*repeated).item(), rel=1e-5
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("detach", [True, False])
def test_nfl_gradient_is_finite_at_extreme_logits(gamma, detach):
    z = torch.tensor([[[50.0, -50.0, 50.0, -50.0]]], requires_grad=True)
    y = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])

    loss = normalised_focal(z, y, gamma=gamma, detach=detach) + normalised_focal(
        z, y * 0.8 + 0.1, gamma=gamma
    )
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_nfl_perfect_prediction_and_all_ignored_sample_give_zero():
    z = torch.full((2, 4, 4), 50.0, requires_grad=True)
    y = torch.ones(2, 4, 4)
    y[1] = -1

    loss = normalised_focal(z, y, reduction="none")
    loss.sum().backward()

    assert loss.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert torch.isfinite(z.grad).all()


def test_nfl_detach_changes_the_gradient_and_not_the_value():
    z, y = random_case()
    grads = {}
    for detach in (True, False):
        leaf = z.clone().requires_grad_()
        value = normalised_focal(leaf, y, detach=detach)
        grads[detach] = (value.item(), torch.autograd.grad(value, leaf)[0])

    assert grads[True][0] == grads[False][0]
    assert not torch.allclose(grads[True][1], grads[False][1])


def test_nfl_of_half_precision_logits_is_computed_in_float32():
    z, y = random_case()
    assert normalised_focal(z.bfloat16(), y).dtype == torch.float32
    assert normalised_focal(z.bfloat16(), y).item() == normalised_focal(z.bfloat16().float(), y).item()


# -- the other mask losses ------------------------------------------------------------------------


def test_soft_iou_equals_the_value_computed_by_hand():
    # p = 0.75, 0.5; y = 1, 0: overlap 0.75, union 1 + 0.5.
    z, y = torch.tensor([[[logit(0.75), 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert soft_iou(z, y).item() == pytest.approx(1 - 0.75 / 1.5, rel=1e-6)


def test_dice_equals_the_value_computed_by_hand():
    z, y = torch.tensor([[[logit(0.75), 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert dice(z, y).item() == pytest.approx(1 - (2 * 0.75 + 1) / (0.75 + 0.5 + 1 + 1), rel=1e-6)


def test_binary_cross_entropy_equals_the_value_computed_by_hand():
    z, y = torch.tensor([[[logit(0.75), 0.0, 7.0]]]), torch.tensor([[[1.0, 0.0, -1.0]]])
    assert binary_cross_entropy(z, y).item() == pytest.approx((-math.log(0.75) + LN2) / 2, rel=1e-6)


def test_soft_cross_entropy_equals_the_value_computed_by_hand_and_divides_by_the_mask():
    # Two pixels with logits 0, ln 3 -> probabilities 1/4, 3/4; targets (1/2, 1/2); the second pixel is
    # masked out.
    z = torch.tensor([0.0, math.log(3.0)]).reshape(1, 2, 1, 1).repeat(1, 1, 1, 2)
    q = torch.full((1, 2, 1, 2), 0.5)
    expected = -0.5 * math.log(0.25) - 0.5 * math.log(0.75)

    assert soft_cross_entropy(z, q).item() == pytest.approx(expected, rel=1e-6)
    assert soft_cross_entropy(z, q, torch.tensor([[[1.0, 0.0]]])).item() == pytest.approx(expected, rel=1e-6)
    assert soft_cross_entropy(z, q, torch.zeros(1, 1, 2)).item() == 0


@pytest.mark.parametrize("loss", [soft_iou, dice, binary_cross_entropy])
def test_ignored_pixels_change_no_mask_loss_and_an_ignored_sample_is_zero(loss):
    z, y = random_case()
    kept = loss(z[:, :, :6], y[:, :, :6]).item()
    y[:, :, 6:] = -1

    assert loss(z, y).item() == pytest.approx(kept, rel=1e-5)
    assert loss(z, torch.full_like(y, -1)).item() == pytest.approx(0, abs=1e-6)


def test_losses_refuse_targets_of_another_shape():
    with pytest.raises(ValueError, match="does not fit"):
        normalised_focal(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5))


# -- three masks, their scores, the teacher -------------------------------------------------------


def test_min_over_masks_returns_each_sample_s_best_mask_and_trains_it_alone():
    y = torch.zeros(2, 4, 4)
    y[:, :2] = 1
    good, bad = (y[0] * 2 - 1) * 4, torch.zeros(4, 4)
    z = torch.stack([torch.stack([bad, good, bad]), torch.stack([good, bad, bad])]).requires_grad_()

    chosen = min_over_masks(z, y)
    chosen.loss.sum().backward()

    assert chosen.index.tolist() == [1, 0]
    assert chosen.loss[0].item() == pytest.approx(mask_loss(good[None], y[:1])[0].item(), rel=1e-6)
    assert z.grad[0, 0].abs().max() == 0
    assert z.grad[0, 1].abs().max() > 0


def test_min_over_masks_relaxed_mixes_in_the_mean():
    z, y = random_case(shape=(2, 3, 8, 8))
    each = mask_loss(z, y[:, 0])

    chosen = min_over_masks(z, y[:, :1], relax=0.1)

    assert torch.allclose(chosen.loss, 0.9 * each.min(1).values + 0.1 * each.mean(1))


def test_mask_iou_counts_valid_pixels_and_calls_two_empty_masks_equal():
    z = torch.tensor([[[1.0, 1.0, -1.0, 1.0]], [[-1.0, -1.0, -1.0, -1.0]]])
    y = torch.tensor([[[1.0, 0.0, 1.0, -1.0]], [[0.0, 0.0, -1.0, -1.0]]])
    assert mask_iou(z, y).tolist() == pytest.approx([1 / 3, 1.0])


def test_iou_prediction_loss_equals_the_value_computed_by_hand_without_touching_the_mask():
    z = torch.tensor([[[[1.0, 1.0, -1.0]], [[1.0, -1.0, 1.0]]]], requires_grad=True)  # [1, 2, 1, 3]
    y = torch.tensor([[[1.0, 0.0, 1.0]]])
    predicted = torch.tensor([[0.5, 0.8]], requires_grad=True)

    loss = iou_prediction_loss(predicted, z, y)
    loss.backward()

    assert loss.item() == pytest.approx(((0.5 - 1 / 3) ** 2 + (0.8 - 1.0) ** 2) / 2, rel=1e-6)
    assert z.grad is None
    assert predicted.grad.abs().min() > 0


def test_teacher_loss_pairs_the_student_s_best_mask_with_the_nearest_teacher_mask():
    whole, part = torch.zeros(8, 8), torch.zeros(8, 8)
    whole[1:7, 1:7], part[1:4, 1:4] = 1, 1
    student = torch.stack([(whole * 2 - 1) * 3, (part * 2 - 1) * 3])[None]  # mask 0 whole, mask 1 part
    teacher = torch.stack([part, whole])[None]

    shown_whole = teacher_loss(student, teacher, predicted=torch.tensor([[0.9, 0.2]]))
    shown_part = teacher_loss(student, teacher, predicted=torch.tensor([[0.1, 0.2]]))
    only_part = teacher_loss(student, teacher, valid=torch.tensor([[True, False]]))

    assert (shown_whole.student.item(), shown_whole.teacher.item()) == (0, 1)
    assert (shown_part.student.item(), shown_part.teacher.item()) == (1, 0)
    assert (only_part.student.item(), only_part.teacher.item()) == (1, 0)
    assert shown_part.loss.item() == pytest.approx(mask_loss(student[:, 1], part[None]).item(), rel=1e-6)


def test_teacher_loss_of_a_sample_without_teacher_masks_is_zero():
    z = torch.randn(2, 3, 8, 8, requires_grad=True)
    teacher = torch.ones(2, 2, 8, 8)

    match = teacher_loss(z, teacher, valid=torch.tensor([[True, True], [False, False]]))
    match.loss.sum().backward()

    assert match.loss[1].item() == 0
    assert match.teacher[1].item() == -1
    assert z.grad[1].abs().max() == 0


def test_boundary_weights_double_the_pixels_within_three_of_the_outline():
    y = torch.zeros(1, 1, 12)
    y[..., 6:] = 1
    y[..., 11] = -1

    # 6 is object: pixels 3, 4, 5 have it within 3 px, and 6, 7, 8 have background within 3 px.
    assert boundary_weights(y)[0, 0].tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1]


def test_boundary_weights_use_euclidean_distance_and_no_frame():
    y = torch.zeros(1, 9, 9)
    y[0, 4, 4] = 1

    weights = boundary_weights(y, factor=3.0)

    assert weights[0, 4, 1] == 3
    assert weights[0, 1, 1] == 1  # 4.2 px away in the diagonal
    assert boundary_weights(torch.ones(1, 9, 9)).max() == 1
