"""Where and in what precision to compute: chosen by what is there and by a one-second measurement, never assumed."""

from __future__ import annotations

import json
import logging
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch

from napari_relay.errors import UsageError

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Compute:
    """Device and dtype to compute with, and what the user should know about the choice."""

    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()


def choose_device(wanted: str) -> tuple[torch.device, tuple[str, ...]]:
    """`auto`, `cpu`, `cuda` or `cuda:N`. A GPU that cannot be used falls back to the CPU with a note."""
    if wanted not in ("auto", "cpu") and not wanted.startswith("cuda"):
        raise UsageError(f"Unknown device {wanted!r}.", "Use auto, cpu, cuda or cuda:0.")
    if wanted == "cpu":
        return torch.device("cpu"), ()
    if not torch.cuda.is_available():
        note = () if wanted == "auto" else ("No usable CUDA GPU was found; computing on the CPU instead.",)
        return torch.device("cpu"), note
    device = torch.device("cuda" if wanted == "auto" else wanted)
    try:
        # A driver that is too old, or a card that this build knows no code for, shows only when a kernel runs.
        (torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)).sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        return torch.device("cpu"), (f"The GPU cannot be used ({reason}); computing on the CPU instead.",)
    return device, ()


def _seconds(dtype: torch.dtype) -> float:
    """Processor time of a matrix product and a convolution of the encoder's size, the best of some tries.

    Processor time, because the answer is remembered: a machine that is busy just now must not decide it.
    """
    a, w = torch.randn(784, 640), torch.randn(640, 640)
    x, k = torch.randn(1, 128, 56, 56), torch.randn(128, 128, 3, 3)
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        best = float("inf")
        for _ in range(6):
            start = time.process_time()
            for _ in range(8):
                torch.nn.functional.linear(a, w)
                torch.nn.functional.conv2d(x, k, padding=1)
            best = min(best, time.process_time() - start)
    return best


def measure_cpu_dtype() -> dict[str, float]:
    """Seconds of the same small job in float32 and bfloat16: bfloat16 wins with AVX-512 bf16 or AMX and loses three-
    to fourfold without."""
    return {name: _seconds(DTYPES[name]) for name in ("float32", "bfloat16")}


def _cache_file() -> Path:
    return Path(platformdirs.user_cache_dir("napari-relay")) / "cpu_dtype.json"


def best_cpu_dtype() -> torch.dtype:
    """Faster of float32 and bfloat16 on this processor, measured once and remembered."""
    key = f"{platform.processor() or platform.machine()}|{_cpu_model()}|{torch.__version__}|{torch.get_num_threads()}"
    path = _cache_file()
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        seconds = measure_cpu_dtype()
        # A narrow win is not worth the rounding.
        known[key] = "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(known))
        except OSError as error:
            log.info("the dtype measurement is not remembered: %s", error)
    return DTYPES[known[key]]


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.platform()
    name = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    # Virtual machines share a model name and differ in what they pass on.
    return name + (" bf16" if "avx512_bf16" in text or "amx_bf16" in text else "")


def choose(device: str, dtype: str) -> Compute:
    """Device and dtype for `auto` or given names. Raises UsageError for an unknown name."""
    where, notes = choose_device(device)
    if dtype == "auto":
        if where.type == "cuda":
            kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        else:
            kind = best_cpu_dtype()
    elif dtype in DTYPES:
        kind = DTYPES[dtype]
    else:
        raise UsageError(f"Unknown dtype {dtype!r}.", f"Use auto or one of {', '.join(DTYPES)}.")
    return Compute(where, kind, notes)
