"""What the doctor knows about a machine, and what it says about it. Plain values: a test writes a sick machine down."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How bad a finding is; only BROKEN makes the program exit with 1."""

    OK = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `fix` is a command to run or a thing to do."""

    topic: str
    verdict: Verdict
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a process of its own made of a risky thing.

    values : what it printed as JSON; empty when it did not get so far.
    returncode : exit code; negative is the number of the signal that killed it; None when it ran out of time.
    stderr : the end of what it wrote there.
    """

    values: dict[str, object] = field(default_factory=dict)
    returncode: int | None = 0
    stderr: str = ""

    @property
    def finished(self) -> bool:
        return self.returncode == 0

    @property
    def words(self) -> str:
        """All it said, for looking up known messages."""
        return f"{self.values.get('error', '')}\n{self.stderr}"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that the program uses. `free_bytes` is None where it cannot be known."""

    purpose: str
    path: str
    writable: bool
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine.

    packages : name -> installed version. environment : the variables that matter here, where set.
    torch : import of torch, torchvision, timm; device and a small computation on it.
    gpu : `nvidia-smi`; gpu_devices : device files of NVIDIA cards, whether they can be opened.
    qt : a QApplication, its fonts and an OpenGL context.
    missing_libraries : what the loader does not find for Qt's screen plugin (Linux).
    cpu_dtypes : dtype -> milliseconds of the encoder's own measurement; `cpu_dtype` is the chosen one.
    checkpoints : name -> "" or what is wrong with it.
    """

    system: str
    machine: str
    python: tuple[int, int, int]
    executable: str
    pointer_bits: int
    packages: dict[str, str]
    environment: dict[str, str]
    torch: Probe
    gpu: Probe
    qt: Probe
    gpu_devices: dict[str, bool] = field(default_factory=dict)
    missing_libraries: tuple[str, ...] = ()
    apt: bool = False
    places: tuple[Place, ...] = ()
    shared_memory: Place | None = None
    memory_bytes: int | None = None
    sqlite: tuple[str, bool] = ("3.40.0", True)
    cpu_dtype: Probe = Probe()
    checkpoints: dict[str, str] = field(default_factory=dict)
