"""The service with the real predictor: encodings that are stopped go on, and a GPU that fails is left."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

from napari_relay.errors import MissingEncodingError, WorkerDiedError
from napari_relay.geometry import Box
from napari_relay.views.values import Crops, View, ViewClick, ViewPair
from napari_relay.workspace import PredictorService, make_service

CLICKS = [ViewClick(224, 224)]


def crops(key: str) -> Crops:
    random = np.random.default_rng(sum(key.encode()))
    local, wide = random.normal(size=(2, 3, 448, 448)).astype(np.float32)
    pair = ViewPair(View(Box(672, 672, 1120, 1120)), View(Box(0, 0, 1792, 1792)))
    return Crops(key, pair, local, wide, f"global {key}")


def finish(steps: Generator[str, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def service() -> PredictorService:
    return make_service("step0", device="cpu", dtype="float32", threads=1)


def test_a_click_needs_an_encoding(service: PredictorService) -> None:
    with pytest.raises(MissingEncodingError):
        service.predict("absent", CLICKS, None)


def test_encode_predict_caches_and_names_the_weights(service: PredictorService) -> None:
    answer = finish(service.encode_predict(crops("cached"), CLICKS, None))

    assert service.has("cached")
    again = service.predict("cached", CLICKS, None)
    assert np.array_equal(answer.prediction.logits, again.prediction.logits)
    assert answer.checkpoint == again.checkpoint == service.info()["checkpoint"]
    assert service.info()["device"] == "cpu"
    assert service.info()["dtype"] == "float32"


def test_a_stopped_prefetch_goes_on_when_its_view_is_clicked(service: PredictorService) -> None:
    whole = finish(make_steps(service, "whole"))
    seen: list[str] = []
    prefetch = service.prefetch(same_pixels("paused"))
    seen.append(next(prefetch))
    prefetch.close()

    service.predict("whole", CLICKS, None)  # another job in between
    steps = service.encode_predict(same_pixels("paused"), CLICKS, None)
    answer = yield_into(steps, seen)

    assert len(seen) == len(set(seen)), f"a part was computed twice: {seen}"
    assert np.allclose(answer.prediction.logits, whole.prediction.logits, atol=1e-4)


def test_a_stopped_prefetch_is_dropped_for_another_view(service: PredictorService) -> None:
    prefetch = service.prefetch(crops("dropped"))
    first_part = next(prefetch)
    prefetch.close()

    finish(service.prefetch(crops("other")))

    seen: list[str] = []
    yield_into(service.encode_predict(crops("dropped"), CLICKS, None), seen)
    assert seen[0] == first_part, "the dropped encoding did not begin anew"


def same_pixels(key: str) -> Crops:
    like = crops("the same")
    return Crops(key, like.pair, like.local, like.global_, f"global {key}")


def make_steps(service: PredictorService, key: str) -> Generator[str, None, Any]:
    return service.encode_predict(same_pixels(key), CLICKS, None)


def yield_into(steps: Generator[str, None, Any], seen: list[str]) -> Any:
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value


# ---- a GPU that fails


class FailingPredictor:
    """As a predictor on a GPU whose driver has a fault."""

    device = "cuda:0"

    def predict(self, *args: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more lines")

    def encode_steps(self, crops: Crops) -> Iterator[str]:
        yield "stem"
        self.predict()


def test_a_gpu_fault_gives_the_process_up(service: PredictorService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_predictor", FailingPredictor())

    for job in (lambda: service.predict("a", CLICKS, None), lambda: finish(service.prefetch(crops("a")))):
        with pytest.raises(WorkerDiedError, match="illegal memory access was encountered"):
            job()


def test_a_runtime_error_on_the_cpu_stays_what_it_is(
    service: PredictorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FailingPredictor()
    broken.device = "cpu"
    monkeypatch.setattr(service, "_predictor", broken)

    with pytest.raises(RuntimeError, match="illegal memory access"):
        service.predict("a", CLICKS, None)


def test_a_gpu_that_cannot_take_the_model_falls_back_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_relay.predictor as room

    load = room.load_predictor

    def full(checkpoint: str | None, **options: Any) -> Any:
        if options["device"] != "cpu":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 MiB.")
        return load(checkpoint, **options)

    monkeypatch.setattr(room, "load_predictor", full)

    service = make_service("step0", device="cuda", dtype="float32")

    assert service.device == "cpu"
    assert "CUDA out of memory" in service.notes[-1]
    assert "computing on the CPU" in service.notes[-1]
