"""Python, torch, the GPU, the weights: can this machine compute masks, and how fast?"""

from __future__ import annotations

from napari_relay.cli.doctor.facts import Facts, Finding, Verdict

PAIR = '"torch>=2.6,<2.15" "torchvision>=0.21,<0.30"'
OLDER_CARDS = '"torch>=2.7,<2.8" "torchvision>=0.22,<0.23"'
"""The last pair whose ordinary build still holds code for Maxwell, Pascal and Volta cards (CUDA 12.6)."""
OLDER_DRIVERS = '"torch>=2.8,<2.9" "torchvision>=0.23,<0.24"'
"""Built for CUDA 12.8, which runs with every driver from 525 on."""
GIB = 1024**3


def check_python(facts: Facts) -> Finding:
    version = ".".join(str(part) for part in facts.python)
    what = f"Python {version}, {facts.pointer_bits} bit, {facts.executable}"
    if facts.python < (3, 11):
        return Finding(
            "Python", Verdict.BROKEN, f"{what} is too old.", "Make an environment with Python 3.11 or later."
        )
    if facts.pointer_bits != 64:
        return Finding("Python", Verdict.BROKEN, f"{what}: torch needs 64 bit.", "Install a 64-bit Python.")
    return Finding("Python", Verdict.OK, what)


def check_sqlite(facts: Facts) -> Finding:
    version, rtree = facts.sqlite
    if not rtree:
        return Finding(
            "SQLite",
            Verdict.BROKEN,
            f"SQLite {version} of this Python lacks R*Tree, which projects need.",
            "Use another Python build (python.org, conda-forge and Debian have it).",
        )
    return Finding("SQLite", Verdict.OK, f"SQLite {version} with R*Tree")


def check_torch(facts: Facts) -> Finding:
    probe, known = facts.torch, facts.torch.values
    if "torch" not in facts.packages:
        return Finding("torch", Verdict.BROKEN, "torch is not installed.", f"pip install {PAIR}")
    if probe.returncode is None:
        return Finding(
            "torch",
            Verdict.BROKEN,
            "Importing torch took more than two minutes and was stopped.",
            "Move the environment to a local disk.",
        )
    if known.get("failed") == "torchvision":
        return Finding(
            "torch",
            Verdict.BROKEN,
            f"torch {facts.packages['torch']} and torchvision {facts.packages.get('torchvision', '(missing)')} "
            f"are not from the same build ({_short(known.get('error'))}).",
            f"pip install --force-reinstall {PAIR}",
        )
    if "torch" not in known:
        return Finding(
            "torch",
            Verdict.BROKEN,
            f"torch {facts.packages['torch']} cannot be imported ({_short(known.get('error') or probe.stderr)}).",
            f"pip install --force-reinstall {PAIR}",
        )
    return Finding("torch", Verdict.OK, f"torch {known['torch']}, {known.get('threads', '?')} threads")


def check_gpu(facts: Facts) -> Finding:
    known = facts.torch.values
    if known.get("computes") is True:
        driver = f", driver {facts.gpu.values['cards'][0]['driver_version']}" if _cards(facts) else ""  # type: ignore[index]
        return Finding("GPU", Verdict.OK, f"{known.get('device')}{driver}, CUDA {known.get('cuda_build')}: used")
    if known.get("mps"):
        return Finding("GPU", Verdict.NOTE, "The Apple GPU is not used yet; computing on the CPU.")
    if facts.environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding(
            "GPU",
            Verdict.NOTE,
            "CUDA_VISIBLE_DEVICES hides the GPU; computing on the CPU.",
            "unset CUDA_VISIBLE_DEVICES",
        )
    if not _cards(facts) and not facts.gpu_devices and facts.gpu.finished:
        return Finding("GPU", Verdict.OK, "No NVIDIA GPU here; computing on the CPU")
    what, fix = _gpu_trouble(facts)
    return Finding("GPU", Verdict.BROKEN, f"{what} Until then masks are computed on the CPU.", fix)


def _cards(facts: Facts) -> list[object]:
    cards = facts.gpu.values.get("cards", [])
    return cards if isinstance(cards, list) else []


def _gpu_trouble(facts: Facts) -> tuple[str, str]:
    """What keeps a GPU that is there from being used, and the fix."""
    known, said = facts.torch.values, facts.gpu.words
    error = str(known.get("cuda_error", ""))
    name = str(known.get("device") or "") or _card_name(facts)
    closed = [device for device, usable in facts.gpu_devices.items() if not usable]
    if closed:
        return f"{closed[0]} may not be opened by this user.", "sudo usermod -aG video,render $USER, then log in again"
    if "mismatch" in said:
        return "The NVIDIA driver was updated while it was loaded.", "Restart the computer."
    if facts.gpu.returncode is None or "communicate with the NVIDIA driver" in said:
        return "The NVIDIA driver does not answer.", "sudo modprobe nvidia, or restart the computer"
    if "torch" not in known:
        return f"{name} waits for a torch that can be imported.", "See the line on torch."
    if known.get("cuda_build") is None and known.get("hip") is None:
        return f"{name} is not used: torch {known['torch']} is a CPU-only build.", _cuda_build(facts)
    if "driver on your system is too old" in error or "driver version is insufficient" in error:
        return (
            f"{name}: its driver is too old for CUDA {known.get('cuda_build')} of torch {known['torch']}.",
            f"Update the NVIDIA driver, or: pip install {OLDER_DRIVERS}",
        )
    if "no kernel image" in error or "not compatible with the current PyTorch" in error:
        return (
            f"{name}: torch {known['torch']} holds no code for this card (compute capability "
            f"{'.'.join(map(str, _list(known.get('capability'))))}).",
            f"pip install {OLDER_CARDS}",
        )
    if "out of memory" in error:
        return f"{name}: its memory is taken by other programs.", "nvidia-smi lists them; close one."
    return f"{name} cannot be used ({_short(error or said)}).", f"pip install --force-reinstall {PAIR}"


def _card_name(facts: Facts) -> str:
    cards = _cards(facts)
    return str(cards[0]["name"]) if cards and isinstance(cards[0], dict) else "The GPU"


def _cuda_build(facts: Facts) -> str:
    if facts.system == "Windows":
        return "Install the CUDA build of torch and torchvision that pytorch.org names for Windows."
    return f"pip install --force-reinstall {PAIR}"


def check_cpu_dtype(facts: Facts) -> Finding:
    known = facts.cpu_dtype.values
    if "chosen" not in known:
        if "torch" not in facts.torch.values:
            return Finding("CPU", Verdict.NOTE, "Not measured: torch is needed for it.", "See the line on torch.")
        return Finding(
            "CPU",
            Verdict.BROKEN,
            f"The measurement of the CPU failed ({_short(facts.cpu_dtype.stderr) or 'no answer in time'}).",
            f"pip install --force-reinstall {PAIR}",
        )
    times = ", ".join(f"{name} {known[name]:.0f} ms" for name in ("float32", "bfloat16") if name in known)
    cpu = f"{facts.machine} {facts.torch.values.get('cpu', '')}".strip()
    return Finding("CPU", Verdict.OK, f"{cpu}: {times} now; computing in {known['chosen']}, as measured at first")


def check_memory(facts: Facts) -> Finding:
    if facts.memory_bytes is None:
        return Finding("Memory", Verdict.OK, "Size not known on this system")
    size = f"{facts.memory_bytes / GIB:.1f} GiB"
    if facts.memory_bytes < 3.5 * GIB:
        return Finding("Memory", Verdict.NOTE, f"{size} is little; 4 GiB are comfortable.", "Close other programs.")
    return Finding("Memory", Verdict.OK, size)


def check_checkpoints(facts: Facts) -> Finding:
    broken = [f"{name} ({reason})" for name, reason in facts.checkpoints.items() if reason]
    if broken or not facts.checkpoints:
        what = f"Damaged: {'; '.join(broken)}." if broken else "No checkpoint came with the program."
        return Finding("Weights", Verdict.BROKEN, what, "pip install --force-reinstall --no-deps napari-relay")
    return Finding("Weights", Verdict.OK, f"Bundled checkpoints are whole: {', '.join(facts.checkpoints)}")


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _short(text: object) -> str:
    """The last line of an error, short enough for a sentence."""
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    return lines[-1][:160].rstrip(".") if lines else ""
