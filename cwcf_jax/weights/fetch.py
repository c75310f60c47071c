"""Download a file of the catalogue, verify it and put it into its folder."""

import hashlib
import importlib.util
import os
import pathlib
import shlex
import shutil
import sys

from cwcf_jax import files
from cwcf_jax.weights.catalogue import CatalogueEntry


class FetchError(RuntimeError):
    """The file is not there, or is not the right one; the message says what to do."""


def default_folder() -> pathlib.Path:
    """Return where downloads go unless told otherwise: ``cwcf/weights`` in the user's folder for caches."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(cache) if cache else pathlib.Path.home() / ".cache") / "cwcf" / "weights"


def fetch(entry: CatalogueEntry, folder: pathlib.Path, *, timeout: float = 30.0, again: str = "") -> pathlib.Path:
    """Download and verify the file, or only verify it where it is there already; return its path.

    Of several processes that fetch the same file, one downloads and the others wait for it.

    Args:
        entry: what to download.
        folder: where to; made if it is missing.
        timeout: seconds without a byte after which the download is given up.
        again: the command that verifies a file which was fetched by hand, for messages.

    Raises:
        FetchError: no file that is known to be the right one; nothing was put under its final name.
        ImportError: pooch is not installed.
        OSError: the disk.
    """
    final = folder / entry.file
    with files.lock(folder / f"{entry.file}.lock", entry.file, FetchError, before_waiting=_say):
        if final.exists():
            _check(entry, final, "Move it away and run this again.")
            print(f"{final} is already there")
            return final
        print(f"fetching {entry.url} ({readable(entry.size)})")
        free = shutil.disk_usage(folder).free
        if entry.size is not None and entry.size > free:
            raise FetchError(f"{folder} has {readable(free)} free, {readable(entry.size)} are needed")
        with files.replacing(final) as partial:
            _download(entry, partial, timeout, f"\n{by_hand(entry, folder, again)}")
            _check(entry, partial, "It was deleted; the same command starts again.")
    print(f"saved {final}")
    return final


def _download(entry: CatalogueEntry, path: pathlib.Path, timeout: float, advice: str) -> None:
    try:
        import pooch  # late: with requests it takes a while, and only a download needs it
        import requests  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError(f"downloads need {error.name}: pip install 'cwcf-jax[weights]'{advice}") from error
    headers = {"Accept-Encoding": "identity"}  # or the size would be that of the compressed stream
    progress = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    download = pooch.HTTPDownloader(progressbar=progress, timeout=timeout, headers=headers)
    try:
        download(entry.url, str(path), None)
    except requests.HTTPError as error:
        raise FetchError(f"{error}{advice}") from error
    except (requests.RequestException, ValueError) as error:
        raise FetchError(f"cannot fetch {entry.url}: {error}{advice}") from error


def _check(entry: CatalogueEntry, path: pathlib.Path, advice: str) -> None:
    """Raises if the file at ``path`` cannot be the entry's; warns if nobody can tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(256).lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise FetchError(f"{entry.url} is a web page, not {entry.file}: open it in a browser. {advice}")
        if entry.size not in (None, size):
            raise FetchError(f"{entry.file} has {size} bytes, not {entry.size}. {advice}")
        file.seek(0)
        hexdigest = hashlib.file_digest(file, entry.algorithm).hexdigest()
    if entry.hash is None:
        _say(f"WARNING: nobody publishes a hash of {entry.file}, so that it cannot be verified")
        print(f"sha256 {hexdigest}, {size} bytes")
    elif entry.hash.matches(hexdigest):
        print(f"verified: {entry.hash.algorithm} {hexdigest}")
    else:
        wrong = f"{entry.file} has {entry.hash.algorithm} {hexdigest}, not {entry.hash.digits}"
        raise FetchError(f"{wrong}{'...' if entry.hash.prefix else ''}: damaged, or another file. {advice}")


def by_hand(entry: CatalogueEntry, folder: pathlib.Path, again: str) -> str:
    """Return what to do where there is no network."""
    lines = (
        "To fetch it by hand:",
        f"  address     {entry.url}",
        f"  file        {entry.file}, {readable(entry.size)}, {entry.hash or 'no hash published'}",
        f"  save it as  {(folder / entry.file).absolute()}",
        f"  verify it   {again}",
        f"  then        {convert_command(entry, folder)}",
    )
    return "\n".join(lines)


def convert_command(entry: CatalogueEntry, folder: pathlib.Path) -> str:
    """Return the command that makes a checkpoint of the downloaded file."""
    options = [str(folder / entry.file), f"--network={entry.network}", f"--output={folder / entry.name}"]
    return shlex.join(("cwcf", "weights", "convert", *options, *(["--trunk"] if entry.trunk else [])))


def readable(size: int | None) -> str:
    """Return a size for people."""
    if size is None:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"


def _say(message: str) -> None:
    print(message, file=sys.stderr)
