"""What holds for the whole suite: own settings folders, no network, and which slow tests run.

The environment is set before anything imports napari, which reads its settings folder once, at import.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
GUARD = Path(__file__).parent / "network_guard"
SCRATCH = Path(tempfile.mkdtemp(prefix="napari-relay-tests-"))
NETWORK_LOG = SCRATCH / "network.log"


def _prepare_environment() -> None:
    for variable, folder in {
        "XDG_CONFIG_HOME": "config",
        "XDG_CACHE_HOME": "cache",
        "XDG_DATA_HOME": "data",
        "XDG_STATE_HOME": "state",
    }.items():
        (SCRATCH / folder).mkdir()
        os.environ[variable] = str(SCRATCH / folder)
    if "XDG_RUNTIME_DIR" not in os.environ:
        (SCRATCH / "runtime").mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(SCRATCH / "runtime")
    os.environ["NAPARI_CONFIG"] = str(SCRATCH / "config" / "napari" / "settings.yaml")
    os.environ["NAPARI_RELAY_TEST_NETWORK_LOG"] = str(NETWORK_LOG)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(GUARD), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(ROOT / "training")]
    )
    # Every process of a test on its own two threads, one where tests run side by side: more only makes them wait for
    # each other.
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if os.environ.get("QT_API") == "pyqt6":
        # The PyQt6 run reads the other packages from an environment that holds PyQt5 too; nothing may use it.
        sys.modules["PyQt5"] = None  # type: ignore[assignment]
    NETWORK_LOG.touch()


_prepare_environment()
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
if "sitecustomize" not in sys.modules or not hasattr(sys.modules["sitecustomize"], "NetworkBlockedError"):
    sys.path.insert(0, str(GUARD))
    sys.modules.pop("sitecustomize", None)
    import sitecustomize  # noqa: F401

    sys.path.remove(str(GUARD))


# How fast an example runs says nothing on a busy machine; in CI every run tries the same examples.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow-part",
        metavar="K/N",
        default="none",
        help="slow tests to run beside the fast ones: none, all, K/N (part K of N, counted from 0), or "
        "commit (a tenth, chosen by the hash of the current commit)",
    )


def slow_part(option: str) -> tuple[int, int] | None:
    """(K, N) of the option; None for no slow tests at all."""
    if option == "none":
        return None
    if option == "all":
        return 0, 1
    if option == "commit":
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        return int(answer.stdout.strip()[:8] or "0", 16) % 10, 10
    try:
        part, parts = (int(number) for number in option.split("/"))
    except ValueError:
        raise pytest.UsageError(f"--slow-part {option}: write none, all, commit or K/N (3/10).") from None
    if not 0 <= part < parts:
        raise pytest.UsageError(f"--slow-part {option}: the part is counted from 0 to {parts - 1}.")
    return part, parts


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = slow_part(config.getoption("--slow-part"))
    if "slow" in config.option.markexpr:
        return

    def runs(item: pytest.Item) -> bool:
        if item.get_closest_marker("slow") is None:
            return True
        return chosen is not None and zlib.crc32(item.nodeid.encode()) % chosen[1] == chosen[0]

    left_out = [item for item in items if not runs(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if runs(item)]


@pytest.fixture
def network_attempts() -> Callable[[], list[str]]:
    """Returns the attempts to use the network so far, and forgets them (so that the test may make some)."""

    def take() -> list[str]:
        attempts = NETWORK_LOG.read_text(encoding="utf-8").splitlines()
        os.truncate(NETWORK_LOG, 0)
        return attempts

    return take


@pytest.fixture(autouse=True)
def _no_network(network_attempts: Callable[[], list[str]]) -> Iterator[None]:
    """Fails a test that reached for the network, here or in a child process, even if the error was caught."""
    yield
    attempts = network_attempts()
    if attempts:
        pytest.fail("The network was used:\n" + "\n".join(attempts), pytrace=False)


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of tiny real images."""
    return ROOT / "sample_data"
