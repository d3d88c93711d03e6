"""Download published data sets into the user's cache; files are checked before use."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from autobuild.errors import LabelError, nearest
from autobuild.labels._raw_table import RawTable
from autobuild.labels.importers import read_any
from autobuild.labels.importers.addresses import PUBLISHED, Published

TIMEOUT_SECONDS = 30
HUB = "https://huggingface.co"
_LOCK = "_lock"
ANY = "any"  # value of ``sha256`` that accepts every checksum


class Progress(Protocol):
    """Interface of a progress display; ``total`` (bytes, 0 if unknown) is set before the first update."""

    total: int

    def update(self, count: int) -> None:
        """Report ``count`` more bytes."""

    def reset(self) -> None:
        """Start again at zero."""

    def close(self) -> None:
        """Report the end of the download."""


def published(name: str) -> Published:
    """Look up a data set by name. Raises LabelError if it is unknown; the message offers the nearest names."""
    if name not in PUBLISHED:
        raise LabelError(f"name={name}: unknown data set: {nearest(name, PUBLISHED)}")
    return PUBLISHED[name]


def cache_folder() -> Path:
    """Folder of downloaded files: the user's cache as pooch defines it (XDG_CACHE_HOME changes it on Linux)."""
    import pooch

    return Path(pooch.os_cache("autobuild"))


def fetch(
    name: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    url: str | None = None,
    sha256: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, RawTable]:
    """Download a published data set, unless the file exists already, and read it.

    Args:
        name: One of :data:`PUBLISHED`.
        folder: Folder of the file (default: :func:`cache_folder`).
        url: Another address of the same file, such as a mirror.
        sha256: Checksum of the file (default: the known one, if any); ``"any"`` accepts every readable file.
        again: Download even if the file exists.
        progress: Display that is told about every piece that arrives.

    Returns:
        The path of the file, and its table. The file is always complete, because it is downloaded under another name,
        checked and then renamed.

    Raises:
        LabelError: The name is unknown, there is no direct address or no network, the checksum differs, or the content
            is not the data set. The message names the address and says how to use a file downloaded by hand.
    """
    entry = published(name)
    address = url or entry.url or (_on_hub(entry) if entry.hub else None)
    if address is None:
        raise LabelError(
            f"name={name}: there is no address to download from ({entry.page}): {entry.by_hand}. "
            f"Then: {_command(entry)}"
        )
    if not address.startswith(("http://", "https://")):
        raise LabelError(f"url={address}: an address begins with https:// or http://")
    wanted = None if sha256 == ANY else sha256 or entry.sha256
    if wanted is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
        raise LabelError(f"sha256={wanted}: a SHA-256 has 64 hexadecimal digits; {ANY!r} accepts every file")
    place = (Path(folder).expanduser() if folder is not None else cache_folder()) / (entry.filename or name)
    if again or not _holds(place, wanted):
        _download(entry, address, wanted, place, progress)
    return place, read_any(place)


def _on_hub(entry: Published) -> str:
    """Address of a file of a data set on the Hugging Face Hub, in whatever folder it lies.

    Raises:
        LabelError: The list of its files cannot be read, or has no such file.
    """
    import requests

    listed = f"{HUB}/api/datasets/{entry.hub}"
    try:
        answer = requests.get(listed, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        files = [str(file["rfilename"]) for file in answer.json()["siblings"]]
    except requests.exceptions.RequestException as error:
        raise LabelError(f"{listed}: cannot be read ({_reason(error)}). {_by_hand(entry)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{listed}: the answer is no list of files ({error}). {_by_hand(entry)}") from error
    for file in files:
        if file.rpartition("/")[2] == entry.filename:
            return f"{HUB}/datasets/{entry.hub}/resolve/main/{file}"
    raise LabelError(f"{listed}: no file {entry.filename!r}: {nearest(entry.filename, files)}. {_by_hand(entry)}")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _holds(place: Path, wanted: str | None) -> bool:
    return place.is_file() and (wanted is None or checksum(place) == wanted.lower())


def _download(entry: Published, address: str, wanted: str | None, place: Path, progress: Progress | None) -> None:
    """Download into a folder of its own, check checksum and content, rename; if anything fails, an older file stays."""
    import pooch
    import requests
    from filelock import FileLock

    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(progressbar=progress or False, timeout=TIMEOUT_SECONDS)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        own = tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent, ignore_cleanup_errors=True)
        with own as folder, FileLock(Path(folder) / _LOCK):
            beside = Path(pooch.retrieve(address, wanted, place.name, folder, downloader=downloader))
            read_any(beside)
            os.replace(beside, place)
    except requests.exceptions.RequestException as error:
        raise LabelError(f"{address}: cannot be downloaded ({_reason(error)}). {_by_hand(entry)}") from error
    except LabelError as error:
        raise LabelError(
            f"{address}: the downloaded file is not the data set {entry.name}: {error}. {_by_hand(entry)}"
        ) from error
    except ValueError as error:  # raised by pooch if the checksum differs
        raise LabelError(
            f"{address}: the downloaded file has another SHA-256 than {wanted}: it has been changed; "
            f"sha256={ANY} accepts it. {_by_hand(entry)}"
        ) from error
    except OSError as error:
        raise LabelError(f"{place}: cannot be written ({error.strerror or error})") from error


def _remove_abandoned(place: Path) -> None:
    """Remove what killed downloads of the same file have left; a live process holds the lock of its folder."""
    from filelock import FileLock, Timeout

    for lock in place.parent.glob(f".{place.name}-*/{_LOCK}"):
        with contextlib.suppress(Timeout, OSError, NotImplementedError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.parent)


def _reason(error: Exception) -> str:
    """One line about an error: its innermost cause, because the outer exceptions only wrap it."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    cause: BaseException = error
    while isinstance(inner := getattr(cause, "reason", None) or (cause.args[0] if cause.args else None), BaseException):
        cause = inner
    text = re.sub(r"^.*?<[^>]*>: |^<[^>]*>: ", "", str(cause)).strip()
    return text.splitlines()[0][:200] if text else type(cause).__name__


def _by_hand(entry: Published) -> str:
    return f"To go on without: get the file from {entry.page} in any way, and give it as it is: {_command(entry)}"


def _command(entry: Published) -> str:
    return f"autobuild build space={entry.space} labels=FILE target={entry.target}"
