"""This module stores the table of an index: a protocol for databases, and its implementation with LanceDB."""

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import lancedb
import numpy as np
import pyarrow
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class TableEntry:
    """A `TableEntry` is the table's row for one picture.

    Attributes:
        path: path relative to the folder of photographs, with slashes.
        content: sha256 of the file.
        size: size of the file, bytes.
        modified: modification time of the file, nanoseconds.
        seen: time at which the file was read, nanoseconds. A change of the file just before this time may keep the
            modification time.
        width, height: size of the upright picture, pixels.
        row: row of the picture in the class-vector store.
    """

    path: str
    content: str
    size: int
    modified: int
    seen: int
    width: int
    height: int
    row: int


class Snapshot(NamedTuple):
    """A `Snapshot` holds the entries and descriptors of a table at one moment.

    Attributes:
        version: version of the table.
        entries: the pictures, ordered by path.
        descriptors: shape [n, d], float32; the descriptors of the pictures.
    """

    version: int
    entries: tuple[TableEntry, ...]
    descriptors: Float[np.ndarray, "n d"]


@runtime_checkable
class TableStore(Protocol):
    """A `TableStore` stores the table of an index in a database. Each call is one transaction."""

    def version(self) -> int:
        """Returns a number that changes with every change of the table, also by other processes."""

    def entries(self) -> tuple[TableEntry, ...]:
        """Returns all pictures, ordered by path."""

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """Returns the pictures and descriptors; with ``rows``, only the pictures in these rows of the class vectors."""

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """Adds pictures; an entry with a stored path replaces the stored entry."""

    def remove(self, paths: Sequence[str]) -> None:
        """Removes pictures; ignores unknown paths."""

    def tidy(self) -> None:
        """Frees the space of earlier versions."""

    def drop(self) -> None:
        """Deletes the table."""


VERSION_LIFETIME = datetime.timedelta(hours=1)
"""The time for which earlier versions stay readable."""

FIELDS = tuple(field.name for field in dataclasses.fields(TableEntry))


class LanceStore:
    """A `LanceStore` is a `TableStore` in an embedded LanceDB, in a folder or on an object store."""

    def __init__(self, location: str | pathlib.Path, dim: int) -> None:
        """Opens the table, or creates it.

        Raises:
            ValueError: the table exists with other columns, such as descriptors of another length.
        """
        schema = pyarrow.schema(
            [
                *((name, pyarrow.string()) for name in ("path", "content")),
                *((name, pyarrow.int64()) for name in FIELDS[2:]),
                ("descriptor", pyarrow.list_(pyarrow.float32(), dim)),
            ]
        )
        self._dim = dim
        self._schema = schema
        try:
            self._database = lancedb.connect(str(location))
            self._table: Any = self._database.create_table("pictures", schema=schema, exist_ok=True)
        except ValueError as error:
            raise ValueError(f"{location} is no table of an index of {dim} dimensions ({error})") from error

    def version(self) -> int:
        """Implements `TableStore`."""
        self._table.checkout_latest()
        return int(self._table.version)

    def entries(self) -> tuple[TableEntry, ...]:
        """Implements `TableStore`."""
        self._table.checkout_latest()
        return _entries(self._table.search().select(list(FIELDS)).to_arrow())

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """Implements `TableStore`."""
        self._table.checkout_latest()
        version = int(self._table.version)
        table = self._table.to_arrow() if rows is None else self._table.search().where(_condition(rows)).to_arrow()
        table = table.sort_by("path")
        values = table["descriptor"].combine_chunks()
        flat = values.flatten() if table.num_rows else pyarrow.array([], pyarrow.float32())
        return Snapshot(version, _entries(table), np.asarray(flat, np.float32).reshape(-1, self._dim))

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """Implements `TableStore`."""
        if descriptors.shape != (len(entries), self._dim):
            raise ValueError(f"{len(entries)} pictures with descriptors of shape {descriptors.shape}")
        if not entries:
            return
        flat = pyarrow.array(np.ascontiguousarray(descriptors, np.float32).reshape(-1))
        columns = [[getattr(entry, name) for entry in entries] for name in FIELDS]
        new = pyarrow.table([*columns, pyarrow.FixedSizeListArray.from_arrays(flat, self._dim)], schema=self._schema)
        self._table.merge_insert("path").when_matched_update_all().when_not_matched_insert_all().execute(new)

    def remove(self, paths: Sequence[str]) -> None:
        """Implements `TableStore`."""
        if paths:
            quoted = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            self._table.delete(f"path IN ({quoted})")

    def tidy(self) -> None:
        """Implements `TableStore`."""
        self._table.optimize(cleanup_older_than=VERSION_LIFETIME)

    def drop(self) -> None:
        """Implements `TableStore`."""
        self._database.drop_table("pictures")


def _condition(rows: range) -> str:
    return f"row >= {rows.start} AND row < {rows.stop}"


def _entries(table: pyarrow.Table) -> tuple[TableEntry, ...]:
    columns = [table[name].to_pylist() for name in FIELDS]
    return tuple(sorted((TableEntry(*values) for values in zip(*columns, strict=True)), key=lambda entry: entry.path))
