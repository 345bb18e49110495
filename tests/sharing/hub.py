"""A small server that answers as the Hugging Face Hub does, and the layout of its cache."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "4" * 40
"""The commit at which a repository is, whatever it holds."""


@dataclass
class Repository:
    """What the Hub has under one name.

    Attributes:
        files: name -> content.
        revisions: names under which its one commit is known.
        gated: whether its files are for those alone whom the owner lets in.
    """

    files: Mapping[str, bytes]
    revisions: tuple[str, ...] = ("main", "v1.0", COMMIT)
    gated: bool = False


@dataclass
class FakeHub:
    """The Hub: repositories by name, and what was asked of it.

    Attributes:
        repositories: user/name -> what it has.
        address: of the server.
        asked: method and path of each request, in order.
    """

    repositories: dict[str, Repository]
    address: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def fetched(self) -> list[str]:
        """The files whose content was sent."""
        gets = [line.split()[1] for line in self.asked if line.startswith("GET")]
        return [path.rpartition("/")[2] for path in gets if "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 6:
            self._api("/".join(parts[2:4]), parts[4], "/".join(parts[5:]))
        elif len(parts) == 5 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[4])
        else:
            self._send(404, b"{}")

    def _api(self, name: str, what: str, revision: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            # the Hub does not tell strangers what is private and what is not there
            self._send(401, b"{}", {"X-Error-Message": "Invalid username or password."})
        elif revision not in repository.revisions:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif what == "revision":
            found = {"_id": "1", "id": name, "sha": COMMIT, "private": False, "tags": []}
            siblings = [{"rfilename": file} for file in repository.files]
            self._send(200, json.dumps({**found, "siblings": siblings}).encode())
        else:
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": _etag(content)}
                for file, content in repository.files.items()
            ]
            self._send(200, json.dumps(tree).encode())

    def _file(self, name: str, file: str) -> None:
        repository = self.hub.repositories[name]
        if repository.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        content = repository.files[file]
        self._send(200, content, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": COMMIT})

    def _send(self, code: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving(repositories: dict[str, Repository]) -> Iterator[FakeHub]:
    """Serve repositories on loopback for a while."""
    hub = FakeHub(repositories)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lay_out_cache(cache: Path, name: str, folder: Path, revision: str = "main") -> Path:
    """Write a folder into a cache as the Hub's library lays it out; return the snapshot.

    The layout is that of version 1.0 of the library: blobs by hash, links to them by name in the
    folder of a commit, and a file for each branch that says where it is.
    """
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    for place in (home / "blobs", home / "refs", snapshot):
        place.mkdir(parents=True)
    (home / "refs" / revision).write_text(COMMIT)
    for file in folder.iterdir():
        blob = home / "blobs" / _etag(file.read_bytes())
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot
