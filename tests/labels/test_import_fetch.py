"""Fetching from a server on loopback, and with the network gone."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autobuild.errors import LabelError
from autobuild.labels.importers import addresses
from autobuild.labels.importers import fetch as fetching
from autobuild.labels.importers.fetch import fetch

NAME = "nas_bench_macro"
FILE = "nas-bench-macro_cifar10.json"
CONTENT = json.dumps({"02012100": {"mean_acc": 89.2}, "11111221": {"mean_acc": 92.3}}).encode()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Answers every path with what the test puts there; counts the requests."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.status = 200
        self.promised: int | None = None
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(outer.promised or len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data.json"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "autobuild"


def test_a_file_is_fetched_once_into_the_cache(server: Server, cache: Path) -> None:
    place, table = fetch(NAME, url=server.url, sha256=SHA256)
    assert place == cache / FILE
    assert place.read_bytes() == CONTENT
    assert table.columns["arch"] == ["02012100", "11111221"]
    fetch(NAME, url=server.url, sha256=SHA256.upper())
    assert server.requests == 1
    fetch(NAME, url=server.url, sha256=SHA256, again=True)
    assert server.requests == 2
    place.write_bytes(b"damaged since")
    assert fetch(NAME, url=server.url, sha256=SHA256)[0].read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == [FILE]


def test_a_folder_of_the_users_own_and_progress(server: Server, tmp_path: Path) -> None:
    class Progress:
        total = 0
        seen = 0

        def update(self, count: int) -> None:
            self.seen += count

        def reset(self) -> None:
            self.seen = 0

        def close(self) -> None:
            pass

    progress = Progress()
    place, _ = fetch(NAME, folder=tmp_path / "mine", url=server.url, sha256="any", progress=progress)
    assert place == tmp_path / "mine" / FILE
    assert progress.seen == progress.total == len(CONTENT)


def refuses(cache: Path, reason: str, **options: object) -> str:
    """The message; nothing but ``kept`` may lie in the cache afterwards."""
    before = sorted(cache.iterdir()) if cache.is_dir() else []
    with pytest.raises(LabelError, match=reason) as caught:
        fetch(NAME, **options)  # type: ignore[arg-type]
    assert (sorted(cache.iterdir()) if cache.is_dir() else []) == before
    return str(caught.value)


def test_the_known_checksum_is_held(server: Server, cache: Path) -> None:
    told = refuses(cache, "another SHA-256", url=server.url)
    assert str(addresses.PUBLISHED[NAME].sha256) in told
    assert server.url in told
    assert "sha256=any accepts it" in told
    assert "labels=FILE" in told


def test_a_failed_download_leaves_the_old_file(server: Server, cache: Path) -> None:
    place, _ = fetch(NAME, url=server.url, sha256=SHA256)
    server.content = b"{"
    refuses(cache, "another SHA-256", url=server.url, sha256=SHA256, again=True)
    refuses(cache, "not the data set nas_bench_macro", url=server.url, sha256="any", again=True)
    assert place.read_bytes() == CONTENT


def test_something_else_is_not_kept(server: Server, cache: Path) -> None:
    server.content = b"<html>Please log in</html>"
    told = refuses(cache, "not the data set", url=server.url, sha256="any")
    assert server.url in told


def test_a_connection_that_breaks_off(server: Server, cache: Path) -> None:
    server.promised = len(CONTENT) + 1000
    told = refuses(cache, "cannot be downloaded", url=server.url, sha256="any")
    assert server.url in told


def test_an_answer_that_is_an_error(server: Server, cache: Path) -> None:
    server.status = 404
    assert "the server answered 404" in refuses(cache, "cannot be downloaded", url=server.url, sha256="any")


def test_nobody_listens(cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        told = refuses(cache, "cannot be downloaded", url=url)
    assert "refused" in told
    assert "labels=FILE" in told


@pytest.mark.parametrize("name", [name for name, entry in addresses.PUBLISHED.items() if entry.url])
def test_the_network_is_gone(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens on a machine without network: names are not resolved."""

    def unresolved(host: str, *_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(LabelError) as caught:
        fetch(name)
    told = str(caught.value)
    entry = addresses.PUBLISHED[name]
    assert told.startswith(f"{entry.url}: cannot be downloaded")
    assert "Name or service not known" in told
    assert f"get the file from {entry.page}" in told
    assert f"autobuild build space={entry.space} labels=FILE target={entry.target}" in told


@pytest.mark.parametrize("name", [name for name, entry in addresses.PUBLISHED.items() if not entry.url])
def test_sets_without_an_address_say_how_to_get_them(name: str) -> None:
    with pytest.raises(LabelError) as caught:
        fetch(name)
    assert addresses.PUBLISHED[name].page in str(caught.value)
    assert addresses.PUBLISHED[name].by_hand in str(caught.value)


def test_bad_settings(tmp_path: Path, server: Server) -> None:
    with pytest.raises(LabelError, match="did you mean 'nas_bench_macro'"):
        fetch("nas_bench_makro")
    with pytest.raises(LabelError, match="begins with https"):
        fetch(NAME, url="file:///etc/passwd")
    with pytest.raises(LabelError, match="64 hexadecimal digits"):
        fetch(NAME, url=server.url, sha256="abc")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LabelError, match="cannot be written"):
        fetch(NAME, folder=tmp_path / "file" / "under", url=server.url, sha256=SHA256)
    assert server.requests == 0


def test_what_is_published_is_described_whole() -> None:
    for name, entry in addresses.PUBLISHED.items():
        assert entry.name == name
        assert entry.page.startswith("https://")
        assert sum(map(bool, (entry.url, entry.hub, entry.by_hand))) == 1
        assert not entry.url or (entry.url.startswith("https://") and entry.filename)
    assert fetching.ANY not in addresses.PUBLISHED


def test_the_known_checksum_is_that_of_the_published_file(published: Path) -> None:
    assert fetching.checksum(published / FILE) == addresses.PUBLISHED[NAME].sha256
