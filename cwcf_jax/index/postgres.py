"""`TableStore` in a PostgreSQL database with pgvector, for those who already run one."""

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

HNSW_MOST = 2000
"""Dimensions that pgvector's HNSW index takes."""

_COLUMNS = ("digest", *FIELDS, "descriptor")


class SimilarRow(NamedTuple):
    """A picture that a database found, and its score: the inner product with the query."""

    entry: TableEntry
    score: float


class PostgresStore:
    """`TableStore` in two tables of a database, ``NAME`` and ``NAME_version``, and search where the rows are.

    A connection is made when it is needed, and made again, once, when the server was away; every call is one
    transaction that may be repeated. Several threads and processes may use one table.
    """

    def __init__(self, address: str, dim: int, *, name: str = "pictures") -> None:
        """Opens the tables, or makes them; the extension ``vector`` must be there or may be created.

        Args:
            address: as libpq takes it, ``postgresql://user@host/database``.
            dim: length of a descriptor.
            name: of the table.

        Raises:
            ValueError: there is a table of other columns, such as descriptors of another length.
            ConnectionError: no server answers there, or it refuses.
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
        """See `TableStore`."""
        return self._transaction(self._version)

    def entries(self) -> tuple[TableEntry, ...]:
        """See `TableStore`."""
        return self._transaction(lambda connection: _entries(connection.execute(self._select(FIELDS)).fetchall()))

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """See `TableStore`."""
        among = rows or range(2**62)
        chosen = sql.SQL('{} WHERE "row" >= %s AND "row" < %s').format(self._select((*FIELDS, "descriptor")))

        def read(connection: psycopg.Connection[Any]) -> Snapshot:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            version = self._version(connection)
            with connection.cursor(binary=True) as cursor:
                found = cursor.execute(chosen, (among.start, among.stop)).fetchall()
            found.sort(key=lambda row: row[0])
            descriptors = np.zeros((len(found), self._dim), np.float32)
            for place, row in enumerate(found):
                descriptors[place] = row[-1].to_numpy()
            return Snapshot(version, _entries([row[:-1] for row in found]), descriptors)

        return self._transaction(read)

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """See `TableStore`."""
        if descriptors.shape != (len(entries), self._dim):
            raise ValueError(f"{len(entries)} pictures with descriptors of shape {descriptors.shape}")
        if not entries:
            return
        rows = [
            (_digest(entry.path), *(getattr(entry, name) for name in FIELDS), descriptor)
            for entry, descriptor in zip(entries, np.asarray(descriptors, np.float32), strict=True)
        ]
        replaced = sql.SQL(", ").join(
            sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in _COLUMNS[1:]
        )
        insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (digest) DO UPDATE SET {}").format(
            self._table, _names(_COLUMNS), sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS)), replaced
        )

        def write(connection: psycopg.Connection[Any]) -> None:
            self._count(connection)
            with connection.cursor() as cursor:
                cursor.executemany(insert, rows)

        self._transaction(write)

    def remove(self, paths: Sequence[str]) -> None:
        """See `TableStore`."""
        if not paths:
            return
        delete = sql.SQL("DELETE FROM {} WHERE digest = ANY(%s)").format(self._table)

        def write(connection: psycopg.Connection[Any]) -> None:
            self._count(connection)
            connection.execute(delete, [list(map(_digest, paths))])

        self._transaction(write)

    def tidy(self) -> None:
        """See `TableStore`: PostgreSQL's own autovacuum does it."""

    def index(self) -> None:
        """An HNSW index over the descriptors, for `nearest`; kept by the database from then on.

        Raises:
            ValueError: pgvector indexes no descriptors of so many dimensions.
        """
        if self._dim > HNSW_MOST:
            raise ValueError(f"pgvector's HNSW takes at most {HNSW_MOST} dimensions, not {self._dim}")
        make = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (descriptor vector_ip_ops)").format(
            sql.Identifier(f"{self._name}_hnsw"), self._table
        )
        self._transaction(lambda connection: connection.execute(make))

    def nearest(self, query: Float[np.ndarray, " d"], count: int, *, ef_search: int | None = None) -> list[SimilarRow]:
        """The pictures of the highest inner products with a query, equal ones in the order of their paths.

        Args:
            query: a descriptor.
            count: how many, at most.
            ef_search: None: exact, by looking at every row. A number: by the index of `index`, which looks at so many
                candidates (pgvector's ``hnsw.ef_search``, 1 to 1000) and may miss some.
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
            chosen = ranked.format(scored if ef_search is None else by_index)
            return connection.execute(chosen, {"query": query, "count": count}).fetchall()

        return [SimilarRow(TableEntry(*row[:-1]), row[-1]) for row in self._transaction(read)]

    def drop(self) -> None:
        """See `TableStore`."""
        drop = sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self._table, self._versions)
        self._transaction(lambda connection: connection.execute(drop))

    def close(self) -> None:
        """Ends the connection; the next call makes another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _transaction(self, work: Callable[[psycopg.Connection[Any]], Result]) -> Result:
        """``work`` in a transaction of its own, once more if the connection was lost: all of it may be repeated."""
        with self._lock:
            for last in (False, True):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = psycopg.connect(self._address)
                        self._adapt(self._connection)
                    with self._connection.transaction():
                        return work(self._connection)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    if self._connection is not None:
                        self._connection.close()
                    if last:
                        raise ConnectionError(f"{_hidden(self._address)}: {str(error).strip()}") from error
        raise AssertionError("the loop returns or raises")

    def _adapt(self, connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        pgvector.psycopg.register_vector(connection)
        connection.commit()

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        # One at a time: CREATE TABLE IF NOT EXISTS of two processes may collide.
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
        found = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [self._table.as_string(connection)],
        ).fetchall()
        if dict(found).get("descriptor") != f"vector({self._dim})" or set(dict(found)) != set(_COLUMNS):
            raise ValueError(
                f"{self._name} in {_hidden(self._address)} is no table of an index of {self._dim} dimensions"
            )

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        row = connection.execute(sql.SQL("SELECT version FROM {}").format(self._versions)).fetchone()
        assert row is not None
        return int(row[0])

    def _count(self, connection: psycopg.Connection[Any]) -> None:
        """Another version; also has writers wait for one another."""
        connection.execute(sql.SQL("UPDATE {} SET version = version + 1").format(self._versions))

    def _select(self, columns: Sequence[str]) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {}").format(_names(columns), self._table)


def _entries(rows: Sequence[Sequence[Any]]) -> tuple[TableEntry, ...]:
    return tuple(sorted((TableEntry(*row) for row in rows), key=lambda entry: entry.path))


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _digest(path: str) -> bytes:
    """The key of a path: PostgreSQL indexes no text of any length."""
    return hashlib.sha256(path.encode()).digest()


def _hidden(address: str) -> str:
    """An address without its password."""
    shown = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(address).items()}
    shown.pop("password", None)
    return psycopg.conninfo.make_conninfo(**shown)
