"""A server that gives ranges of the files of a folder, as every object store does."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class RangesServer:
    """Serves the files of `folder` on the loopback interface while it is entered as a context.

    Attributes
    ----------
    sent : int
        Bytes of files sent so far.
    """

    def __init__(self, folder: Path) -> None:
        self.sent = 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, folder))

    def url(self, name: str) -> str:
        """Address of a file of the folder."""
        return f"http://127.0.0.1:{self._server.server_port}/files/{name}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(owner: RangesServer, folder: Path) -> type[http.server.BaseHTTPRequestHandler]:
    class Ranges(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            path = self._file()
            self.send_response(200 if path.is_file() else 404)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
            self.end_headers()

        def do_GET(self) -> None:
            content = self._file().read_bytes()
            start, end = (int(edge) for edge in self.headers["Range"].removeprefix("bytes=").split("-"))
            part = content[start : end + 1]
            owner.sent += len(part)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def _file(self) -> Path:
            return folder / self.path.rpartition("/")[2]

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Ranges
