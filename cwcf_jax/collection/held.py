"""A snapshot of an index in memory, ready to be scored."""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax import retrieval
from cwcf_jax.arrays import l2_normalize
from cwcf_jax.collection import whitening
from cwcf_jax.collection.settings import maps_folder
from cwcf_jax.collection.table import Entry, Snapshot, Store
from cwcf_jax.descriptors import Whitening
from cwcf_jax.online import OnlineSearch
from cwcf_jax.store import ClassVectorStore, read_maps


class Held:
    """The pictures of one moment.

    Attributes:
        generation: the folder that they are in.
        snapshot: their entries and descriptors.
        whitening: of the index.
    """

    def __init__(self, folder: pathlib.Path, generation: pathlib.Path, table: Store) -> None:
        self.generation, self._table = generation, table
        self.snapshot: Snapshot = table.snapshot()
        self.whitening: Whitening = whitening.read(generation).anonymous()
        self._maps = maps_folder(folder)
        self._database = jnp.asarray(self.snapshot.descriptors)
        self._rows = np.array([entry.row for entry in self.snapshot.entries], np.int64)

    def current(self, generation: pathlib.Path) -> bool:
        """Whether nothing changed since."""
        return self.generation == generation and self._table.version() == self.snapshot.version

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """Path -> its place in the snapshot."""
        return {entry.path: i for i, entry in enumerate(self.snapshot.entries)}

    def entry(self, path: str) -> Entry:
        """KeyError if there is no such picture."""
        return self.snapshot.entries[self.places[path]]

    @functools.cached_property
    def _online(self) -> OnlineSearch:
        return OnlineSearch(ClassVectorStore(self.generation / "vectors"))

    def scores(self, query: Float[Array, " d"]) -> np.ndarray:
        """OfA: cosines with the pictures' own descriptors."""
        return np.array(retrieval.similarities(query, self._database))

    def online_scores(self, class_ids: np.ndarray, query: Float[Array, " d"]) -> np.ndarray:
        """OnA: cosines with the pictures' descriptors under the query's classes."""
        return self._online.scores(query, class_ids)[self._rows]

    def vectors(self, class_ids: np.ndarray, places: np.ndarray) -> np.ndarray:
        """OnA's descriptors of a few pictures."""
        store = self._online.store
        runs = store.vectors(self._rows[places], store.positions(class_ids))
        values = runs.values.astype(np.float32)
        if runs.scales is not None:
            values *= runs.scales[..., None]
        return np.asarray(l2_normalize(jnp.sum(jnp.asarray(values), axis=0)))

    def read(self, place: int) -> dict[str, np.ndarray]:
        """The maps of a picture."""
        return read_maps(self._maps, self.snapshot.entries[place].content)
