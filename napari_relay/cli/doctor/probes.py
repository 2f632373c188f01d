"""Looks that may crash, hang or load a gigabyte: each is a script for a process of its own, with a time limit.

Text and not code, since this room may import neither torch nor Qt. A script prints JSON after each step, so that a
crash leaves what was known before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from napari_relay.cli.doctor.facts import Probe

TORCH = """
import json
known = {}
def say(**new):
    known.update(new)
    print(json.dumps(known), flush=True)
try:
    import torch
    say(torch=torch.__version__, cuda_build=torch.version.cuda, hip=torch.version.hip,
        threads=torch.get_num_threads(), cpu=torch.backends.cpu.get_cpu_capability())
except Exception as error:
    say(error=f"{type(error).__name__}: {error}", failed="torch")
    raise SystemExit(3)
try:
    import torchvision
    say(torchvision=torchvision.__version__)
    import timm
    say(timm=timm.__version__)
except Exception as error:
    say(error=f"{type(error).__name__}: {error}", failed="torchvision")
    raise SystemExit(3)
say(mps=bool(torch.backends.mps.is_available()))
try:
    torch.cuda.init()
    name, capability = torch.cuda.get_device_name(0), list(torch.cuda.get_device_capability(0))
    say(device=name, capability=capability, architectures=torch.cuda.get_arch_list())
    x = torch.ones(64, 64, device="cuda")
    say(computes=float((x @ x).sum()) == 64.0 ** 3)
except Exception as error:
    say(computes=False, cuda_error=f"{type(error).__name__}: {error}".strip()[:500])
"""

QT = """
import json
known = {}
def say(**new):
    known.update(new)
    print(json.dumps(known), flush=True)
try:
    import qtpy
    from qtpy import QtCore, QtGui, QtWidgets
    say(binding=qtpy.API_NAME, qt=QtCore.qVersion())
except Exception as error:
    say(error=f"{type(error).__name__}: {error}"[:500])
    raise SystemExit(3)
app = QtWidgets.QApplication([])
say(platform=app.platformName())
try:
    families = QtGui.QFontDatabase.families()
except TypeError:
    families = QtGui.QFontDatabase().families()
say(fonts=len(families))
if app.platformName() in ("offscreen", "minimal"):
    raise SystemExit(0)
surface, context = QtGui.QOffscreenSurface(), QtGui.QOpenGLContext()
surface.create()
if not (context.create() and context.makeCurrent(surface)):
    say(gl=False)
    raise SystemExit(0)
try:
    from vispy.gloo import gl
    say(gl=True, renderer=str(gl.glGetParameter(gl.GL_RENDERER)), version=str(gl.glGetParameter(gl.GL_VERSION)))
except Exception as error:
    say(gl=False, error=f"{type(error).__name__}: {error}"[:500])
"""

CPU_DTYPE = """
import json
from napari_relay.predictor.device import best_cpu_dtype, measure_cpu_dtype
seconds = measure_cpu_dtype()
chosen = str(best_cpu_dtype()).replace("torch.", "")
print(json.dumps({"chosen": chosen, **{name: 1000 * value for name, value in seconds.items()}}))
"""


def run_script(script: str, timeout_s: float, environment: Mapping[str, str] | None = None) -> Probe:
    """Run a probe script in this Python and read the last JSON line that it printed."""
    return _run([sys.executable, "-c", script], timeout_s, environment)


def run_nvidia_smi(timeout_s: float = 20) -> Probe:
    """Names, drivers and memory of the NVIDIA cards; `absent` where there is no such program."""
    fields = ["name", "driver_version", "memory.total", "memory.free", "compute_cap"]
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=timeout_s)
    except FileNotFoundError:
        return Probe({"absent": True})
    except subprocess.TimeoutExpired:
        return Probe(returncode=None)
    if done.returncode != 0:
        # It writes its errors to stdout.
        return Probe(returncode=done.returncode, stderr=(done.stdout + done.stderr)[-500:])
    cards = [dict(zip(fields, line.split(", "), strict=False)) for line in done.stdout.strip().splitlines()]
    return Probe({"cards": cards})


def missing_libraries(files: Sequence[str]) -> tuple[str, ...]:
    """System libraries that the loader does not find for these files (Linux; nothing elsewhere)."""
    missing: set[str] = set()
    for file in files:
        try:
            done = subprocess.run(["ldd", file], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        missing |= {line.split()[0] for line in done.stdout.splitlines() if "not found" in line}
    return tuple(sorted(missing))


def _run(command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None) -> Probe:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout_s, env={**os.environ, **(environment or {})}
        )
    except subprocess.TimeoutExpired as error:
        return Probe(_last_json(error.stdout or b""), None, _tail(error.stderr or b""))
    return Probe(_last_json(done.stdout), done.returncode, _tail(done.stderr))


def _tail(text: bytes) -> str:
    return text.decode("utf-8", "replace")[-2000:]


def _last_json(text: bytes) -> dict[str, object]:
    for line in reversed(text.decode("utf-8", "replace").splitlines()):
        if line.startswith("{"):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
    return {}
