"""The searches behind the API; one at a time, since a search already uses every core."""

import contextlib
import dataclasses
import hashlib
import threading

import numpy as np
from fastapi import HTTPException

from cwcf_jax import encoder, networks
from cwcf_jax.images import Picture
from cwcf_jax.index import Explanation, Hit, Index, PreparedQuery, QueryConfig, QueryDescription, Searcher, explain
from cwcf_jax.index.ranker import EntryRanker
from cwcf_jax.index.table import TableEntry
from cwcf_jax.web import messages, uploads
from cwcf_jax.web.uploaded import UploadedQueries

GONE = "the uploaded picture is no longer kept; send it again"


class SearchService:
    """An index that answers many clients."""

    def __init__(self, index: Index, searcher: Searcher | None = None) -> None:
        self.index = index
        self._searcher = searcher or Searcher(index)
        self._uploaded = UploadedQueries()
        self._latest: EntryRanker | None = None
        self._lock, self._decoding = threading.Lock(), threading.BoundedSemaphore(2)
        self._names = networks.class_names(index.model.network.spec)

    def warm_up(self) -> None:
        """Compiles what the first client would wait for, on pictures of the most usual size."""
        with self._lock:
            sides = self._current().sides()
            if sides:
                blank = np.zeros((*sides.most_common(1)[0][0], 3), np.uint8)
                query = self._searcher.describe(self._searcher.prepare(blank))
                for options in (QueryConfig(), QueryConfig("ona", rerank=1), QueryConfig.thorough()):
                    self._searcher.search(query, options, count=1)

    def info(self) -> messages.IndexInfo:
        """The index."""
        status = self.index.status()
        return messages.IndexInfo(
            name=status.root.name,
            pictures=status.pictures,
            network=status.settings.network,
            whitening=status.whitening,
            classes=list(self._names),
        )

    def upload(self, body: bytes) -> messages.UploadResponse:
        """A picture through the network, unless it was just here."""
        name = hashlib.sha256(body).hexdigest()
        prepared = self._uploaded.get(name)
        if prepared is None:
            with self._decoding:
                image = uploads.decode(body)
            with self._lock:
                prepared = self._searcher.prepare(image)
            self._uploaded.put(name, prepared)
        return messages.UploadResponse(upload=name, width=prepared.width, height=prepared.height)

    def describe(self, query: messages.QueryRequest) -> messages.QueryInfo:
        """How a query is seen."""
        with self._lock:
            prepared = self._prepared(query)
            described = self._described(prepared, query)
            shown = described.class_ids[: len(query.classes) or 2]
            heat = encoder.heat_maps(self.index.model, prepared.maps, np.asarray(shown, np.int32))[0]
            height, width = np.asarray(prepared.maps.feature_size[0]).tolist()
        return messages.QueryInfo(
            width=prepared.width,
            height=prepared.height,
            classes=[
                messages.QueryClass(name=self._names[i], probability=min(float(p), 1.0))
                for i, p in zip(described.class_ids, described.probabilities, strict=True)
            ],
            heat=_rounded(np.asarray(heat)[:height, :width]),
        )

    def search(self, asked: messages.SearchRequest) -> tuple[list[Hit], int]:
        """A page of hits, and how many pictures there are."""
        options = _options(asked)
        with self._lock:
            described = self._described(self._prepared(asked), asked)
            hits = self._searcher.search(described, options, count=asked.count, first=asked.first)
            return hits, len(self._current())

    def explain(self, asked: messages.ExplainRequest) -> Explanation:
        """Why a picture was found."""
        with self._lock:
            described = self._described(self._prepared(asked), asked)
            return explain(
                self._searcher,
                described,
                Hit(_entry(self._current(), asked.hit), 0.0, cells=asked.cells),
                _options(asked),
            )

    def picture(self, path: str) -> tuple[Picture, str]:
        """The file of a picture of the index, and its content's sha256."""
        latest = self._latest
        if latest is not None:
            with contextlib.suppress(KeyError):  # no search is waited for, unless the picture is new
                return self.index.root / path, latest.entry(path).content
        with self._lock:
            return self.index.root / path, _entry(self._current(), path).content

    def _current(self) -> EntryRanker:
        self._latest = self._searcher.held()
        return self._latest

    def _prepared(self, query: messages.QueryRequest) -> PreparedQuery:
        if (query.upload is None) == (query.path is None):
            raise HTTPException(422, "name either an upload or a path of the index")
        if query.path is not None:
            _entry(self._current(), query.path)
            return self._searcher.prepare_indexed(query.path)
        prepared = self._uploaded.get(query.upload or "")
        if prepared is None:
            raise HTTPException(404, GONE)
        return prepared

    def _described(self, prepared: PreparedQuery, query: messages.QueryRequest) -> QueryDescription:
        try:
            return self._searcher.describe(prepared, query.box, tuple(query.classes))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


def _entry(held: EntryRanker, path: str) -> TableEntry:
    try:
        return held.entry(path)
    except KeyError:
        raise HTTPException(404, "no such picture in the index") from None


def _options(asked: messages.SearchRequest) -> QueryConfig:
    fields = {field.name: getattr(asked, field.name) for field in dataclasses.fields(QueryConfig)}
    try:
        return (QueryConfig.thorough if asked.thorough else QueryConfig)(**fields | {"classes": tuple(asked.classes)})
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 6) for value in row] for row in values]
