"""A proxy before a server that speaks S3: counts what passes, refuses and cuts answers as told."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Proxy(ThreadingHTTPServer):
    """Stands before the server: counts bytes, refuses, delays and cuts answers as told, by a seeded generator.

    Parameters
    ----------
    port : int
        Of the server.
    refuse : float
        Share of requests that are answered by 503.
    cut : float
        Share of answers that break off; one without a body never comes, though what it answers was carried out.
    slow : float
        Share of answers whose first byte is `delay` seconds late.
    delay : float
        How late.
    """

    daemon_threads = True

    def __init__(self, port: int, refuse: float = 0.0, cut: float = 0.0, slow: float = 0.0, delay: float = 0.3) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.refuse, self.cut, self.slow, self.delay = port, refuse, cut, slow, delay
        self.random, self.lock = random.Random(7), threading.Lock()
        self.sent: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.methods: Counter[str] = Counter()
        self.refused = self.dropped = self.lost = self.delayed = self.received = 0
        self.writes_left: int | None = None  # so many are passed on, and none after them

    def chance(self, share: float) -> bool:
        with self.lock:
            return self.random.random() < share

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body of an answer are 40 ms apart
    server: Proxy

    def do_GET(self) -> None:
        self._pass_on("GET")

    def do_HEAD(self) -> None:
        self._pass_on("HEAD")

    def do_PUT(self) -> None:
        self._pass_on("PUT")

    def do_POST(self) -> None:
        self._pass_on("POST")

    def do_DELETE(self) -> None:
        self._pass_on("DELETE")

    def _is_full(self, method: str) -> bool:
        server = self.server
        if method != "PUT" or server.writes_left is None:
            return False
        server.writes_left -= 1
        return server.writes_left < 0

    def _pass_on(self, method: str) -> None:
        server = self.server
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        refused = 403 if self._is_full(method) else 503 if server.chance(server.refuse) else 0
        if refused:
            server.refused += 1
            self.send_response(refused)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        server.received += len(sent)
        if server.slow and server.chance(server.slow):
            server.delayed += 1
            time.sleep(server.delay)
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream)
        upstream.request(method, self.path, body=sent or None, headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        if not body and method != "HEAD" and server.chance(server.cut):
            server.lost += 1
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        key = self.path.split("?")[0]
        server.methods[method] += 1
        server.requests[key] += 1
        server.sent[key] += len(body)
        if body and server.chance(server.cut):
            server.dropped += 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def uploaded(client: Any, folder: Path, bucket: str) -> dict[str, int]:
    """Upload a folder; key -> size."""
    client.create_bucket(Bucket=bucket)
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            client.put_object(Bucket=bucket, Key=f"images/{key}", Body=path.read_bytes())
            found[key] = path.stat().st_size
    return found
