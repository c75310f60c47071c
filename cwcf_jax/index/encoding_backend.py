"""This module defines encoding backends, which encode the pictures of an index: in this process or elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Model
from cwcf_jax.extraction import ExtractionConfig, Progress
from cwcf_jax.images import Picture, Resize
from cwcf_jax.index import encoding
from cwcf_jax.index.encoding import VectorBlock
from cwcf_jax.index.index_config import IndexConfig
from cwcf_jax.store import Location, MapStore


@runtime_checkable
class EncodingBackend(Protocol):
    """An `EncodingBackend` encodes pictures during an update.

    A picture that is encoded twice changes nothing, since all results are stored under the picture's content.

    Attributes:
        window: number of pictures that keep all workers of the backend busy.
    """

    window: int

    def write_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """Computes and stores maps, see `encoding.write_maps`."""

    def write_vectors(
        self, blocks: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """Writes the class vectors of blocks of distinct fragments, and yields blocks and descriptors in any order.

        See `encoding.write_vectors`.
        """


class LocalEncoding:
    """A `LocalEncoding` is an `EncodingBackend` in this process, on its own devices."""

    window = 0

    def __init__(self, maps: Location, model: Callable[[], Model], config: IndexConfig) -> None:
        """Opens the map store.

        Args:
            maps: location of the map store.
            model: function that loads the model; it is called when the model is needed.
            config: the index config.
        """
        self._maps, self._load_model, self._config = MapStore(maps), model, config

    def write_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """Implements `EncodingBackend`."""
        extraction = ExtractionConfig(Resize.parse(self._config.resize))
        return encoding.write_maps(self._maps, self._load_model(), extraction, files, progress)

    def write_vectors(
        self, blocks: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """Implements `EncodingBackend`."""
        count, compact = self._config.num_classes, self._config.compact
        for block in blocks:
            yield (
                block,
                encoding.write_vectors(self._maps, block, self._load_model(), whitening, count, compact=compact),
            )
