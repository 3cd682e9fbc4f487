"""A stand-in for huggingface.co that has one model, and the ways in which the real one fails."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from voice import WHISPER_NANO

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def nano() -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in WHISPER_NANO.iterdir()}
    return files | {"README.md": b"not wanted", "pytorch_model.bin": b"not wanted"}


@dataclass
class Hub:
    """A stand-in for huggingface.co: one repository, and the ways in which the real one fails."""

    repository: str = "Systran/faster-whisper-tiny"
    commit: str = COMMIT
    files: dict[str, bytes] = field(default_factory=nano)
    main: str = "model.bin"
    """The file on which `cut_at`, `stall_at`, `lie` and `cdn` work."""
    cut_at: int | None = None
    """Byte after which the next connection breaks."""
    stall_at: int | None = None
    """Byte after which the next connection stays silent."""
    refuse: tuple[int, str] | None = None
    refuse_files: list[int] = field(default_factory=list)
    ranges: bool = True
    sizes: bool = True
    """Whether listings say how long files are."""
    lie: bytes | None = None
    page: bytes | None = None
    token: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    tokens_at_cdn: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    cdn: str = ""

    def listing(self) -> bytes:
        siblings = []
        for name, content in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {"rfilename": name, "size": len(content), "blobId": git}
            if name.endswith((".bin", ".gguf")):
                sha256 = hashlib.sha256(content).hexdigest()
                entry |= {"blobId": "0" * 40, "lfs": {"sha256": sha256, "size": len(content)}}
            if not self.sizes:
                entry = {"rfilename": name}
            siblings.append(entry)
        return json.dumps(
            {"id": self.repository, "sha": self.commit, "siblings": siblings}
        ).encode()

    def ranges_of(self, name: str) -> list[str | None]:
        return [asked for file, asked in self.asked if file == name]


class _Answer(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.agents.add(self.headers["user-agent"])
        if hub.refuse is not None:
            return self.reply(hub.refuse[0], b"{}", {"X-Error-Code": hub.refuse[1]})
        if path.startswith("/cdn/"):
            hub.tokens_at_cdn.append(self.headers["authorization"])
            return self.send_file(path.removeprefix("/cdn/"))
        if hub.token and self.headers["authorization"] != f"Bearer {hub.token}":
            return self.reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if hub.page is not None:
            return self.reply(200, hub.page)
        if path.startswith(f"/api/models/{hub.repository}/revision/"):
            return self.reply(200, hub.listing())
        prefix = f"/{hub.repository}/resolve/{hub.commit}/"
        if not path.startswith(prefix):
            return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        name = path.removeprefix(prefix)
        if hub.cdn and name == hub.main:
            return self.reply(302, b"", {"Location": f"{hub.cdn}/cdn/{name}"})
        return self.send_file(name)

    def send_file(self, name: str) -> None:
        hub = self.hub
        content = hub.lie if hub.lie is not None and name == hub.main else hub.files[name]
        asked = self.headers["range"]
        hub.asked.append((name, asked))
        if hub.refuse_files:
            return self.reply(hub.refuse_files.pop(0), b"busy")
        start = int(asked[6:-1]) if asked and hub.ranges else 0
        body = content[start:]
        self.send_response(206 if asked and hub.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if name == hub.main and hub.cut_at is not None:
            self.wfile.write(body[: hub.cut_at - start])
            hub.cut_at, self.close_connection = None, True
        elif name == hub.main and hub.stall_at is not None:
            self.wfile.write(body[: hub.stall_at - start])
            self.wfile.flush()
            hub.stall_at, self.close_connection = None, True
            hub.released.wait(20)
        else:
            self.wfile.write(body)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is what some of these tests do."""


@contextmanager
def serving() -> Iterator[Hub]:
    """The hub at `url` while the block runs."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), type("Bound", (_Answer,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
