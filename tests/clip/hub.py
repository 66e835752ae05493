"""A small hub on the loopback: the answers that huggingface_hub's `snapshot_download` asks for."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, each a folder of files; what is asked of it is kept."""

    repositories: Mapping[str, Path]
    address: str = ""
    sent: list[str] = field(default_factory=list)  # repository/file whose contents went out
    cut: set[str] = field(default_factory=set)  # files of which only the first half is sent, however often


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Runs a hub in a thread for as long as the context lasts."""
    hub = Hub(repositories)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = self.path.partition("?")[0]
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/\w+", path):
                return self.listing(*match.groups())
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
                return self.file(*match.groups())
            return self.missing("EntryNotFound")

        def listing(self, repository: str, kind: str):
            if repository not in hub.repositories:
                return self.missing("RepoNotFound")
            files = sorted(hub.repositories[repository].iterdir())
            if kind == "revision":
                siblings = [{"rfilename": file.name} for file in files]
                answer = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings}
            else:
                answer = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": self.tag(file)}
                    for file in files
                ]
            return self.answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def file(self, repository: str, name: str):
            file = hub.repositories.get(repository, Path("nowhere")) / name
            if not file.is_file():
                return self.missing("EntryNotFound")
            data = file.read_bytes()
            headers = {"ETag": f'"{self.tag(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            place = f"{repository}/{name}"
            if self.command == "GET":
                hub.sent.append(place)
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(span[1]) if span else 0
            if span:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            end = len(data) // 2 if place in hub.cut else len(data)
            return self.answer(206 if span else 200, data[start:], headers, max(end - start, 0))

        def tag(self, file: Path) -> str:
            return hashlib.sha1(file.read_bytes()).hexdigest()

        def missing(self, code: str):
            return self.answer(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"})

        def answer(self, status: int, data: bytes, headers: Mapping[str, str], most: int | None = None):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:most])
            if most is not None and most < len(data):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
