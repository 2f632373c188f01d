"""The doctor's look at the real machine, and its probes when they crash, hang or talk nonsense."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from napari_relay.cli.doctor import probes
from napari_relay.cli.doctor.command import examine
from napari_relay.cli.doctor.gather import gather, look_at


def test_crash_leaves_what_was_known_before_it() -> None:
    script = "import json, os; print(json.dumps({'binding': 'pyqt5'}), flush=True); os.abort()"

    probe = probes.run_script(script, timeout_s=30)

    assert probe.returncode == -signal.SIGABRT
    assert probe.values == {"binding": "pyqt5"}
    assert not probe.finished


def test_hanging_probe_is_stopped() -> None:
    script = "import json, time; print(json.dumps({'torch': '2.14'}), flush=True); time.sleep(60)"

    probe = probes.run_script(script, timeout_s=2)

    assert probe.returncode is None
    assert probe.values == {"torch": "2.14"}


def test_other_output_is_ignored_and_stderr_kept() -> None:
    script = "import sys; print('hello'); print('{not json'); print('bad news', file=sys.stderr); sys.exit(3)"

    probe = probes.run_script(script, timeout_s=30)

    assert (probe.values, probe.returncode) == ({}, 3)
    assert "bad news" in probe.words


def test_machine_without_nvidia_smi_says_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert probes.run_nvidia_smi().values == {"absent": True}


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_cards_are_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(tmp_path, 'echo "Tesla V100-SXM2-16GB, 535.54.03, 16384, 16000, 7.0"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    (card,) = probes.run_nvidia_smi().values["cards"]  # type: ignore[misc]

    assert card["name"] == "Tesla V100-SXM2-16GB"
    assert (card["driver_version"], card["compute_cap"]) == ("535.54.03", "7.0")


def test_error_of_nvidia_smi_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvidia_smi(tmp_path, "echo 'Driver/library version mismatch'; exit 18")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    probe = probes.run_nvidia_smi()

    assert probe.returncode == 18
    assert "mismatch" in probe.words


@pytest.mark.skipif(sys.platform != "linux", reason="ldd is Linux's")
def test_no_library_of_this_python_is_missing() -> None:
    assert probes.missing_libraries([sys.executable, "/no/such/file"]) == ()


def test_folder_that_does_not_exist_yet_counts_as_its_parent(tmp_path: Path) -> None:
    place = look_at("cache", tmp_path / "a" / "b")

    assert place.writable
    assert place.free_bytes
    assert not (tmp_path / "a").exists()


def test_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert not look_at("cache", tmp_path / "file" / "b").writable


@pytest.mark.slow
def test_this_machine_is_looked_at_in_full() -> None:
    facts = gather()

    assert facts.packages["torch"]
    assert facts.torch.values["torch"]
    assert facts.cpu_dtype.values["chosen"] in ("float32", "bfloat16")
    assert {f.topic for f in examine(facts)} >= {"Python", "torch", "GPU", "CPU", "Weights", "Screen", "OpenGL"}
