"""What relay tokens and MST's modules cost, counted and timed.

    python benchmarks/relay_cost.py [--repeats 9] [--threads 1]

Relay tokens: both views of a pair against one view through the plain backbone (bar: at most 2.15 times, since the
tokens add R / N < 2 %), and a further local view of the same global one, whose states are kept. MST: its three modules
against SimpleClick's encoder at 448 pixels in the settings of the release (bar: under a quarter). Times are processor
times in float32, the least of the repeats taken in turns, so that other work on the machine hardly matters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from counting import giga, macs
from napari_relay.model.config import ModelConfig
from napari_relay.model.encoder import RelayTinyViT
from napari_relay.model.layers import map_of
from napari_relay.model.mst_module import MSTConfig
from napari_relay.model.mst_vit import MSTViT
from napari_relay.model.relay_attach import attach_relay
from napari_relay.model.relay_rules import RelayConfig
from recording import Figure, argument_parser, parse, publish, run

BOTH_BAR, MST_BAR = 2.15, 0.25
BACKBONES = {"vit_small_patch16_224": 448, "vit_tiny_patch16_224": 448, "swinv2_tiny_window8_256": 256}
Call = Callable[[], object]


def main() -> None:
    """Count, time, print, append."""
    parser = argument_parser(__doc__, "relay_cost")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    args: argparse.Namespace = parse(parser)
    torch.set_num_threads(args.threads)
    figures, details = product(args.repeats)
    for name, side in BACKBONES.items():
        found, numbers = backbone(name, side, args.repeats)
        figures, details = figures + found, details | numbers
    found, numbers = mst()
    publish(args, figures + found, details | numbers, "GMAC are counts, ratios without unit are processor times.")


@torch.no_grad()
def product(repeats: int) -> tuple[list[Figure], dict[str, object]]:
    """The product's TinyViT: one view plain, both views, a local view on a kept trajectory."""
    torch.manual_seed(0)
    plain, relay = (RelayTinyViT(ModelConfig(relay_tokens=r)).eval().requires_grad_(False) for r in (0, 4))
    x, y, where = torch.randn(1, 3, 448, 448), torch.randn(1, 3, 448, 448), torch.zeros(1, 4)
    states = relay.global_trajectory(relay.stem(y).f16)
    calls: dict[str, Call] = {
        "one view": lambda: plain(x),
        "both views": lambda: relay(x, y, where),
        "local view, kept states": lambda: relay.trunk(relay.stem(x), states, where),
    }
    return _compare("TinyViT of the product, oneway_keep", calls, repeats)


@torch.no_grad()
def backbone(name: str, side: int, repeats: int) -> tuple[list[Figure], dict[str, object]]:
    """A timm backbone under the rule that costs most."""
    torch.manual_seed(0)
    body = timm.create_model(name, num_classes=0, img_size=side).eval().requires_grad_(False)
    x, y = torch.randn(1, 3, side, side), torch.randn(1, 3, side, side)
    figures, details = [], {}
    for attach in ("gated", "concat"):
        relay = attach_relay(body, RelayConfig(4, "sequential", attach)).requires_grad_(False)
        calls: dict[str, Call] = {"one view": lambda: body.forward_features(x), "both views": _both(relay, x, y)}
        found, numbers = _compare(f"{name} at {side}, {attach}", calls, repeats)
        figures, details = figures + found, details | numbers
    return figures, details


def _both(relay: nn.Module, x: Tensor, y: Tensor) -> Call:
    return lambda: relay(x, y)


def _compare(title: str, calls: dict[str, Call], repeats: int) -> tuple[list[Figure], dict[str, object]]:
    counts = {name: macs(call) for name, call in calls.items()}
    times = _times(calls, repeats)
    figures = []
    for name in list(calls)[1:]:
        ratio, counted = times[name] / times["one view"], counts[name] / counts["one view"]
        text = f"{giga(counts[name])} to {giga(counts['one view'])} GMAC: {counted:.3f}"
        figures.append(
            Figure(f"relay cost: {title}, {name}", ratio, "", BOTH_BAR if name == "both views" else None, text)
        )
    ms = {name: round(1000 * seconds, 1) for name, seconds in times.items()}
    return figures, {title: {"macs": counts, "processor_ms": ms}}


def _times(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Least processor time of each call, in seconds; the first round does not count."""
    least: dict[str, float] = {}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            spent = time.process_time() - start
            if turn:
                least[name] = min(spent, least.get(name, spent))
    return least


def mst() -> tuple[list[Figure], dict[str, object]]:
    """The modules of the 448 px release on a ViT-B, counted without computing anything."""
    with torch.device("meta"):
        body = timm.create_model("vit_base_patch16_224", num_classes=0, img_size=448)
        model = MSTViT(body, MSTConfig(gate=1.0)).eval().requires_grad_(False)
        image, clicks = torch.empty(1, 3, 448, 448), torch.empty(1, 4, 3)
    tokens, table = torch.empty(1, 784, 768, device="meta"), torch.empty(1, 4, device="meta")
    encoder = macs(lambda: model.blocks(model.patch_embed(image)))
    scales, places = model._scales(image)
    clicked, positive = table.long(), table.bool()
    one = macs(lambda: model.scales["4"](tokens, scales, places, clicked, positive))
    embedding = macs(lambda: model._scales(image))
    rest = macs(lambda: model.head(model.neck(map_of(tokens, 28))))
    whole = macs(lambda: model(image, clicks))
    share = (3 * one + embedding) / encoder
    text = f"{giga(3 * one + embedding)} of {giga(encoder)} GMAC"
    figures = [
        Figure("MST cost: three modules and their tokens against the encoder", share, "", MST_BAR, text),
        Figure("MST cost: one module against the encoder", one / encoder, "", None, f"{giga(one)} GMAC"),
    ]
    counts = {"encoder": encoder, "module": one, "tokens": embedding, "neck and head": rest, "whole": whole}
    return figures, {"MST, ViT-B at 448": {"macs": counts}}


if __name__ == "__main__":
    run(main)
