"""Step 0 is the network that the weights come from: same clicks, same logits."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from napari_relay.model.encoder import RelayTinyViT
from napari_relay.model.network import FIRST, LATER, ClickModel
from napari_relay.model.weights import from_mobile_sam, load_start, rename


def peer_at_448() -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mobile_sam", reason="the package mobilesam-mirror is not installed")
        from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TinyViT, TwoWayTransformer

    encoder = TinyViT(
        img_size=448, in_chans=3, num_classes=1000, embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10], window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
    )  # fmt: skip
    prompt = PromptEncoder(
        embed_dim=256, image_embedding_size=(28, 28), input_image_size=(448, 448), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    return Sam(encoder, prompt, MaskDecoder(transformer_dim=256, transformer=transformer))


@pytest.fixture(scope="module")
def peer(step0: ClickModel) -> torch.nn.Module:
    sam, ours = peer_at_448(), step0.state_dict()
    theirs = {k: ours[new] for k in sam.state_dict() if (new := rename(k)) is not None and new in ours}
    for label in (0, 1):
        theirs[f"prompt_encoder.point_embeddings.{label}.weight"] = ours["head.prompt.point"][label : label + 1]
    missing, unexpected = sam.load_state_dict(theirs, strict=False)
    assert not unexpected
    left = ("norm_head", "head.", "point_embeddings.2", "point_embeddings.3", "num_batches", "attention_bias_idxs")
    assert all(any(part in name for part in left) for name in missing)
    return sam.train().eval()


def peer_features(sam: torch.nn.Module, x: Tensor) -> Tensor:
    # Its own forward is written for 1024 pixels.
    encoder = sam.image_encoder
    h = encoder.patch_embed(x)
    for layer in encoder.layers:
        h = layer(h)
    return encoder.neck(h.view(len(x), 28, 28, 320).permute(0, 3, 1, 2))


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("with_previous", [False, True])
def test_logits_and_predicted_iou_equal_the_peers(step0, peer, views, clicks, previous, count, with_previous):
    clicks = clicks[:, :count]
    mask = previous if with_previous else None

    features = peer_features(peer, views)
    ours = step0.head(step0.head.prepare(step0.encoder(views)), clicks, mask, which=slice(0, 4))

    for b in range(len(views)):
        points = (clicks[b : b + 1, :, :2].flip(-1), clicks[b : b + 1, :, 2].int())
        sparse, dense = peer.prompt_encoder(points, None, None if mask is None else mask[b : b + 1])
        code = peer.prompt_encoder.get_dense_pe()
        logits, iou = peer.mask_decoder.predict_masks(features[b : b + 1], code, sparse, dense)
        torch.testing.assert_close(ours.logits[b : b + 1], logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.iou[b : b + 1], iou, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("relay_tokens", [0, 1, 8])
def test_shut_gates_leave_the_features_alone_for_any_number_of_relay_tokens(step0, make_model, views, relay_tokens):
    model = make_model(relay_tokens=relay_tokens)
    state = {k: v for k, v in step0.state_dict().items() if "relay" not in k}
    model.load_state_dict(state, strict=False)
    model.train().eval()

    torch.testing.assert_close(
        model.encoder(views[:1], views[1:]).image, step0.encoder(views[:1]).image, atol=1e-6, rtol=0
    )


def test_every_start_tensor_finds_its_place_and_a_strange_one_is_an_error(make_model):
    model = make_model()
    with pytest.raises(Exception, match="not MobileSAM's"):
        load_start(model, {"weight": torch.zeros(1)})
    points = {f"prompt_encoder.point_embeddings.{i}.weight": torch.zeros(1, 256) for i in (0, 1)}
    with pytest.raises(Exception, match="without a place"):
        load_start(model, {**points, "image_encoder.layers.9.weight": torch.zeros(1)})
    assert from_mobile_sam(points)["head.prompt.point"].shape == (2, 256)


def test_relay_tokens_add_less_than_two_percent(make_model):
    encoder: RelayTinyViT = make_model().encoder
    relay = sum(p.numel() for n, p in encoder.named_parameters() if "relay" in n)
    backbone = sum(p.numel() for n, p in encoder.named_parameters() if "relay" not in n and "neck" not in n)
    assert 0 < relay < 0.02 * backbone


@torch.inference_mode()
def test_a_batch_equals_its_samples(open_model, views, clicks, previous):
    whole = open_model(views, clicks, previous).logits
    for b in range(2):
        one = open_model(views[b : b + 1], clicks[b : b + 1], previous[b : b + 1]).logits
        torch.testing.assert_close(whole[b : b + 1], one, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_padded_clicks_change_nothing(open_model, views, clicks):
    head = open_model.head
    prepared = head.prepare(open_model.encoder(views))
    padded = torch.cat([clicks, torch.full((2, 3, 3), -1.0)], dim=1)
    a, b = head(prepared, clicks, which=FIRST).logits, head(prepared, padded, which=FIRST).logits
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_shut_additions_equal_the_head_without_them(step0, make_model, views, clicks, previous):
    plain = make_model(multi_scale=False, similarity=False, pixel_path=0, relay_tokens=0)
    plain.load_state_dict(step0.state_dict(), strict=False)
    plain.train().eval()
    for which, mask in ((FIRST, None), (LATER, previous)):
        ours = step0.head(step0.head.prepare(step0.encoder(views)), clicks, mask, which=which)
        theirs = plain.head(plain.head.prepare(plain.encoder(views)), clicks, mask, which=which)
        torch.testing.assert_close(ours.logits, theirs.logits, atol=2e-5, rtol=0)
