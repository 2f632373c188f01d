"""Errors in words for the user."""

from __future__ import annotations

import logging

from napari_relay.errors import RelayError

log = logging.getLogger(__name__)


def sentence(error: BaseException) -> str:
    """An error in words for the user; one that is not ours goes to the log as well."""
    if isinstance(error, RelayError):
        return str(error)
    log.error("Unexpected error", exc_info=error)
    return f"Something failed: {type(error).__name__}: {error}. The log holds the details."
