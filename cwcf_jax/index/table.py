"""An index's pictures and their descriptors on disk: what any database must do for it, and LanceDB doing it."""

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
    """A picture of an index.

    Attributes:
        path: below the index's folder, with slashes.
        content: sha256 of the file.
        size: of the file, bytes.
        modified: its modification time, nanoseconds.
        seen: when its content was read, nanoseconds; a change within the clock's resolution of that could be missed.
        width, height: of the upright picture, pixels.
        row: where its class vectors are.
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
    """Pictures at one moment, in the order of their paths, and their descriptors [n, d], float32."""

    version: int
    entries: tuple[TableEntry, ...]
    descriptors: Float[np.ndarray, "n d"]


@runtime_checkable
class TableStore(Protocol):
    """What an index needs of a database. Each call is one transaction: it happens whole or not at all."""

    def version(self) -> int:
        """Another number after every change, by whichever process."""

    def entries(self) -> tuple[TableEntry, ...]:
        """All pictures, in the order of their paths."""

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """All pictures with their descriptors, or those whose ``row`` is among some."""

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """Adds pictures; those whose path is there already are replaced."""

    def remove(self, paths: Sequence[str]) -> None:
        """Forgets pictures; a path that is not there does no harm."""

    def tidy(self) -> None:
        """Gives back what earlier versions took."""

    def drop(self) -> None:
        """Removes everything, for good."""


KEPT = datetime.timedelta(hours=1)
"""How long an earlier version stays for those who still read it."""

FIELDS = tuple(field.name for field in dataclasses.fields(TableEntry))


class LanceStore:
    """`TableStore` in an embedded LanceDB, in a folder or on an object store."""

    def __init__(self, location: str | pathlib.Path, dim: int) -> None:
        """Opens the table, or makes it.

        Raises:
            ValueError: there is a table of other columns, such as descriptors of another length.
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
        """See `TableStore`."""
        self._table.checkout_latest()
        return int(self._table.version)

    def entries(self) -> tuple[TableEntry, ...]:
        """See `TableStore`."""
        self._table.checkout_latest()
        return _entries(self._table.search().select(list(FIELDS)).to_arrow())

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """See `TableStore`."""
        self._table.checkout_latest()
        version = int(self._table.version)
        found = self._table.to_arrow() if rows is None else self._table.search().where(_among(rows)).to_arrow()
        found = found.sort_by("path")
        values = found["descriptor"].combine_chunks()
        flat = values.flatten() if found.num_rows else pyarrow.array([], pyarrow.float32())
        return Snapshot(version, _entries(found), np.asarray(flat, np.float32).reshape(-1, self._dim))

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """See `TableStore`."""
        if descriptors.shape != (len(entries), self._dim):
            raise ValueError(f"{len(entries)} pictures with descriptors of shape {descriptors.shape}")
        if not entries:
            return
        flat = pyarrow.array(np.ascontiguousarray(descriptors, np.float32).reshape(-1))
        columns = [[getattr(entry, name) for entry in entries] for name in FIELDS]
        rows = pyarrow.table([*columns, pyarrow.FixedSizeListArray.from_arrays(flat, self._dim)], schema=self._schema)
        self._table.merge_insert("path").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def remove(self, paths: Sequence[str]) -> None:
        """See `TableStore`."""
        if paths:
            named = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            self._table.delete(f"path IN ({named})")

    def tidy(self) -> None:
        """See `TableStore`."""
        self._table.optimize(cleanup_older_than=KEPT)

    def drop(self) -> None:
        """See `TableStore`."""
        self._database.drop_table("pictures")


def _among(rows: range) -> str:
    return f"row >= {rows.start} AND row < {rows.stop}"


def _entries(rows: pyarrow.Table) -> tuple[TableEntry, ...]:
    columns = [rows[name].to_pylist() for name in FIELDS]
    return tuple(sorted((TableEntry(*values) for values in zip(*columns, strict=True)), key=lambda entry: entry.path))
