"""This module runs the searches of the HTTP API, one at a time, since a search uses all cores."""

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

UPLOAD_EXPIRED = "the uploaded picture is no longer stored; send it again"


class SearchService:
    """A `SearchService` answers the requests of many clients.

    Attributes:
        index: the index.
    """

    def __init__(self, index: Index, searcher: Searcher | None = None) -> None:
        self.index = index
        self._searcher = searcher or Searcher(index)
        self._uploads = UploadedQueries()
        self._latest_ranker: EntryRanker | None = None
        self._lock, self._decoding = threading.Lock(), threading.BoundedSemaphore(2)
        self._names = networks.class_names(index.model.network.spec)

    def warm_up(self) -> None:
        """Compiles the functions for pictures of the most frequent size, so that the first client need not wait."""
        with self._lock:
            sizes = self._ranker().picture_sizes()
            if sizes:
                blank = np.zeros((*sizes.most_common(1)[0][0], 3), np.uint8)
                query = self._searcher.describe(self._searcher.prepare(blank))
                for query_config in (QueryConfig(), QueryConfig("ona", rerank=1), QueryConfig.thorough()):
                    self._searcher.search(query, query_config, count=1)

    def info(self) -> messages.IndexInfo:
        """Returns facts about the index."""
        status = self.index.status()
        return messages.IndexInfo(
            name=status.root.name,
            pictures=status.pictures,
            network=status.config.network,
            whitening=status.whitening,
            classes=list(self._names),
        )

    def upload(self, body: bytes) -> messages.UploadResponse:
        """Runs a picture through the network, unless it is stored already."""
        name = hashlib.sha256(body).hexdigest()
        prepared = self._uploads.get(name)
        if prepared is None:
            with self._decoding:
                image = uploads.decode(body)
            with self._lock:
                prepared = self._searcher.prepare(image)
            self._uploads.put(name, prepared)
        return messages.UploadResponse(upload=name, width=prepared.width, height=prepared.height)

    def describe(self, request: messages.QueryRequest) -> messages.QueryInfo:
        """Returns the classes of a query, and their mean class activation map."""
        with self._lock:
            prepared = self._prepare(request)
            query = self._describe(prepared, request)
            mapped_classes = query.class_ids[: len(request.classes) or 2]
            heat = encoder.heat_maps(self.index.model, prepared.maps, np.asarray(mapped_classes, np.int32))[0]
            height, width = np.asarray(prepared.maps.feature_size[0]).tolist()
        return messages.QueryInfo(
            width=prepared.width,
            height=prepared.height,
            classes=[
                messages.QueryClass(name=self._names[i], probability=min(float(p), 1.0))
                for i, p in zip(query.class_ids, query.probabilities, strict=True)
            ],
            heat=_round(np.asarray(heat)[:height, :width]),
        )

    def search(self, request: messages.SearchRequest) -> tuple[list[Hit], int]:
        """Returns a page of hits, and the number of pictures in the index."""
        query_config = _query_config(request)
        with self._lock:
            query = self._describe(self._prepare(request), request)
            hits = self._searcher.search(query, query_config, count=request.count, first=request.first)
            return hits, len(self._ranker())

    def explain(self, request: messages.ExplainRequest) -> Explanation:
        """Explains the score of a hit."""
        with self._lock:
            query = self._describe(self._prepare(request), request)
            return explain(
                self._searcher,
                query,
                Hit(_entry(self._ranker(), request.hit), 0.0, cells=request.cells),
                _query_config(request),
            )

    def picture(self, path: str) -> tuple[Picture, str]:
        """Returns the file of a picture of the index, and the sha256 of its content."""
        ranker = self._latest_ranker
        if ranker is not None:
            with contextlib.suppress(KeyError):  # only a new picture waits for the lock of the searches
                return self.index.root / path, ranker.entry(path).content
        with self._lock:
            return self.index.root / path, _entry(self._ranker(), path).content

    def _ranker(self) -> EntryRanker:
        self._latest_ranker = self._searcher.ranker()
        return self._latest_ranker

    def _prepare(self, request: messages.QueryRequest) -> PreparedQuery:
        if (request.upload is None) == (request.path is None):
            raise HTTPException(422, "name either an upload or a path of the index")
        if request.path is not None:
            _entry(self._ranker(), request.path)
            return self._searcher.prepare_indexed(request.path)
        prepared = self._uploads.get(request.upload or "")
        if prepared is None:
            raise HTTPException(404, UPLOAD_EXPIRED)
        return prepared

    def _describe(self, prepared: PreparedQuery, request: messages.QueryRequest) -> QueryDescription:
        try:
            return self._searcher.describe(prepared, request.box, tuple(request.classes))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


def _entry(ranker: EntryRanker, path: str) -> TableEntry:
    try:
        return ranker.entry(path)
    except KeyError:
        raise HTTPException(404, "no such picture in the index") from None


def _query_config(request: messages.SearchRequest) -> QueryConfig:
    fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(QueryConfig)}
    fields["classes"] = tuple(request.classes)
    try:
        return (QueryConfig.thorough if request.thorough else QueryConfig)(**fields)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


def _round(values: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 6) for value in row] for row in values]
