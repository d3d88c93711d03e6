"""A PostgreSQL server of one's own, run by an unprivileged user, for as long as a test takes."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_USERS = ("postgres", "nobody")


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return places[0].parent if places else None


def _as_user(folder: Path) -> list[str]:
    """What to put before a command: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    for name in _USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            os.chown(folder, user.pw_uid, user.pw_gid)
            return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    pytest.skip("this is root, and there is no unprivileged user to run PostgreSQL as")


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start a server in a folder of its own; pytest's folders are closed to the other user where this is root."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (initdb is on neither PATH nor /usr/lib/postgresql)")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("this is root, and there is no setpriv to become another user with")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = _as_user(folder)
    data = folder / "data"
    subprocess.run(
        [*user, str(programs / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = Server(programs, user, data, port)
    own.start()
    try:
        yield own
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    def __init__(self, programs: Path, user: list[str], data: Path, port: int) -> None:
        self.programs, self.user, self.data, self.port = programs, user, data, port
        self.address = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        command = [*self.user, str(self.programs / "postgres"), "-D", str(self.data), *options]
        self.process = subprocess.Popen(
            command, cwd=self.data.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while subprocess.run(self._ready(), capture_output=True).returncode:
            assert time.monotonic() < end, "the server did not start"
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.1)

    def _ready(self) -> list[str]:
        return [str(self.programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]

    def stop(self) -> None:
        """As a machine that goes down: connections are cut, the server does not wait for anybody."""
        if self.process is not None:
            self.process.send_signal(2)  # "fast" shutdown
            self.process.wait(60)
            self.process = None
