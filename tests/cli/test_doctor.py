"""The doctor against machines that are ill in a known way: each must be named, with the command that mends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from napari_relay.cli import main
from napari_relay.cli.doctor import command
from napari_relay.cli.doctor.command import examine
from napari_relay.cli.doctor.facts import Facts, Finding, Place, Probe, Verdict

GIB = 1024**3
CARD = {"name": "NVIDIA RTX A4000", "driver_version": "580.65.06", "memory.total": "16376", "compute_cap": "8.6"}
CUDA_TORCH = {
    "torch": "2.14.1+cu130",
    "cuda_build": "13.0",
    "hip": None,
    "threads": 8,
    "cpu": "AVX512",
    "torchvision": "0.29.1",
    "timm": "1.0.31",
    "mps": False,
}
NO_GPU = {**CUDA_TORCH, "computes": False, "cuda_error": "RuntimeError: Found no NVIDIA driver on your system."}
GOOD_GPU = {**CUDA_TORCH, "device": "NVIDIA RTX A4000", "capability": [8, 6], "computes": True}


def probe(values: dict[str, object], code: int | None = 0, stderr: str = "") -> Probe:
    return Probe(values, code, stderr)


QT = {
    "binding": "pyqt5",
    "qt": "5.15.19",
    "platform": "xcb",
    "fonts": 12,
    "gl": True,
    "renderer": "A4000",
    "version": "4.6",
}
HEALTHY = Facts(
    system="Linux",
    machine="x86_64",
    python=(3, 11, 7),
    executable="/env/bin/python",
    pointer_bits=64,
    packages={
        "napari-relay": "0.1.0",
        "napari": "0.9.2",
        "PyQt5": "5.15.11",
        "torch": "2.14.1",
        "torchvision": "0.29.1",
        "timm": "1.0.31",
    },
    environment={"DISPLAY": ":0"},
    torch=probe(NO_GPU),
    gpu=probe({"absent": True}),
    qt=probe(QT),
    apt=True,
    places=(
        Place("this folder", "/data", True, 50 * GIB),
        Place("cache", "/home/ada/.cache/napari-relay", True, 50 * GIB),
        Place("temporary files", "/tmp", True, 50 * GIB),
    ),
    shared_memory=Place("shared memory", "/dev/shm", True, 8 * GIB),
    memory_bytes=16 * GIB,
    cpu_dtype=probe({"chosen": "float32", "float32": 400.0, "bfloat16": 1200.0}),
    checkpoints={"small": "", "step0": ""},
)


def without(names: dict[str, str], *gone: str) -> dict[str, str]:
    return {name: version for name, version in names.items() if name not in gone}


def gpu_machine(**torch: object) -> dict[str, object]:
    """A machine with an NVIDIA card that the driver knows, and what torch says about it."""
    values = {**CUDA_TORCH, "computes": False, **torch}
    return {"torch": probe(values), "gpu": probe({"cards": [CARD]}), "gpu_devices": {"/dev/nvidia0": True}}


@dataclass(frozen=True)
class Ill:
    """A broken machine: what differs from a healthy one, and which line of the report must say what."""

    name: str
    topic: str
    says: str
    fix: str
    changes: dict[str, object] = field(default_factory=dict)


QT_FAILED = {"error": "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"}
BROKEN = [
    Ill("python_too_old", "Python", "too old", "3.11 or later", {"python": (3, 9, 2)}),
    Ill("python_of_32_bit", "Python", "needs 64 bit", "64-bit", {"pointer_bits": 32}),
    Ill("sqlite_without_rtree", "SQLite", "R*Tree", "another Python build", {"sqlite": ("3.31.0", False)}),
    Ill(
        "torch_not_installed",
        "torch",
        "not installed",
        "pip install",
        {"packages": without(HEALTHY.packages, "torch"), "torch": probe({"error": "x", "failed": "torch"}, 3)},
    ),
    Ill(
        "torch_cannot_be_imported",
        "torch",
        "libcudart",
        "--force-reinstall",
        {"torch": probe({"error": "OSError: libcudart.so.13: cannot open", "failed": "torch"}, 3)},
    ),
    Ill("torch_import_hangs", "torch", "two minutes", "local disk", {"torch": probe({}, None)}),
    Ill(
        "torchvision_of_another_build",
        "torch",
        "not from the same build",
        '"torch>=2.6,<2.15" "torchvision>=0.21,<0.30"',
        {
            "torch": probe(
                {
                    "torch": "2.13.0+cpu",
                    "failed": "torchvision",
                    "error": "RuntimeError: operator torchvision::nms does not exist",
                },
                3,
            )
        },
    ),
    Ill(
        "cpu_only_torch_beside_a_gpu",
        "GPU",
        "CPU-only build",
        "pip install --force-reinstall",
        gpu_machine(
            torch="2.14.1+cpu", cuda_build=None, cuda_error="AssertionError: Torch not compiled with CUDA enabled"
        ),
    ),
    Ill(
        "cpu_only_torch_on_windows",
        "GPU",
        "CPU-only build",
        "pytorch.org",
        {"system": "Windows", **gpu_machine(torch="2.14.1+cpu", cuda_build=None, cuda_error="not compiled")},
    ),
    Ill(
        "driver_too_old",
        "GPU",
        "driver is too old for CUDA 13.0",
        "Update the NVIDIA driver, or: pip install",
        gpu_machine(cuda_error="RuntimeError: The NVIDIA driver on your system is too old (found version 12040)."),
    ),
    Ill(
        "old_card_without_code_in_torch",
        "GPU",
        "no code for this card (compute capability 7.0)",
        '"torch>=2.7,<2.8"',
        gpu_machine(
            device="Tesla V100",
            capability=[7, 0],
            cuda_error="RuntimeError: CUDA error: no kernel image is available for execution on the device",
        ),
    ),
    Ill(
        "gpu_memory_taken",
        "GPU",
        "taken by other programs",
        "nvidia-smi",
        gpu_machine(cuda_error="OutOfMemoryError: CUDA out of memory."),
    ),
    Ill(
        "gpu_file_closed_to_the_user",
        "GPU",
        "/dev/nvidia0 may not be opened",
        "usermod -aG video",
        {"gpu_devices": {"/dev/nvidia0": False}, "gpu": probe({}, 9, "Insufficient permissions")},
    ),
    Ill(
        "driver_updated_while_loaded",
        "GPU",
        "updated while it was loaded",
        "Restart",
        {"gpu": probe({}, 18, "Failed to initialize NVML: Driver/library version mismatch")},
    ),
    Ill(
        "driver_not_loaded",
        "GPU",
        "does not answer",
        "modprobe nvidia",
        {"gpu": probe({}, 9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")},
    ),
    Ill("dtype_measurement_crashes", "CPU", "measurement of the CPU failed", "reinstall", {"cpu_dtype": probe({}, -4)}),
    Ill(
        "weights_damaged",
        "Weights",
        "shard.safetensors is damaged",
        "--no-deps",
        {"checkpoints": {"small": "shard.safetensors is damaged"}},
    ),
    Ill("weights_missing", "Weights", "No checkpoint", "--no-deps", {"checkpoints": {}}),
    Ill("napari_without_qt", "napari", "no Qt", "[desktop]", {"packages": without(HEALTHY.packages, "PyQt5")}),
    Ill(
        "napari_of_another_version",
        "napari",
        "0.10.1",
        "napari>=0.9,<0.10",
        {"packages": {**HEALTHY.packages, "napari": "0.10.1"}},
    ),
    Ill(
        "qt_that_breaks_docks",
        "napari",
        "6.11.1",
        "!=6.11.1",
        {"packages": {**HEALTHY.packages, "PyQt6-Qt6": "6.11.1"}},
    ),
    Ill(
        "qt_api_names_a_missing_qt",
        "napari",
        "asks for pyside6",
        "unset QT_API",
        {"environment": {"DISPLAY": ":0", "QT_API": "pyside6"}},
    ),
    Ill(
        "xcb_libraries_missing",
        "Screen",
        "libxcb-icccm.so.4, libxcb-xinerama.so.0",
        "sudo apt-get install libxcb-icccm4 libxcb-xinerama0",
        {
            "missing_libraries": ("libxcb-icccm.so.4", "libxcb-xinerama.so.0"),
            "qt": probe({"binding": "pyqt5", "qt": "5.15"}, -6, 'Could not load the Qt platform plugin "xcb"'),
        },
    ),
    Ill("opengl_library_missing", "Screen", "libGL.so.1", "sudo apt-get install libgl1", {"qt": probe(QT_FAILED, 3)}),
    Ill(
        "opengl_library_missing_without_apt",
        "Screen",
        "libGL.so.1",
        "your system's packages",
        {"apt": False, "qt": probe(QT_FAILED, 3)},
    ),
    Ill(
        "screen_does_not_answer",
        "Screen",
        "':5' does not answer",
        "ssh -X",
        {
            "environment": {"DISPLAY": ":5"},
            "qt": probe({"binding": "pyqt5"}, -6, "qt.qpa.xcb: could not connect to display :5"),
        },
    ),
    Ill("qt_hangs", "Screen", "did not answer", "xdpyinfo", {"qt": probe({"binding": "pyqt5"}, None)}),
    Ill(
        "opencv_brings_its_own_qt",
        "Screen",
        "opencv-python brings a Qt",
        "opencv-python-headless",
        {
            "packages": {**HEALTHY.packages, "opencv-python": "4.12"},
            "qt": probe({"binding": "pyqt5"}, -6, 'Could not load the Qt platform plugin "xcb" in "/cv2/qt/plugins"'),
        },
    ),
    Ill(
        "plugin_path_of_another_qt",
        "Screen",
        "another Qt",
        "unset QT_PLUGIN_PATH",
        {"environment": {"DISPLAY": ":0", "QT_PLUGIN_PATH": "/opt/qt"}, "qt": probe({"binding": "pyqt5"}, -6)},
    ),
    Ill(
        "font_cache_damaged",
        "Fonts",
        "crashes while it reads the fonts",
        "rm -rf ~/.cache/fontconfig && fc-cache -r -f",
        {"qt": probe({"binding": "pyqt5", "qt": "5.15", "platform": "xcb"}, -11)},
    ),
    Ill("no_fonts", "Fonts", "no fonts", "fonts-dejavu-core", {"qt": probe({**QT, "fonts": 0})}),
    Ill(
        "wayland_without_glx",
        "OpenGL",
        "Wayland",
        "export QT_QPA_PLATFORM=xcb",
        {
            "environment": {"WAYLAND_DISPLAY": "wayland-0", "XDG_SESSION_TYPE": "wayland"},
            "qt": probe({**QT, "platform": "wayland", "gl": False, "error": "GLError: no valid context"}),
        },
    ),
    Ill(
        "pyopengl_told_another_platform",
        "OpenGL",
        "PYOPENGL_PLATFORM=egl",
        "unset PYOPENGL_PLATFORM",
        {"environment": {"DISPLAY": ":0", "PYOPENGL_PLATFORM": "egl"}, "qt": probe({**QT, "gl": False})},
    ),
    Ill(
        "conda_cxx_library_too_old",
        "OpenGL",
        "newer C++ library",
        "libstdcxx-ng",
        {"qt": probe({**QT, "gl": False}, 0, "MESA-LOADER: failed to open swrast: version `GLIBCXX_3.4.30' not found")},
    ),
    Ill(
        "graphics_driver_crashes",
        "OpenGL",
        "driver crashes",
        "LIBGL_ALWAYS_SOFTWARE=1",
        {"qt": probe({key: QT[key] for key in ("binding", "qt", "platform", "fonts")}, -11)},
    ),
    Ill("no_opengl_driver", "OpenGL", "No OpenGL context", "libgl1-mesa-dri", {"qt": probe({**QT, "gl": False})}),
    Ill(
        "shared_memory_of_a_container",
        "Shared memory",
        "16 MiB left",
        "--shm-size",
        {"shared_memory": Place("shared memory", "/dev/shm", True, 16 * 1024**2)},
    ),
    Ill(
        "cache_cannot_be_written",
        "Cache",
        "cannot be written",
        "chown",
        {"places": (Place("cache", "/home/ada/.cache/napari-relay", False, 50 * GIB),)},
    ),
    Ill(
        "temporary_folder_closed",
        "Temporary files",
        "cannot be written",
        "TMPDIR",
        {"places": (Place("temporary files", "/tmp", False, GIB),)},
    ),
    Ill(
        "disk_full",
        "This folder",
        "too little",
        "Free some space",
        {"places": (Place("this folder", "/data", True, 1024**2),)},
    ),
]


def finding(facts: Facts, topic: str) -> Finding:
    return next(found for found in examine(facts) if found.topic == topic)


@pytest.mark.parametrize("ill", BROKEN, ids=lambda ill: ill.name)
def test_broken_machine_is_named_with_its_fix(ill: Ill) -> None:
    found = finding(replace(HEALTHY, **ill.changes), ill.topic)  # type: ignore[arg-type]

    assert found.verdict is Verdict.BROKEN
    assert ill.says in found.what
    assert ill.fix in found.fix


def test_healthy_machine_has_nothing_broken_and_nothing_to_fix() -> None:
    found = examine(HEALTHY)

    assert [f for f in found if f.verdict is not Verdict.OK or f.fix] == []


def test_working_gpu_is_named_with_driver_and_build() -> None:
    found = finding(replace(HEALTHY, torch=probe(GOOD_GPU), gpu=probe({"cards": [CARD]})), "GPU")

    assert found.verdict is Verdict.OK
    assert "RTX A4000, driver 580.65.06, CUDA 13.0" in found.what


@pytest.mark.parametrize(
    ("topic", "changes", "says"),
    [
        ("Screen", {"environment": {}, "qt": probe({**QT, "platform": "offscreen"})}, "xvfb-run"),
        (
            "GPU",
            {**gpu_machine(), "environment": {"DISPLAY": ":0", "CUDA_VISIBLE_DEVICES": ""}},
            "CUDA_VISIBLE_DEVICES",
        ),
        ("napari", {"packages": without(HEALTHY.packages, "napari", "PyQt5")}, "[desktop]"),
        ("This folder", {"places": (Place("this folder", "/slides", False, GIB),)}, "--project"),
        ("Cache", {"places": (Place("cache", "/c", True, 2 * GIB),)}, "NAPARI_RELAY_CACHE_DIR"),
        ("Memory", {"memory_bytes": 2 * GIB}, "little"),
        ("OpenGL", {"qt": probe({**QT, "renderer": "llvmpipe (LLVM 15)"})}, "drawn by the CPU"),
    ],
)
def test_uncomfortable_machine_gets_a_note_and_works(topic: str, changes: dict[str, object], says: str) -> None:
    facts = replace(HEALTHY, **changes)  # type: ignore[arg-type]

    found = finding(facts, topic)

    assert found.verdict is Verdict.NOTE
    assert says in found.what + found.fix
    assert not [f for f in examine(facts) if f.verdict is Verdict.BROKEN]


def run_doctor(monkeypatch: pytest.MonkeyPatch, facts: Facts, *words: str) -> int:
    monkeypatch.setattr(command, "gather", lambda: facts)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *words])
    return int(stop.value.code or 0)


def test_exit_code_is_1_only_when_something_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_doctor(monkeypatch, HEALTHY) == 0
    assert run_doctor(monkeypatch, replace(HEALTHY, memory_bytes=GIB)) == 0
    assert run_doctor(monkeypatch, replace(HEALTHY, checkpoints={})) == 1


def test_json_holds_every_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_doctor(monkeypatch, replace(HEALTHY, checkpoints={}), "--json")

    report = json.loads(capsys.readouterr().out)
    assert report["broken"] == 1
    assert {f["topic"] for f in report["findings"]} >= {"Python", "torch", "GPU", "OpenGL", "Cache"}
    assert next(f for f in report["findings"] if f["topic"] == "Weights")["verdict"] == "broken"


def test_printed_report_shows_the_fix_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_doctor(monkeypatch, replace(HEALTHY, missing_libraries=("libEGL.so.1",)))

    assert "fix: sudo apt-get install libegl1\n" in capsys.readouterr().out
