"""A Hugging Face Hub on loopback, as much of it as a snapshot download asks for.

Facts of the protocol: huggingface_hub's `hf_api.py` (model info, tree) and `file_download.py`
(`X-Repo-Commit`, `ETag`, `X-Error-Code`, ranges).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serve `repositories`: name -> directory. `requests` records method and path of each."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.requests: list[str] = []
        self.stall_after: int | None = None  # bytes of a weights file, then silence
        self.stalled = threading.Event()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """The address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def downloads(self) -> set[str]:
        """Names of the files that were fetched."""
        return {
            r.rsplit("/", 1)[1] for r in self.requests if r.startswith("GET") and "/resolve/" in r
        }


@contextmanager
def serve(repositories: dict[str, Path]) -> Iterator[HubServer]:
    """Run a server for the enclosed block."""
    server = HubServer(repositories)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        is_api = path.startswith("/api/models/")
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        directory = self.server.repositories.get(name)
        if directory is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif is_api and "/tree/" in path:
            self._send_json([self._entry(file) for file in sorted(directory.iterdir())])
        elif is_api:
            siblings = [{"rfilename": file.name} for file in sorted(directory.iterdir())]
            self._send_json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})
        else:
            self._send_file(directory / path.rsplit("/", 1)[1])

    @staticmethod
    def _entry(file: Path) -> dict[str, Any]:
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": oid}

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if not wanted:
            self._send(200, content, headers)
            return
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        stall_after = self.server.stall_after
        if stall_after is not None and len(body) > stall_after:
            self.wfile.write(body[:stall_after])
            self.wfile.flush()
            self.server.stalled.set()
            self.server.closing.wait(60)
            self.close_connection = True
            return
        self.wfile.write(body)
