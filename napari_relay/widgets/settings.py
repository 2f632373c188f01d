"""The window's settings, kept for the next start."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda", "mps"]


class WindowSettings(BaseModel):
    """What the user chose. Frozen: a change is a new value."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    device: Device = "auto"
    threads: int = Field(0, ge=0, le=256)
    """0: as many as the machine has cores."""
    cache_mb: int = Field(512, ge=64, le=65536)
    prefetch: bool = True
    show_views: bool = True
    checkpoint: str = ""
    """Name of a bundled checkpoint, or the path of one carried in; empty for the default one."""

    def needs_new_worker(self, before: WindowSettings) -> bool:
        """Whether something differs that is chosen when a worker starts."""
        return (self.device, self.threads, self.cache_mb) != (before.device, before.threads, before.cache_mb)

    @classmethod
    def path(cls) -> Path:
        return user_config_path("napari-relay") / "window.json"

    @classmethod
    def load(cls) -> WindowSettings:
        """The settings of last time; the defaults where there are none or they cannot be read."""
        try:
            return cls.model_validate_json(cls.path().read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError, ValueError) as error:
            log.warning("The settings in %s cannot be read and are left aside: %s", cls.path(), error)
            return cls()

    def save(self) -> None:
        """Keep the settings; a disk that does not take them is only logged."""
        path = self.path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.partial")
            fresh.write_text(self.model_dump_json(indent=2), encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            log.warning("The settings cannot be kept in %s: %s", path, error)
