"""This module writes files that stay complete after a crash, locks folders, and compares the fingerprints of stores."""

import contextlib
import json
import os
import pathlib
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import filelock

PARTIAL = ".partial"
"""The suffix of a file that is still being written."""

LOCK = "lock"
"""The name of the lock file in a folder that only one process at a time may change."""

ADVICE = "Remove it, or name another folder."
"""The default last line of the error that `compare` raises."""

Error = Callable[[str], Exception]
"""An exception class, or a function that makes an exception from a message."""


@contextlib.contextmanager
def replacing(file: pathlib.Path, *, durable: bool = True, shared: bool = False) -> Iterator[pathlib.Path]:
    """Yields a temporary path to write to, and renames the result to ``file`` if the block ends without an exception.

    ``file`` has its old content or all of its new content, even if the process is killed or the power is cut.

    Args:
        file: a path in an existing folder; an existing file is replaced.
        durable: whether the new content survives a power cut right after the block. False is faster, and suits a file
            that the program can compute again.
        shared: whether other processes may write the same file at the same time.
    """
    partial = file.with_name(f"{file.name}{f'.{uuid.uuid4().hex}' if shared else ''}{PARTIAL}")
    try:
        yield partial
        _sync(partial)  # before the rename, so that a power cut cannot leave a complete name without content
        os.replace(partial, file)  # noqa: PTH105 Path.replace is the same
        if durable:
            _sync(file.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_text(file: pathlib.Path, text: str) -> None:
    """Writes a text to a file by `replacing`."""
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(file: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping to a file as JSON, by `replacing`."""
    write_text(file, json.dumps(content, indent=1) + "\n")


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder that survives a power cut; raises FileExistsError if the path exists."""
    folder.mkdir()
    _sync(folder.parent)


def _sync(path: pathlib.Path) -> None:
    """Waits until the content of a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(
    file: pathlib.Path, subject: object, busy: Error, *, before_waiting: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Holds a lock file until the block ends; other processes and other callers in this process cannot acquire it.

    The operating system releases the lock when the process dies. The lock file stays.

    Args:
        file: the lock file, which is made with its folder if missing.
        subject: the name of the locked thing in the error's message.
        busy: the error to raise while another process or caller has the lock.
        before_waiting: a function that is called with the error's message before this function waits for the lock.
            None: the error is raised at once.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file_lock = filelock.FileLock(file, thread_local=False, fallback_to_soft=False, on_acquired=_write_owner)
    try:
        file_lock.acquire(blocking=False)
    except filelock.Timeout as error:
        message = f"{subject} is in use by another process{_read_owner(file)}; wait for it or name another folder"
        if before_waiting is None:
            raise busy(message) from error
        before_waiting(message)
        file_lock.acquire()
    try:
        yield
    finally:
        file_lock.release()


def _write_owner(descriptor: int) -> None:
    """Writes the process and the host that have the lock into the lock file."""
    with contextlib.suppress(OSError):  # a full disk is no reason to refuse the lock
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _read_owner(file: pathlib.Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    return f" ({text})" if text else ""


def refuse_unknown_files(header: pathlib.Path, error: Error, *others: str) -> None:
    """Raises an error if a folder without a header contains files of something else.

    Args:
        header: the path of the header, which may be missing.
        error: the error to raise.
        others: names of further files that may be in the folder before the header is written.
    """
    known = {LOCK, header.name, header.name + PARTIAL, *others}
    unknown = sorted(path.name for path in header.parent.iterdir() if path.name not in known)
    if unknown and not header.exists():
        names = ", ".join(unknown[:5])
        raise error(f"{header.parent} holds {names}, but no {header.name}; name a new or an empty folder")


def claim(header: pathlib.Path, expected: Mapping[str, Any], error: Error, *, advice: str = ADVICE) -> None:
    """Writes a folder's fingerprint to its header, or compares the fingerprint with an existing header.

    Args:
        header: the path of the header, a JSON file in the folder.
        expected: the fingerprint, everything that the folder's content depends on; JSON types.
        error: the error for a header that differs or cannot be read.
        advice: the end of the message about a header that differs: what the user can do.
    """
    refuse_unknown_files(header, error)
    if not header.exists():  # the header is the first file: a killed process leaves no content without a header
        write_json(header, expected)
        return
    try:
        stored = json.loads(header.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as problem:
        raise error(f"{header} cannot be read ({problem}); remove {header.parent} to make it anew") from problem
    compare(str(header.parent), stored, expected, error, advice=advice)


def compare(
    name: str, stored: Mapping[str, Any], expected: Mapping[str, Any], error: Error, *, advice: str = ADVICE
) -> None:
    """Compares two fingerprints, and raises an error that lists every difference.

    Args:
        name: the name of the store or folder in the error's message.
        stored: the fingerprint that was read from JSON.
        expected: the fingerprint that the caller expects.
        error: the error to raise.
        advice: the end of the message.
    """
    expected = as_json(expected)
    differing = [key for key in sorted(stored.keys() | expected.keys()) if stored.get(key) != expected.get(key)]
    if differing:
        reasons = "\n  ".join(
            f"{key}: {_shorten(stored.get(key))} there, {_shorten(expected.get(key))} now" for key in differing
        )
        raise error(f"{name} was made under other conditions and is left alone:\n  {reasons}\n{advice}")


def as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a mapping as JSON stores it: tuples become lists, and keys become strings."""
    return dict(json.loads(json.dumps(value)))


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
