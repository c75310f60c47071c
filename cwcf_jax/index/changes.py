"""This module finds out how a folder differs from its index.

Files are compared by their content, so that a moved or copied picture needs no new encoding.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping

from cwcf_jax.images import Picture, Root
from cwcf_jax.index.table import TableEntry

TIMESTAMP_RESOLUTION_NS = 2_000_000_000
"""The resolution of modification times on the coarsest file systems, nanoseconds."""

READER_THREADS = 16
"""The number of files that are read at the same time: disks and object stores answer parallel requests faster."""

MAX_PENDING_FILES = 1024
"""The largest number of files that are handed to the reader threads before the results are used."""


@dataclasses.dataclass(frozen=True)
class ListedFile:
    """A `ListedFile` describes one file of the folder at the time of an update.

    Attributes:
        path: path relative to the folder, with slashes.
        content: sha256 of the file.
        size: size of the file, bytes.
        modified: modification time, nanoseconds.
        seen: time at which the file was read, nanoseconds.
    """

    path: str
    content: str
    size: int
    modified: int
    seen: int


@dataclasses.dataclass(frozen=True)
class Changes:
    """A `Changes` object says how a folder differs from the entries of its index.

    Attributes:
        unchanged: number of files that did not change.
        touched: files with a new modification time and the same content.
        copied: files with the content of an indexed picture, under a new path or in place of another content.
        changed: files at an indexed path, with content that is new to the index.
        added: files at a new path, with content that is new to the index.
        deleted: indexed paths without a file.
        unreadable: messages about files that cannot be opened or named.
    """

    unchanged: int
    touched: tuple[ListedFile, ...]
    copied: tuple[ListedFile, ...]
    changed: tuple[ListedFile, ...]
    added: tuple[ListedFile, ...]
    deleted: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Update:
    """An `Update` is the summary of an update: numbers of pictures, and messages about the unreadable ones.

    Attributes:
        added, changed, moved, removed, unchanged: numbers of pictures.
        refused: one message for each picture that could not be read.
    """

    added: int
    changed: int
    moved: int
    removed: int
    unchanged: int
    refused: tuple[str, ...]


def find_changes(root: Root, paths: Iterable[str], entries: Mapping[str, TableEntry], *, full_listing: bool) -> Changes:
    """Compares files with the entries of an index.

    Args:
        root: the folder of photographs.
        paths: paths of the files, relative to the folder.
        entries: entries of the index by path.
        full_listing: whether ``paths`` lists all pictures of the folder; then an entry with another path is deleted.
    """
    contents = {entry.content for entry in entries.values()}
    unchanged, checked = 0, set()
    unreadable: list[str] = []
    touched: list[ListedFile] = []
    copied: list[ListedFile] = []
    changed: list[ListedFile] = []
    added: list[ListedFile] = []
    for path, file in _read_changed_files(root, paths, entries):
        checked.add(path)
        entry = entries.get(path)
        if file is None:
            unchanged += 1
        elif isinstance(file, str):
            unreadable.append(file)
        elif entry and entry.content == file.content:
            touched.append(file)
        elif file.content in contents:
            copied.append(file)
        else:
            (changed if entry else added).append(file)
    deleted = tuple(sorted(entries.keys() - checked)) if full_listing else ()
    return Changes(unchanged, tuple(touched), tuple(copied), tuple(changed), tuple(added), deleted, tuple(unreadable))


def summarize(changes: Changes, entries: Mapping[str, TableEntry], refused: Mapping[str, str]) -> Update:
    """Returns the summary of an update.

    Args:
        changes: differences between the folder and the index.
        entries: entries of the index before the update, by path.
        refused: messages about pictures that could not be encoded, by content.
    """
    copied = [file for file in changes.copied if file.path not in entries]
    deleted = collections.Counter(entries[path].content for path in changes.deleted)
    moved = (collections.Counter(file.content for file in copied) & deleted).total()
    added = sum(file.content not in refused for file in changes.added)
    changed = sum(file.content not in refused for file in changes.changed)
    return Update(
        added=added + len(copied) - moved,
        changed=changed + len(changes.copied) - len(copied),
        moved=moved,
        removed=len(changes.deleted) - moved,
        unchanged=changes.unchanged + len(changes.touched),
        refused=(*changes.unreadable, *refused.values()),
    )


def _read_changed_files(
    root: Root, paths: Iterable[str], entries: Mapping[str, TableEntry]
) -> Iterator[tuple[str, ListedFile | str | None]]:
    """Yields each path with its file if that may have changed, None if it did not, or a message if it is unreadable."""

    def read_if_changed(path: str) -> ListedFile | str | None:
        try:
            path.encode()
            state = (root / path).stat()
            entry = entries.get(path)
            unchanged = entry is not None and _is_unchanged(entry, state.st_size, state.st_mtime_ns)
            return None if unchanged else read_file(root, path)
        except OSError as error:
            return f"{root / path}: {error.strerror or error}"
        except UnicodeEncodeError:
            printable = str(root / path).encode(errors="backslashreplace").decode()
            return f"{printable}: the name of this file is not UTF-8; rename the file"

    remaining = iter(paths)
    with concurrent.futures.ThreadPoolExecutor(READER_THREADS) as pool:
        while batch := list(itertools.islice(remaining, MAX_PENDING_FILES)):
            yield from zip(batch, pool.map(read_if_changed, batch), strict=True)


def read_file(root: Root, path: str) -> ListedFile:
    """Reads the content and the times of a file; raises OSError if the file is unreadable."""
    seen = time.time_ns()
    content = read_content(root / path)
    state = (root / path).stat()
    return ListedFile(path, content, state.st_size, state.st_mtime_ns, seen)


def read_content(file: Picture) -> str:
    """Returns the sha256 of a file; raises OSError if the file is unreadable."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_unchanged(entry: TableEntry, size: int, modified: int) -> bool:
    """Returns whether a file has the size and the time of its entry, and no later change can have left both as is."""
    return entry.size == size and entry.modified == modified and modified + TIMESTAMP_RESOLUTION_NS < entry.seen
