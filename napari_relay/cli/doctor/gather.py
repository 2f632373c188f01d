"""Looks at this machine. Everything that may crash or hang runs in a process of its own (probes.py)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs

from napari_relay.cli.doctor import probes
from napari_relay.cli.doctor.facts import Facts, Place

PACKAGES = (
    "napari-relay", "napari", "PyQt5", "PyQt6", "PyQt6-Qt6", "PySide6", "opencv-python", "opencv-contrib-python",
    "torch", "torchvision", "timm", "numpy", "zarr", "imagecodecs", "tifffile", "openslide-python", "rasterio",
)  # fmt: skip
VARIABLES = (
    "DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "QT_API", "QT_QPA_PLATFORM", "QT_PLUGIN_PATH",
    "QT_QPA_PLATFORM_PLUGIN_PATH", "PYOPENGL_PLATFORM", "LIBGL_ALWAYS_SOFTWARE", "LD_LIBRARY_PATH", "CONDA_PREFIX",
    "CUDA_VISIBLE_DEVICES", "SSH_CONNECTION", "OMP_NUM_THREADS",
)  # fmt: skip
SLOW_S = 120
"""Limit of a probe: a first import of torch from a cold network disk takes most of a minute."""


def gather() -> Facts:
    """Everything the checks look at; some seconds."""
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    packages = installed_packages()
    screen = "DISPLAY" in environment or "WAYLAND_DISPLAY" in environment or sys.platform != "linux"
    with ThreadPoolExecutor() as pool:
        torch = pool.submit(probes.run_script, probes.TORCH, SLOW_S)
        qt = pool.submit(probes.run_script, probes.QT, SLOW_S, {} if screen else {"QT_QPA_PLATFORM": "offscreen"})
        gpu = pool.submit(probes.run_nvidia_smi)
    return Facts(
        system=platform.system(),
        machine=platform.machine(),
        python=sys.version_info[:3],
        executable=sys.executable,
        pointer_bits=64 if sys.maxsize > 2**32 else 32,
        packages=packages,
        environment=environment,
        torch=torch.result(),
        gpu=gpu.result(),
        qt=qt.result(),
        gpu_devices={str(p): os.access(p, os.R_OK | os.W_OK) for p in sorted(Path("/dev").glob("nvidia[0-9]*"))},
        missing_libraries=probes.missing_libraries(_qt_files(packages)) if sys.platform == "linux" else (),
        apt=shutil.which("apt-get") is not None,
        places=tuple(look_at(purpose, path) for purpose, path in _places().items()),
        shared_memory=look_at("shared memory", Path("/dev/shm")) if Path("/dev/shm").is_dir() else None,
        memory_bytes=_memory_bytes(),
        sqlite=(sqlite3.sqlite_version, _has_rtree()),
        # After the others: a busy machine would make it wrong.
        cpu_dtype=probes.run_script(probes.CPU_DTYPE, SLOW_S),
        checkpoints=_checkpoints(),
    )


def installed_packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def look_at(purpose: str, path: Path) -> Place:
    """Whether a file can be written at `path` (or made there later), and the space that is left."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free: int | None = shutil.disk_usage(there).free
    except OSError:
        free = None
    return Place(purpose, str(path), _can_write(there), free)


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _places() -> dict[str, Path]:
    from napari_relay.sources.cache import default_cache_dir

    return {
        "this folder": Path.cwd(),
        "cache": default_cache_dir(),
        "settings": Path(platformdirs.user_config_dir("napari-relay")),
        "temporary files": Path(tempfile.gettempdir()),
    }


def _qt_files(packages: dict[str, str]) -> list[str]:
    """Files of the Qt binding whose system libraries are missing most often."""
    for binding, folder in (("PyQt5", "Qt5"), ("PyQt6", "Qt6")):
        spec = importlib.util.find_spec(binding) if binding in packages else None
        if spec is not None and spec.origin is not None:
            root = Path(spec.origin).parent
            plugin = root / folder / "plugins" / "platforms" / "libqxcb.so"
            return [str(file) for file in (plugin, *root.glob("QtGui*.so")) if file.exists()]
    return []


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _has_rtree() -> bool:
    with sqlite3.connect(":memory:") as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE r USING rtree(id, y0, y1, x0, x1)")
        except sqlite3.OperationalError:
            return False
    return True


def _checkpoints() -> dict[str, str]:
    """Bundled checkpoints, and what is wrong with the files of each (nothing, if all goes well)."""
    from napari_relay.model.checkpoint import Card, list_bundled

    def wrong(card: Card) -> str:
        for shard in card.shards:
            file = card.path / shard["file"]
            if not file.is_file():
                return f"{file.resolve()} is missing"
            if "sha256" in shard and hashlib.sha256(file.read_bytes()).hexdigest() != shard["sha256"]:
                return f"{file.resolve()} is damaged"
        return ""

    return {card.name: wrong(card) for card in list_bundled()}
