"""A model hub on loopback: it lists the files of folders, serves them, and notes whose content was asked for."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.loopback import Loopback, Reply, serving


@dataclass
class SmallHub:
    """What it has: `repos` are folders by their repository, each at one commit."""

    repos: dict[str, Path]
    revision: str
    listed: dict[str, str] = field(default_factory=dict)
    """Digests that it gives for files, over the true ones."""
    _asked: Loopback | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._asked is not None
        return self._asked.url

    @property
    def fetched(self) -> list[str]:
        """The names of the files whose content was asked for, in order."""
        assert self._asked is not None
        paths = [urlsplit(each).path for each in self._asked.asked]
        return [path.partition(f"/resolve/{self.revision}/")[2] for path in paths if "/resolve/" in path]

    @contextmanager
    def running(self) -> Iterator["SmallHub"]:
        """Serves until the block ends."""
        with serving(self._answer) as self._asked:
            yield self

    def _answer(self, target: str) -> Reply:
        path = unquote(urlsplit(target).path)
        commit = {"X-Repo-Commit": self.revision}
        for repo, folder in self.repos.items():
            files = {each.relative_to(folder).as_posix(): each.read_bytes() for each in _files(folder)}
            if path == f"/api/models/{repo}/revision/{self.revision}":
                siblings = [self._sibling(name, data) for name, data in files.items()]
                said = {"id": repo, "modelId": repo, "sha": self.revision, "siblings": siblings}
                return 200, {"Content-Type": "application/json", **commit}, json.dumps(said).encode()
            if path == f"/api/models/{repo}/tree/{self.revision}":
                tree = [{"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40} for name in files]
                return 200, {"Content-Type": "application/json", **commit}, json.dumps(tree).encode()
            name = path.removeprefix(f"/{repo}/resolve/{self.revision}/")
            if name in files:
                return 200, {"ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"', **commit}, files[name]
        return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not here"}, b"{}"

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        plain = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
        if not name.endswith((".safetensors", ".bin", ".onnx")):
            return plain
        digest = self.listed.get(name, hashlib.sha256(data).hexdigest())
        return {**plain, "lfs": {"sha256": digest, "oid": digest, "size": len(data), "pointerSize": 134}}


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
