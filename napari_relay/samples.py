"""Where the bundled sample images lie: in the package when installed, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

from napari_relay.errors import UsageError

_PLACES = (Path(__file__).parent / "sample_data", Path(__file__).parent.parent / "sample_data")


def sample_path(name: str) -> Path:
    """Path of the bundled file `name`, such as "coins.png".

    Raises
    ------
    UsageError
        No sample has that name; the message lists those there are.
    """
    for place in _PLACES:
        if (place / name).is_file():
            return place / name
    raise UsageError(f"There is no sample file {name!r}.", f"There are: {', '.join(sample_names())}.")


def sample_names() -> list[str]:
    """Names of the bundled images and label maps, sorted."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return sorted(file.name for file in place.iterdir() if file.suffix not in (".md", ".zip")) if place else []
