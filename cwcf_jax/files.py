"""Files that are whole after a crash or a power cut, locks between processes, and what stored content depends on."""

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
"""How the name of a file ends that is still being written."""

LOCK = "lock"
"""Name of the lock inside a folder that one process at a time changes."""

ADVICE = "Remove it, or name another folder."

Error = Callable[[str], Exception]
"""Makes the exception that is raised with a message."""


@contextlib.contextmanager
def replacing(file: pathlib.Path, *, lasting: bool = True, shared: bool = False) -> Iterator[pathlib.Path]:
    """Gives a path to write to; its content takes the place of ``file`` when the block ends, and not if it raises.

    Whenever the process is killed or the power is cut, ``file`` has its old content or all of the new one.

    Args:
        file: may exist; its folder does.
        lasting: whether a power cut after the block still finds the new content. False is quicker, for a file that is
            made anew where it is missing.
        shared: whether other processes may write the same file meanwhile.
    """
    partial = file.with_name(f"{file.name}{f'.{uuid.uuid4().hex}' if shared else ''}{PARTIAL}")
    try:
        yield partial
        _sync(partial)  # before the name: a name without content would count as the file
        os.replace(partial, file)  # noqa: PTH105 Path.replace is the same
        if lasting:
            _sync(file.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_text(file: pathlib.Path, text: str) -> None:
    """Replaces the content of a file by `replacing`."""
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(file: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Replaces the content of a file by JSON, by `replacing`."""
    write_text(file, json.dumps(content, indent=1) + "\n")


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder that a power cut does not take away again; FileExistsError if it is there."""
    folder.mkdir()
    _sync(folder.parent)


def _sync(path: pathlib.Path) -> None:
    """Returns when the content of a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def lock(
    file: pathlib.Path, subject: object, busy: Error, *, before_waiting: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Keeps other processes, and other callers in this one, out of what ``file`` stands for until the block ends.

    The operating system gives the lock back when the process dies; the file stays.

    Args:
        file: made, with its folder, if it is missing.
        subject: what is locked, as the error names it.
        busy: makes the error that is raised while somebody else has the lock.
        before_waiting: is called with the error's message, and the lock is waited for; None: the error is raised.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(file, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        message = f"{subject} is in use by another process{_holder(file)}; wait for it or name another folder"
        if before_waiting is None:
            raise busy(message) from error
        before_waiting(message)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _sign(number: int) -> None:
    """Says in the lock's file who has it."""
    with contextlib.suppress(OSError):  # a full disk is no reason to refuse the lock
        os.ftruncate(number, 0)
        os.pwrite(number, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _holder(file: pathlib.Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    return f" ({text})" if text else ""


def refuse_strangers(header: pathlib.Path, error: Error, *others: str) -> None:
    """Raises if the folder of a header is neither empty nor begun by who writes that header.

    Args:
        header: where the header is, or will be.
        error: makes the error.
        others: names of further files that may be there before the header.
    """
    known = {LOCK, header.name, header.name + PARTIAL, *others}
    strangers = sorted(path.name for path in header.parent.iterdir() if path.name not in known)
    if strangers and not header.exists():
        listed = ", ".join(strangers[:5])
        raise error(f"{header.parent} holds {listed}, but no {header.name}; name a new or an empty folder")


def claim(header: pathlib.Path, wanted: Mapping[str, Any], error: Error, *, advice: str = ADVICE) -> None:
    """Records what the content of a folder depends on, or compares that with what is recorded there.

    Args:
        header: the record, a file in the folder.
        wanted: what the content must depend on; anything JSON can hold.
        error: makes the error for other content, and for a record that cannot be read.
        advice: what the reader of the error can do about other content.
    """
    refuse_strangers(header, error)
    if not header.exists():  # first: a kill before leaves nothing else, a kill after leaves a folder without content
        write_json(header, wanted)
        return
    try:
        stored = json.loads(header.read_text(encoding="utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as problem:
        raise error(f"{header} cannot be read ({problem}); remove {header.parent} to make it anew") from problem
    compare(str(header.parent), stored, wanted, error, advice=advice)


def compare(
    name: str, stored: Mapping[str, Any], wanted: Mapping[str, Any], error: Error, *, advice: str = ADVICE
) -> None:
    """Raises an error that lists every difference between what content depends on and what it should.

    Args:
        name: of the content, for the error.
        stored: what it depends on, as JSON gave it back.
        wanted: what it should depend on.
        error: makes the error.
        advice: ends the message.
    """
    wanted = as_json(wanted)
    differing = [key for key in sorted(stored.keys() | wanted.keys()) if stored.get(key) != wanted.get(key)]
    if differing:
        reasons = "\n  ".join(
            f"{key}: {_brief(stored.get(key))} there, {_brief(wanted.get(key))} now" for key in differing
        )
        raise error(f"{name} was made under other conditions and is left alone:\n  {reasons}\n{advice}")


def as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as JSON gives it back: tuples as lists, keys as strings."""
    return dict(json.loads(json.dumps(value)))


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
