"""This module defines `PostgresStore`, a `TableStore` in a PostgreSQL database with pgvector."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pgvector.psycopg
import psycopg
from jaxtyping import Float
from psycopg import sql

from cwcf_jax.index.table import FIELDS, Snapshot, TableEntry

Result = TypeVar("Result")

HNSW_MAX_DIMS = 2000
"""The largest number of dimensions in pgvector's HNSW index."""

_COLUMNS = ("digest", *FIELDS, "descriptor")


class SimilarRow(NamedTuple):
    """A `SimilarRow` is a picture of a result and its score, the inner product with the query."""

    entry: TableEntry
    score: float


class PostgresStore:
    """A `PostgresStore` is a `TableStore` in two tables of a database, ``NAME`` and ``NAME_version``.

    The first call opens the connection, and a later call opens a lost connection again. Every call is one transaction,
    which may run twice. Several threads and processes can use the same tables.
    """

    def __init__(self, address: str, dim: int, *, name: str = "pictures") -> None:
        """Opens the tables, or creates them, together with the extension ``vector``.

        Args:
            address: address for libpq, such as ``postgresql://user@host/database``.
            dim: number of dimensions of a descriptor.
            name: name of the table.

        Raises:
            ValueError: the table exists with other columns, such as descriptors of another length.
            ConnectionError: the server does not answer, or refuses the connection.
        """
        self._address, self._dim, self._name = address, dim, name
        self._table, self._versions = sql.Identifier(name), sql.Identifier(f"{name}_version")
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        try:
            self._transaction(self._prepare)
        except Exception:
            self.close()
            raise

    def version(self) -> int:
        """Implements `TableStore`."""
        return self._transaction(self._version)

    def entries(self) -> tuple[TableEntry, ...]:
        """Implements `TableStore`."""
        return self._transaction(lambda connection: _entries(connection.execute(self._select(FIELDS)).fetchall()))

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """Implements `TableStore`."""
        selected_rows = rows or range(2**62)
        query = sql.SQL('{} WHERE "row" >= %s AND "row" < %s').format(self._select((*FIELDS, "descriptor")))

        def read(connection: psycopg.Connection[Any]) -> Snapshot:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            version = self._version(connection)
            with connection.cursor(binary=True) as cursor:
                records = cursor.execute(query, (selected_rows.start, selected_rows.stop)).fetchall()
            records.sort(key=lambda record: record[0])
            descriptors = np.zeros((len(records), self._dim), np.float32)
            for descriptor, record in zip(descriptors, records, strict=True):
                descriptor[:] = record[-1].to_numpy()
            return Snapshot(version, _entries([record[:-1] for record in records]), descriptors)

        return self._transaction(read)

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """Implements `TableStore`."""
        if descriptors.shape != (len(entries), self._dim):
            raise ValueError(f"{len(entries)} pictures with descriptors of shape {descriptors.shape}")
        if not entries:
            return
        records = [
            (_digest(entry.path), *(getattr(entry, name) for name in FIELDS), descriptor)
            for entry, descriptor in zip(entries, np.asarray(descriptors, np.float32), strict=True)
        ]
        assignments = sql.SQL(", ").join(
            sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in _COLUMNS[1:]
        )
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (digest) DO UPDATE SET {}").format(
            self._table, _names(_COLUMNS), sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS)), assignments
        )

        def write(connection: psycopg.Connection[Any]) -> None:
            self._increment_version(connection)
            with connection.cursor() as cursor:
                cursor.executemany(insert, records)

        self._transaction(write)

    def remove(self, paths: Sequence[str]) -> None:
        """Implements `TableStore`."""
        if not paths:
            return
        delete = sql.SQL("DELETE FROM {} WHERE digest = ANY(%s)").format(self._table)

        def write(connection: psycopg.Connection[Any]) -> None:
            self._increment_version(connection)
            connection.execute(delete, [list(map(_digest, paths))])

        self._transaction(write)

    def tidy(self) -> None:
        """Implements `TableStore`; does nothing, since PostgreSQL's autovacuum frees the space."""

    def index(self) -> None:
        """Creates an HNSW index of the descriptors for `nearest`; the database updates it with every change.

        Raises:
            ValueError: the descriptors have more dimensions than pgvector can index.
        """
        if self._dim > HNSW_MAX_DIMS:
            raise ValueError(f"pgvector's HNSW index takes at most {HNSW_MAX_DIMS} dimensions, not {self._dim}")
        create = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (descriptor vector_ip_ops)").format(
            sql.Identifier(f"{self._name}_hnsw"), self._table
        )
        self._transaction(lambda connection: connection.execute(create))

    def nearest(self, query: Float[np.ndarray, " d"], count: int, *, ef_search: int | None = None) -> list[SimilarRow]:
        """Returns the pictures with the largest inner products with a query; equal scores are ordered by path.

        Args:
            query: shape [d]; a descriptor.
            count: largest number of pictures.
            ef_search: number of candidates of an approximate search with the HNSW index (pgvector's
                ``hnsw.ef_search``, 1 to 1000); None: exact search over all rows.
        """
        query = np.asarray(query, np.float32)
        scored = sql.SQL("SELECT {}, -(descriptor <#> %(query)s) AS score FROM {}").format(_names(FIELDS), self._table)
        by_index = sql.SQL("SELECT * FROM ({} ORDER BY descriptor <#> %(query)s LIMIT %(count)s) AS best").format(
            scored
        )
        ranked = sql.SQL('{} ORDER BY score DESC, path COLLATE "C" LIMIT %(count)s')

        def read(connection: psycopg.Connection[Any]) -> list[Any]:
            if ef_search is not None:
                connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(ef_search)])
                connection.execute("SET LOCAL enable_seqscan = off")
            statement = ranked.format(scored if ef_search is None else by_index)
            return connection.execute(statement, {"query": query, "count": count}).fetchall()

        return [SimilarRow(TableEntry(*record[:-1]), record[-1]) for record in self._transaction(read)]

    def drop(self) -> None:
        """Implements `TableStore`."""
        drop = sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._table, self._versions)
        self._transaction(lambda connection: connection.execute(drop))

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _transaction(self, work: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """Runs a function in a transaction, and once more if the connection was lost."""
        with self._lock:
            for is_last_attempt in (False, True):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = psycopg.connect(self._address)
                        self._register_vector(self._connection)
                    with self._connection.transaction():
                        return work(self._connection)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if self._connection is not None:
                        self._connection.close()
                    if is_last_attempt:
                        raise ConnectionError(f"{_without_password(self._address)}: {str(error).strip()}") from error
        raise AssertionError("the loop returns or raises")

    def _register_vector(self, connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        pgvector.psycopg.register_vector(connection)
        connection.commit()

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        # The lock keeps CREATE TABLE IF NOT EXISTS of two processes from colliding.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self._name])
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (digest bytea PRIMARY KEY, path text NOT NULL, content text NOT NULL, "
                "{}, descriptor vector({}) NOT NULL)"
            ).format(
                self._table,
                sql.SQL(", ").join(sql.SQL("{} bigint NOT NULL").format(sql.Identifier(name)) for name in FIELDS[2:]),
                sql.Literal(self._dim),
            )
        )
        connection.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} (version bigint NOT NULL)").format(self._versions))
        connection.execute(
            sql.SQL("INSERT INTO {0} SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM {0})").format(self._versions)
        )
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [self._table.as_string(connection)],
        ).fetchall()
        if dict(columns).get("descriptor") != f"vector({self._dim})" or set(dict(columns)) != set(_COLUMNS):
            raise ValueError(
                f"{self._name} in {_without_password(self._address)} is no table of an index of {self._dim} dimensions"
            )

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        row = connection.execute(sql.SQL("SELECT version FROM {}").format(self._versions)).fetchone()
        assert row is not None
        return int(row[0])

    def _increment_version(self, connection: psycopg.Connection[Any]) -> None:
        """Increments the version; the lock of its row also makes concurrent writers wait for each other."""
        connection.execute(sql.SQL("UPDATE {} SET version = version + 1").format(self._versions))

    def _select(self, columns: Sequence[str]) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {}").format(_names(columns), self._table)


def _entries(records: Sequence[Sequence[Any]]) -> tuple[TableEntry, ...]:
    return tuple(sorted((TableEntry(*record) for record in records), key=lambda entry: entry.path))


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _digest(path: str) -> bytes:
    """Returns the key of a path: PostgreSQL cannot index texts of arbitrary length."""
    return hashlib.sha256(path.encode()).digest()


def _without_password(address: str) -> str:
    """Returns an address without its password, for messages."""
    parts = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(address).items()}
    parts.pop("password", None)
    return psycopg.conninfo.make_conninfo(**parts)
