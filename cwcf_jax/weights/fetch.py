"""This module downloads files of the catalogue and verifies them."""

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
    """Raised when a file cannot be downloaded or fails verification; the message says what to do."""


def default_folder() -> pathlib.Path:
    """Returns the default folder for downloads, ``cwcf/weights`` in the user's folder for caches."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(cache) if cache else pathlib.Path.home() / ".cache") / "cwcf" / "weights"


def fetch(
    entry: CatalogueEntry, folder: pathlib.Path, *, timeout: float = 30.0, verify_command: str = ""
) -> pathlib.Path:
    """Downloads and verifies a file, or only verifies the file if it exists, and returns its path.

    Of several processes that fetch the same file, one downloads and the others wait.

    Args:
        entry: entry of the catalogue.
        folder: folder for the file; created if it is missing.
        timeout: seconds without data after which the download fails.
        verify_command: command that verifies a file which was downloaded by hand, for messages.

    Raises:
        FetchError: the download or the verification failed; no file was saved under the final name.
        ImportError: pooch is not installed.
        OSError: the file cannot be written or read.
    """
    final = folder / entry.file
    with files.lock(folder / f"{entry.file}.lock", entry.file, FetchError, before_waiting=_print_error):
        if final.exists():
            _check(entry, final, "Move it away and run the same command again.")
            print(f"{final} exists already")
            return final
        print(f"fetching {entry.url} ({format_size(entry.size)})")
        free = shutil.disk_usage(folder).free
        if entry.size is not None and entry.size > free:
            raise FetchError(f"{folder} has {format_size(free)} free, {format_size(entry.size)} are needed")
        with files.replacing(final) as partial:
            _download(entry, partial, timeout, f"\n{manual_steps(entry, folder, verify_command)}")
            _check(entry, partial, "It was deleted; the same command starts again.")
    print(f"saved {final}")
    return final


def _download(entry: CatalogueEntry, path: pathlib.Path, timeout: float, advice: str) -> None:
    try:
        import pooch  # imported late: slow, and only downloads need it
        import requests  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError(f"downloads need {error.name}: pip install 'cwcf-jax[weights]'{advice}") from error
    headers = {"Accept-Encoding": "identity"}  # otherwise the size is that of a compressed stream
    progress = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    download = pooch.HTTPDownloader(progressbar=progress, timeout=timeout, headers=headers)
    try:
        download(entry.url, str(path), None)
    except requests.HTTPError as error:
        raise FetchError(f"{error}{advice}") from error
    except (requests.RequestException, ValueError) as error:
        raise FetchError(f"cannot fetch {entry.url}: {error}{advice}") from error


def _check(entry: CatalogueEntry, path: pathlib.Path, advice: str) -> None:
    """Verifies the file at ``path`` against the entry; only warns if the entry has no hash.

    Raises:
        FetchError: the file is a web page, or has another size or hash; the message ends with ``advice``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(256).lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise FetchError(f"{entry.url} is a web page, not {entry.file}: open it in a browser. {advice}")
        if entry.size not in (None, size):
            raise FetchError(f"{entry.file} has {size} bytes, not {entry.size}. {advice}")
        file.seek(0)
        hexdigest = hashlib.file_digest(file, entry.algorithm).hexdigest()
    if entry.hash is None:
        _print_error(f"WARNING: nobody publishes a hash of {entry.file}, so that it cannot be verified")
        print(f"sha256 {hexdigest}, {size} bytes")
    elif entry.hash.matches(hexdigest):
        print(f"verified: {entry.hash.algorithm} {hexdigest}")
    else:
        mismatch = f"{entry.file} has {entry.hash.algorithm} {hexdigest}, not {entry.hash.digits}"
        raise FetchError(f"{mismatch}{'...' if entry.hash.prefix else ''}: damaged, or another file. {advice}")


def manual_steps(entry: CatalogueEntry, folder: pathlib.Path, verify_command: str) -> str:
    """Returns the steps that replace a download where there is no network."""
    lines = (
        "To fetch it by hand:",
        f"  address     {entry.url}",
        f"  file        {entry.file}, {format_size(entry.size)}, {entry.hash or 'no hash published'}",
        f"  save it as  {(folder / entry.file).absolute()}",
        f"  verify it   {verify_command}",
        f"  then        {convert_command(entry, folder)}",
    )
    return "\n".join(lines)


def convert_command(entry: CatalogueEntry, folder: pathlib.Path) -> str:
    """Returns the command that converts the downloaded file to a checkpoint."""
    options = [str(folder / entry.file), f"--network={entry.network}", f"--output={folder / entry.name}"]
    return shlex.join(("cwcf", "weights", "convert", *options, *(["--trunk"] if entry.trunk else [])))


def format_size(size: int | None) -> str:
    """Returns a size in bytes as text, such as ``12.3 MB``."""
    if size is None:
        return "size unknown"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"


def _print_error(message: str) -> None:
    print(message, file=sys.stderr)
