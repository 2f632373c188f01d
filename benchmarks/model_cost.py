"""Count the parameters and multiply-adds of the product's network, part by part, into `docs/model.md`.

    python benchmarks/model_cost.py [--check] [--page docs/model.md]

Only the text between the page's two markers is replaced. `--check` writes nothing and exits with 1 when the page is
not what it would write. Nothing is timed; the numbers are the same on every machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from counting import count, giga, macs, mega
from napari_relay.errors import UsageError
from napari_relay.model.config import ModelConfig
from napari_relay.model.encoder import Encoding, RelayTinyViT, Stem
from napari_relay.model.network import FIRST, LATER, Head
from recording import run

PAGE = Path(__file__).parents[1] / "docs" / "model.md"
BEGIN, END = "<!-- counted -->", "<!-- /counted -->"
SIDE = 448
CLICKS = 4
"""Clicks of the further click that is counted; their number hardly matters."""


def main() -> None:
    """Rewrite the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the page is old")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    old = args.page.read_text(encoding="utf-8")
    new = replaced(old, tables(), args.page)
    if args.check:
        sys.exit(0 if new == old else f"{args.page} is old: run benchmarks/model_cost.py.")
    args.page.write_text(new, encoding="utf-8")


def replaced(page: str, text: str, path: Path) -> str:
    """The page with `text` between its markers. Raises UsageError where one is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{path} has not both markers.", f"Put {BEGIN} and {END} into it.")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def tables() -> str:
    """The page's two tables, in Markdown."""
    parts = ["### Encoder, a view of 448 x 448", "", "| part | output | GMAC | M parameters |", "|" + " --- |" * 4]
    parts += [f"| {' | '.join(row)} |" for row in encoder_rows()]
    parts += ["", "### Head", "", "| part | GMAC a view | GMAC a click | M parameters |", "|" + " --- |" * 4]
    parts += [f"| {' | '.join(row)} |" for row in head_rows()]
    return "\n".join([*parts, ""])


def shapes(encoder: RelayTinyViT) -> tuple[Tensor, Stem, list[Tensor]]:
    """A view, its stem and a global trajectory, as tensors without values."""
    view = torch.empty(1, 3, SIDE, SIDE, device="meta")
    with torch.no_grad():
        stem = encoder.stem(view)
        return view, stem, encoder.global_trajectory(stem.f16)


def encoder_rows() -> list[tuple[str, str, str, str]]:
    """Part, output, GMAC, parameters."""
    with torch.device("meta"):
        encoder, plain = (RelayTinyViT(ModelConfig(relay_tokens=r)).eval().requires_grad_(False) for r in (4, 0))
    view, stem, states = shapes(encoder)
    f112, stages = torch.empty(1, 64, 112, 112, device="meta"), plain.stages
    f56, f28, last = stem.f8, stem.f16, torch.empty(1, 320, 28, 28, device="meta")

    def stage(i: int) -> int:
        return macs(lambda: stages[i](f56 if i == 2 else torch.empty(1, 160, 28, 28, device="meta")))

    without, own = macs(lambda: plain.trunk(stem)), macs(lambda: encoder.trunk(stem))
    both = macs(lambda: encoder.trunk(stem, states, torch.zeros(1, 4, device="meta")))
    stem_cost = macs(lambda: plain.stem(view))
    rows = [
        ("patch embedding", "64 x 112 x 112", macs(lambda: plain.patch_embed(view)), count(plain.patch_embed)),
        ("stage 1: 2 convolution blocks = **f4**", "64 x 112 x 112", macs(lambda: stages[0](f112)), count(stages[0])),
        ("stage 2: 2 blocks, windows of 7 x 7 = **f8**", "128 x 56 x 56", macs(lambda: stages[1](f112)),
         count(stages[1])),
        ("stage 3: 6 blocks, windows of 14 x 14 = **f16a**", "160 x 28 x 28", stage(2), count(stages[2])),
        ("stage 4: 2 blocks, windows of 7 x 7 = **f16b**", "320 x 28 x 28", stage(3), count(stages[3])),
        ("neck = **image**", "256 x 28 x 28", macs(lambda: plain.neck(last)), count(plain.neck)),
        ("**one view without relay tokens**", "", stem_cost + without, count(plain)),
        ("own relay tokens", "4 x 320", own - without, count(encoder) - count(plain)),
        ("reading the global view's", "", both - own, 0),
        ("**one view**", "", stem_cost + both, count(encoder)),
        ("the global view, once for many local ones", "6 x 4 x 160 + 2 x 4 x 320",
         stem_cost + macs(lambda: encoder.global_trajectory(f28)), 0),
    ]  # fmt: skip
    return [(name, out, giga(cost), mega(size) if size else "") for name, out, cost, size in rows]


def head_rows() -> list[tuple[str, str, str, str]]:
    """Part, GMAC once a view, GMAC a click, parameters; each part is the difference to a head without it."""
    full = costs(ModelConfig())
    no_pixels, no_scales = costs(ModelConfig(pixel_path=0)), costs(ModelConfig(multi_scale=False))
    no_similar = costs(ModelConfig(multi_scale=False, similarity=False))
    no_relay = costs(ModelConfig(relay_tokens=0))
    bare = costs(ModelConfig(relay_tokens=0, multi_scale=False, similarity=False, pixel_path=0))
    head = Head(ModelConfig())
    rows = [
        ("relay tokens into the image", full[0] - no_relay[0], full[2] - no_relay[2],
         (head.relay_attn, head.relay_in, head.relay_gate)),
        ("contrast space, kernels, cosine maps", no_scales[0] - no_similar[0], no_scales[2] - no_similar[2],
         (head.contrast, head.similarity_in)),
        ("multi-scale tokens", full[0] - no_scales[0], full[2] - no_scales[2], (head.scales,)),
        ("previous mask into the image", 0, bare[2] - bare[3], (head.prompt,)),
        ("decoder: two-way transformer, up-scaling, one mask", bare[0], bare[3], (head.decoder,)),
        ("pixel path, stride 4", full[0] - no_pixels[0], full[2] - no_pixels[2], (head.pixels,)),
    ]  # fmt: skip
    lines = [(name, giga(once), giga(click), mega(count(parts))) for name, once, click, parts in rows]
    lines.append(("**a further click**", giga(full[0]), giga(full[2]), mega(count(head))))
    lines.append(("**a first click: three masks**", giga(full[0]), giga(full[1]), ""))
    return lines


def costs(config: ModelConfig) -> tuple[int, int, int, int]:
    """Multiply-adds of `prepare`, a first click, a further click, and that one without the previous mask."""
    torch.manual_seed(0)
    head = Head(config).eval().requires_grad_(False)
    encoding = Encoding(
        torch.randn(1, 64, 112, 112), torch.randn(1, 128, 56, 56), torch.randn(1, 160, 28, 28),
        torch.randn(1, 320, 28, 28), torch.randn(1, 256, 28, 28), torch.randn(1, config.relay_tokens, 320),
    )  # fmt: skip
    clicks = torch.cat([torch.rand(1, CLICKS, 2) * SIDE, torch.tensor([[[1.0], [0.0]] * (CLICKS // 2)])], dim=2)
    previous = torch.randn(1, 1, 112, 112)
    with torch.no_grad():
        prepared = head.prepare(encoding)
    return (
        macs(lambda: head.prepare(encoding)),
        macs(lambda: head(prepared, clicks[:, :1], None, which=FIRST)),
        macs(lambda: head(prepared, clicks, previous, which=LATER)),
        macs(lambda: head(prepared, clicks, None, which=LATER)),
    )


if __name__ == "__main__":
    run(main)
