"""Learning that goes deep: stages 3 and 4, neck and relay tokens move, the stem stays, and the checkpoint holds it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from test_finetune_click import SMALL, row

from napari_relay.geometry import Plane
from napari_relay.model import ClickModel, ModelConfig
from napari_relay.model.checkpoint import Card, content_hash, load_checkpoint, load_state, read_card, save_checkpoint
from napari_relay.predictor import Predictor
from napari_relay.predictor.device import choose
from napari_relay.sources import open_image
from napari_relay.views import default_mix, first_view, measure_stretch, read_crops, view_pair
from relay_training.finetune.cache import Rows, Stems
from relay_training.finetune.click import ClickTraining, between, changed_tensors
from relay_training.finetune.parts import merged_state, open_parts

SHAPES = {"f4": (64, 112, 112), "f8": (128, 56, 56), "f16": (160, 28, 28), "wide": (160, 28, 28), "geometry": (4,)}


@pytest.fixture(scope="module")
def model() -> ClickModel:
    torch.manual_seed(0)
    made = ClickModel(ModelConfig()).eval()
    with torch.no_grad():
        for block in made.encoder.relay.blocks:
            block.gate.fill_(0.3)
    return made


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> Stems:
    """Views a and b with a global one, c without."""
    cache, generator = Stems(tmp_path_factory.mktemp("stems"), "an encoder"), torch.Generator().manual_seed(1)
    for key in ("a", "b", "c"):
        values = {name: torch.randn(1, *shape, generator=generator) for name, shape in SHAPES.items()}
        if key == "c":
            values["wide"] = torch.zeros_like(values["wide"])
        cache.write(key, values)
    return cache


def alone(stems: Stems, model: ClickModel, key: str) -> torch.Tensor:
    with torch.no_grad():
        return stems.encode(model, stems.rows([key])).image[0]


def test_views_with_and_without_a_global_one_are_encoded_side_by_side(model: ClickModel, stems: Stems) -> None:
    with torch.no_grad():
        together = stems.encode(model, stems.rows(["c", "a", "b"])).image
    for number, key in enumerate(("c", "a", "b")):
        assert torch.allclose(together[number], alone(stems, model, key), atol=1e-4)

    blind: Rows = {**stems.rows(["a"]), "wide": torch.zeros(1, *SHAPES["wide"])}
    with torch.no_grad():
        assert not torch.allclose(stems.encode(model, blind).image[0], alone(stems, model, "a"), atol=1e-3)


def test_additions_change_nothing_at_first_and_merging_changes_nothing(model: ClickModel, stems: Stems) -> None:
    opened, before = deepcopy(model), alone(stems, model, "a")
    open_parts(opened, rank=4, alpha=8.0, deep=True)
    assert torch.allclose(alone(stems, opened, "a"), before, atol=1e-4)
    with torch.no_grad():
        for name, parameter in opened.named_parameters():
            if name.endswith(".b"):
                parameter.normal_(0, 0.02)
    moved = alone(stems, opened, "a")
    assert not torch.allclose(moved, before, atol=1e-2)
    merged = deepcopy(model)
    merged.load_state_dict(merged_state(opened))
    assert torch.allclose(alone(stems, merged, "a"), moved, atol=1e-3)


def test_what_a_predictor_keeps_of_a_view_leads_to_its_encoding(tmp_path: Path) -> None:
    start, card = load_checkpoint("small")
    predictor = Predictor(start, card, choose("cpu", "float32"))
    source = open_image(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8))
    pair = view_pair(source.shape, first_view(source.shape, (300, 300), zoom=0.5))
    crops = read_crops(source, pair, Plane(), default_mix(source), measure_stretch(source))
    cache = Stems(tmp_path, predictor.encoder_hash)

    assert list(cache.make([("view", lambda: crops)], predictor)) == [1]

    with torch.no_grad():
        found = cache.encode(start, cache.rows(["view"]))
    straight = predictor.encode(crops).encoding
    assert torch.allclose(found.image, straight.image, atol=0.05)
    assert pair.global_ is not None
    assert torch.equal(cache.rows(["view"])["geometry"][0], torch.tensor(pair.geometry).half().float())


@pytest.mark.slow
def test_the_trunk_moves_and_the_stem_stays_bit_by_bit(model: ClickModel, stems: Stems) -> None:
    run = ClickTraining(model, [[row("a")], [row("c")]], stems, SMALL, steps=10)
    for _ in range(2):
        run.train_step()
    changed = changed_tensors(run.trained(), model.state_dict()).keys()

    parts = ("encoder.stages.2.blocks.", "encoder.stages.3.", "encoder.neck.", "encoder.relay.", "head.pixels.")
    for part in parts:
        assert any(name.startswith(part) for name in changed), part
    still = ("encoder.patch_embed.", "encoder.stages.0.", "encoder.stages.1.", "encoder.stages.2.downsample.")
    assert not any(name.startswith(still) or ".bn." in name for name in changed)

    again = ClickTraining(model, [[row("a")], [row("c")]], stems, SMALL, steps=10)
    again.restore(run.state())
    a, b = (one.trained().state_dict() for one in (run, again))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_of_it_is_a_difference_with_an_encoder_of_its_own(tmp_path: Path) -> None:
    start, card = load_checkpoint("small")
    learned = deepcopy(start)
    with torch.no_grad():
        learned.encoder.neck[0].weight.add_(0.25)
    half = between(start, learned, 0.5)
    tensors = changed_tensors(half, start.state_dict())
    assert tensors.keys() == {"encoder.neck.0.weight"}
    base = {"name": "small", "hash": content_hash(load_state(read_card("small")))}
    path = tmp_path / "learned.safetensors"
    save_checkpoint(path, tensors, Card(name="learned", title="t", licence=card.licence, config=card.config, base=base))

    again, _ = load_checkpoint(path)

    assert torch.equal(again.encoder.neck[0].weight, half.encoder.neck[0].weight)
    first, then = (Predictor(m, card, choose("cpu", "float32")) for m in (deepcopy(start), again))
    assert not then.share_encodings(first), "another encoder sees with other eyes"
