"""Keeps every Python process of the test suite off the network.

Python imports `sitecustomize` at start, so with this folder on PYTHONPATH the processes that tests start
(workers, the command line, dask) are guarded like the test process itself, where conftest imports it. An audit
hook cannot be taken out again and sees every connection and every name look-up that goes through Python's socket
module.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from typing import Any

LOG_VARIABLE = "NAPARI_RELAY_TEST_NETWORK_LOG"
LOCAL_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}
LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class NetworkBlockedError(OSError):
    """A test tried to leave this machine."""


def is_local(host: object) -> bool:
    """Whether `host` (a name, a literal address, or None) needs nothing beyond loopback."""
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name.lower() in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _target(event: str, args: tuple[Any, ...]) -> object:
    """The host that an audit event reaches for; None when it stays on this machine by its kind."""
    if event in LOOK_UPS:
        return args[0]
    if event == "socket.getnameinfo":
        return args[0][0]
    sock, address = args[0], args[1]
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return None
    return address[0]


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in LOOK_UPS and event not in SENDING and event != "socket.getnameinfo":
        return
    host = _target(event, args)
    if is_local(host):
        return
    line = f"{event} {host!r} in process {os.getpid()}: {' '.join(sys.argv)[:200]}"
    log = os.environ.get(LOG_VARIABLE)
    if log:
        with open(log, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    raise NetworkBlockedError(f"The tests must not use the network: {line}")


sys.addaudithook(_audit)
