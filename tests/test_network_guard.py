"""The suite stays on this machine: connections and look-ups fail, in this process and in those it starts."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Attempts = Callable[[], list[str]]


def test_connection_is_refused_and_remembered(network_attempts: Attempts) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock, pytest.raises(OSError, match="network"):
        sock.connect(("192.0.2.1", 80))

    assert [line.split()[:2] for line in network_attempts()] == [["socket.connect", "'192.0.2.1'"]]


@pytest.mark.parametrize("look_up", [socket.gethostbyname, lambda host: socket.getaddrinfo(host, 443)])
def test_name_look_up_is_refused(look_up: Callable[[str], object], network_attempts: Attempts) -> None:
    with pytest.raises(OSError, match="network"):
        look_up("example.org")

    assert len(network_attempts()) == 1


def test_datagram_is_refused(network_attempts: Attempts) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="network"):
        sock.sendto(b"x", ("192.0.2.1", 53))

    assert len(network_attempts()) == 1


def test_child_process_is_guarded_too(network_attempts: Attempts) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 80), 1)"],
        capture_output=True,
        text=True,
    )

    assert child.returncode == 1
    assert "must not use the network" in child.stderr
    assert len(network_attempts()) == 1


def test_loopback_and_unix_sockets_are_allowed(tmp_path: Path, network_attempts: Attempts) -> None:
    with socket.create_server(("localhost", 0)) as server:
        socket.create_connection(("127.0.0.1", server.getsockname()[1])).close()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
    asyncio.run(asyncio.sleep(0))

    assert network_attempts() == []


def test_settings_folders_are_the_suites_own() -> None:
    from napari import settings

    assert "napari-relay-tests-" in os.environ["XDG_CONFIG_HOME"]
    assert "napari-relay-tests-" in str(settings.get_settings().config_path)
