"""What happened to a folder since it was indexed: files by content, so that moves and copies cost nothing."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping

from cwcf_jax.images import Picture, Root
from cwcf_jax.index.table import TableEntry

RESOLUTION = 2_000_000_000
"""Nanoseconds within which a second change may leave a file's time as it was, on the coarsest of file systems."""

READERS = 16
"""Files that are looked at at once: disks and object stores answer many in the time of one."""

WAITING = 1024
"""Files that are taken up before the first of them is done with."""


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A file as it is now.

    Attributes:
        path: below the folder, with slashes.
        content: sha256.
        size: bytes.
        modified: nanoseconds.
        seen: when it was read, nanoseconds.
    """

    path: str
    content: str
    size: int
    modified: int
    seen: int


@dataclasses.dataclass(frozen=True)
class Changes:
    """How a folder differs from what is known of it.

    Attributes:
        unchanged: how many pictures are as they were.
        touched: files with a new time and the content they had.
        copied: files whose content is known under another path: moved or copied.
        changed: files with other content than before.
        added: files with content that is nowhere known.
        gone: paths that are no more.
        unreadable: files that cannot be opened or named, and why.
    """

    unchanged: int
    touched: tuple[ListedFile, ...]
    copied: tuple[ListedFile, ...]
    changed: tuple[ListedFile, ...]
    added: tuple[ListedFile, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Update:
    """What an update found and did: numbers of pictures, and what could not be read and why."""

    added: int
    changed: int
    moved: int
    removed: int
    unchanged: int
    refused: tuple[str, ...]


def find_changes(root: Root, paths: Iterable[str], known: Mapping[str, TableEntry], *, whole: bool) -> Changes:
    """Compares files with what is known.

    Args:
        root: the folder.
        paths: the files to look at, below it.
        known: the entries by path.
        whole: whether ``paths`` are all there is, so that what is known and not among them is gone.
    """
    contents = {entry.content for entry in known.values()}
    unchanged, looked_at = 0, set()
    unreadable: list[str] = []
    touched: list[ListedFile] = []
    copied: list[ListedFile] = []
    changed: list[ListedFile] = []
    added: list[ListedFile] = []
    for path, file in _look_at(root, paths, known):
        looked_at.add(path)
        before = known.get(path)
        if file is None:
            unchanged += 1
        elif isinstance(file, str):
            unreadable.append(file)
        elif before and before.content == file.content:
            touched.append(file)
        elif file.content in contents:
            copied.append(file)
        else:
            (changed if before else added).append(file)
    gone = tuple(sorted(known.keys() - looked_at)) if whole else ()
    return Changes(unchanged, tuple(touched), tuple(copied), tuple(changed), tuple(added), gone, tuple(unreadable))


def summarize(changes: Changes, known: Mapping[str, TableEntry], refused: Mapping[str, str]) -> Update:
    """What an update did: the changes, less the pictures that were refused, by content, and why."""
    copied = [file for file in changes.copied if file.path not in known]
    left = collections.Counter(known[path].content for path in changes.gone)
    moved = (collections.Counter(file.content for file in copied) & left).total()
    added = sum(file.content not in refused for file in changes.added)
    changed = sum(file.content not in refused for file in changes.changed)
    return Update(
        added=added + len(copied) - moved,
        changed=changed + len(changes.copied) - len(copied),
        moved=moved,
        removed=len(changes.gone) - moved,
        unchanged=changes.unchanged + len(changes.touched),
        refused=(*changes.unreadable, *refused.values()),
    )


def _look_at(
    root: Root, paths: Iterable[str], known: Mapping[str, TableEntry]
) -> Iterator[tuple[str, ListedFile | str | None]]:
    """Files in their order: read if they may have changed, None if not, or why they cannot be."""

    def look_at(path: str) -> ListedFile | str | None:
        try:
            path.encode()
            state = (root / path).stat()
            before = known.get(path)
            unchanged = before is not None and _same(before, state.st_size, state.st_mtime_ns)
            return None if unchanged else read_file(root, path)
        except OSError as error:
            return f"{root / path}: {error.strerror or error}"
        except UnicodeEncodeError:
            shown = str(root / path).encode(errors="backslashreplace").decode()
            return f"{shown}: its name is not UTF-8; rename it"

    remaining = iter(paths)
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        while taken := list(itertools.islice(remaining, WAITING)):
            yield from zip(taken, pool.map(look_at, taken), strict=True)


def read_file(root: Root, path: str) -> ListedFile:
    """A file's content and times, read now; OSError if it cannot be."""
    seen = time.time_ns()
    content = read_content(root / path)
    state = (root / path).stat()
    return ListedFile(path, content, state.st_size, state.st_mtime_ns, seen)


def read_content(file: Picture) -> str:
    """The sha256 of a file as it is now; OSError if it cannot be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _same(before: TableEntry, size: int, modified: int) -> bool:
    """Whether the file need not be read again: same size and time, and no change since could have kept the time."""
    return before.size == size and before.modified == modified and modified + RESOLUTION < before.seen
