"""Sizes and switches of the click model. One frozen value; a checkpoint's card holds it as a dictionary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from napari_relay.errors import CheckpointError

Rule = Literal["oneway_keep", "oneway", "sequential", "mean"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Configuration of `ClickModel`.

    relay_tokens : number R of relay tokens; 0 switches them off.
    relay_rule : how the two views exchange them (`oneway_keep` is the product's: the global entry can be cached).
    multi_scale : small and large tokens beside the base ones (MST).
    similarity : contrastive space and cosine maps of the clicks.
    pixel_path : stride of the pixel path: 4, or 0 (off).
    """

    relay_tokens: int = 4
    relay_rule: Rule = "oneway_keep"
    multi_scale: bool = True
    similarity: bool = True
    pixel_path: int = 4
    width: int = 256
    heads: int = 8
    decoder_mlp: int = 2048
    contrast_width: int = 96
    scale_width: int = 128
    top_small: int = 196
    top_large: int = 12

    def __post_init__(self) -> None:
        if self.pixel_path not in (0, 4):
            raise CheckpointError(f"pixel_path is {self.pixel_path}; it must be 0 or 4.")
        if self.relay_tokens < 0:
            raise CheckpointError(f"relay_tokens is {self.relay_tokens}; it must be 0 or more.")
        if self.multi_scale and not self.similarity:
            raise CheckpointError("multi_scale needs similarity: its scores are cosines to the click kernels.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Raises CheckpointError for a key that this program does not know."""
        unknown = set(values) - set(cls.__slots__)
        if unknown:
            raise CheckpointError(
                f"The checkpoint's configuration has unknown entries: {', '.join(sorted(unknown))}.",
                "It was made by a newer program: update napari-relay.",
            )
        return cls(**values)
