"""A Hugging Face Hub on this machine: the three requests by which huggingface_hub downloads a repository."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = hashlib.sha1(b"first").hexdigest()


class LocalHub:
    """Repositories by name, each a folder; every one has the revision main and its commit.

    Attributes:
        asked: paths of all requests.
        files: what was sent.
    """

    def __init__(self, endpoint: str):
        self.endpoint = endpoint
        self.folders: dict[str, Path] = {}
        self.commits: dict[str, str] = {}
        self.asked: list[str] = []
        self.files: list[str] = []

    def put(self, repo: str, folder: Path, commit: str = COMMIT) -> None:
        self.folders[repo], self.commits[repo] = folder, commit

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(path)
        parts = path.partition("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        repo, rest = ("/".join(parts[2:4]), parts[4:]) if is_api else ("/".join(parts[:2]), parts[2:])
        if repo not in self.folders:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        commit = self.commits[repo]
        kind, revision, *names = rest or ["revision", "main"]
        if revision not in ("main", commit):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = sorted(file for file in self.folders[repo].rglob("*") if file.is_file())
        places = {str(file.relative_to(self.folders[repo])): file for file in files}
        if kind == "revision":
            siblings = [{"rfilename": name} for name in places]
            found: Any = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            return 200, {}, json.dumps(found).encode()
        if kind == "tree":
            entries = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": _digest(file)}
                for name, file in places.items()
            ]
            return 200, {}, json.dumps(entries).encode()
        if (name := "/".join(names)) not in places:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        self.files.append(name)
        return 200, {"ETag": f'"{_digest(places[name])}"', "X-Repo-Commit": commit}, places[name].read_bytes()


def _digest(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@contextmanager
def serving() -> Iterator[LocalHub]:
    """A hub that answers until the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = LocalHub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
