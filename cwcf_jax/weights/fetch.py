"""Downloads weights that manifest.toml lists, resuming and verifying; without a NAME, lists them.

Usage: python -m cwcf_jax.weights.fetch [NAME] [--folder=weights/downloads]
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence

from absl import app, flags

from cwcf_jax.weights import download, manifest
from cwcf_jax.weights.download import DownloadError, Part
from cwcf_jax.weights.manifest import Entry

_FOLDER = flags.DEFINE_string("folder", "weights/downloads", "Where the files go.")
_MANIFEST = flags.DEFINE_string("manifest", str(manifest.PATH), "What there is, as in cwcf_jax/weights/manifest.toml.")
_TIMEOUT = flags.DEFINE_float("timeout", 30.0, "Seconds without a byte after which a try is given up.", lower_bound=0.1)
_WAIT = flags.DEFINE_float("retry_wait", 1.0, "Seconds before the second try; then doubled each time.", lower_bound=0.0)


class FetchError(Exception):
    """The file is not there, or is not the right one; the message says what to do."""


def main(argv: Sequence[str]) -> int:
    """Exit code 0: the file is there, and verified if that can be done; 1: it is not."""
    try:
        entries = manifest.read(_MANIFEST.value)
        if len(argv) == 1:
            print(_table(entries.values()))
            return 0
        if len(argv) > 2 or argv[1] not in entries:
            raise FetchError(f"{shlex.join(argv[1:])} is not one of these: {', '.join(entries)}")
        entry, folder = entries[argv[1]], pathlib.Path(_FOLDER.value)
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder / f"{entry.file}.lock"):
            fetch(entry, folder)
        print(f"next: {_convert(entry, folder)}")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 1
    except (FetchError, manifest.ManifestError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(entry: Entry, folder: pathlib.Path) -> None:
    """Downloads and verifies the file; only verifies it where it is there already.

    Raises:
        FetchError: no file that is known to be the right one; nothing was put under its final name.
        OSError: the disk.
    """
    final, part = folder / entry.file, Part(entry, folder / f"{entry.file}.part")
    if final.exists():
        _check(entry, final, download.hash_file(entry, final).hexdigest(), "Move it away and run this again.")
        part.discard()  # of a download that somebody else's hands have overtaken
        print(f"{final} is already there")
        return
    resumed = f", {download.readable(part.size())} of it at hand" if part.size() else ""
    print(f"fetching {entry.url} ({download.readable(entry.size)}{resumed})")
    try:
        hexdigest = download.download(part, timeout=_TIMEOUT.value, wait=_WAIT.value)
    except DownloadError as error:
        raise FetchError(f"{error}\n{_by_hand(entry, folder)}") from None
    try:
        _check(entry, part.path, hexdigest, "It was deleted; the same command starts again.")
    except FetchError:
        part.discard()
        raise
    part.path.replace(final)
    part.state.unlink(missing_ok=True)
    print(f"saved {final}")


def _check(entry: Entry, path: pathlib.Path, hexdigest: str, advice: str) -> None:
    """Raises if the file at ``path`` cannot be the entry's; warns if nobody can tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(256).lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise FetchError(f"{path} is a web page, not {entry.file}. {advice}")
    if entry.size not in (None, size):
        raise FetchError(f"{path} has {size} bytes, not {entry.size}. {advice}")
    if entry.hash is None:
        print(f"WARNING: nobody publishes a hash of {entry.file}, so that it cannot be verified", file=sys.stderr)
        print(f"sha256 {hexdigest}, {size} bytes")
    elif entry.hash.matches(hexdigest):
        print(f"verified: {entry.hash.algorithm} {hexdigest}")
    else:
        wrong = f"{path} has {entry.hash.algorithm} {hexdigest}, not {entry.hash.digits}"
        raise FetchError(f"{wrong}{'...' if entry.hash.prefix else ''}: damaged, or another file. {advice}")


@contextlib.contextmanager
def _only_one(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process fetches the same file."""
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("another process is fetching this file; waiting for it", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                # Who held the lock has removed the file: whoever comes now locks a new one.
                mine = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except FileNotFoundError:
                mine = False
            if mine:
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


def _by_hand(entry: Entry, folder: pathlib.Path) -> str:
    again = ["python", "-m", "cwcf_jax.weights.fetch", entry.name, f"--folder={folder}"]
    again += [] if _MANIFEST.value == _MANIFEST.default else [f"--manifest={_MANIFEST.value}"]
    lines = (
        "To fetch it by hand:",
        f"  address     {entry.url}",
        f"  file        {entry.file}, {download.readable(entry.size)}, {entry.hash or 'no hash published'}",
        f"  save it as  {(folder / entry.file).absolute()}",
        f"  verify it   {shlex.join(again)}",
        f"  then        {_convert(entry, folder)}",
    )
    return "\n".join(lines)


def _convert(entry: Entry, folder: pathlib.Path) -> str:
    options = [f"--source={folder / entry.file}", f"--network={entry.network}", f"--output={folder / entry.name}"]
    options += ["--trunk"] if entry.trunk else []
    return shlex.join(("python", "-m", "cwcf_jax.weights.convert", *options))


def _table(entries: Iterable[Entry]) -> str:
    rows = [("name", "network", "size", "licence", "file")]
    for entry in entries:
        rows.append((entry.name, entry.network, download.readable(entry.size), entry.licence, entry.file))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    app.run(main)
