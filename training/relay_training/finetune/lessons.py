"""From objects to training rows: which views are needed, and what each object's target is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from napari_relay.views import Crops
from relay_training.data import turn_array
from relay_training.finetune.cache import Row
from relay_training.finetune.material import Example, OpenMaterial
from relay_training.finetune.views import Look, Seen, clicks_in_look, looks_at, mask_in_view, read_labels, read_look

LEAST_PX = 12
"""An object with fewer pixels of 112 x 112 in a view is not looked for there."""

Wanted = tuple[str, Callable[[], Crops]]
"""Key of a view's encoding, and what reads its pixels."""


def lessons_of(
    materials: Sequence[OpenMaterial],
    examples: Sequence[Example],
    views: int,
    seed: int,
    object_px: float | None = None,
) -> tuple[list[Wanted], list[list[Row]]]:
    """Views to encode, each once, and the rows of each example (perhaps none); `object_px` as in `looks_at`."""
    wanted: dict[str, Callable[[], Crops]] = {}
    seen: dict[Look, Seen] = {}
    rejected = [[e for e in examples if e.rejected and e.source == n] for n in range(len(materials))]
    lessons: list[list[Row]] = []
    for example in examples:
        material, rows = materials[example.source], []
        for look in looks_at(example, material.source.shape, views, seed, object_px):
            if look not in seen:
                seen[look] = read_labels(material, look, rejected[example.source])
            row = _row(material, example, look, seen[look])
            if row is not None:
                rows.append(row)
                wanted.setdefault(row.key, _reader(material, look))
        lessons.append(rows)
    return list(wanted.items()), lessons


def _reader(material: OpenMaterial, look: Look) -> Callable[[], Crops]:
    return lambda: read_look(material, look)


def _row(material: OpenMaterial, example: Example, look: Look, seen: Seen) -> Row | None:
    """None where too little of the object is in the view."""
    own = turn_array(mask_in_view(material, example.id, look.pair.local), look.turn) > 0
    if np.count_nonzero(own) < LEAST_PX:
        return None
    outside = seen.labels < 0
    target = np.where(outside, -1, own).astype(np.int8)
    others = ((seen.labels > 0) | seen.rejected) & ~own
    refused = np.zeros_like(own)
    if example.rejected:
        target, others, refused = np.full_like(target, -1), others | False, own
    return Row(
        key_of(material, look), target, others, own | others, refused,
        clicks_in_look(example.clicks, look, material.source.shape),
    )  # fmt: skip


def key_of(material: OpenMaterial, look: Look) -> str:
    """Names a look's pixels as `read_look` does, without reading them."""
    from napari_relay.views import crop_key

    key = crop_key(material.source, look.pair, look.plane, material.mix, material.stretch)
    return f"{key}-{look.turn}" if look.turn else key
