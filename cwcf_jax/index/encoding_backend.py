"""Who encodes the pictures of an index: the process that updates it, or others for it."""

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
    """What an update needs of them. Work that is done twice changes nothing: all of it goes by content.

    Attributes:
        window: pictures that keep all of them busy.
    """

    window: int

    def keep_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """See `encoding.keep_maps`."""

    def keep_vectors(
        self, parts: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """See `encoding.keep_vectors`: parts of distinct fragments, in any order."""


class LocalEncoding:
    """This process, on its own devices."""

    window = 0

    def __init__(self, maps: Location, model: Callable[[], Model], settings: IndexConfig) -> None:
        """``maps``: where they are kept; the model is loaded when it is needed."""
        self._maps, self._model, self._settings = MapStore(maps), model, settings

    def keep_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """See `EncodingBackend`."""
        extraction = ExtractionConfig(Resize.parse(self._settings.resize))
        return encoding.keep_maps(self._maps, self._model(), extraction, files, progress)

    def keep_vectors(
        self, parts: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """See `EncodingBackend`."""
        for part in parts:
            count, compact = self._settings.num_classes, self._settings.compact
            found = encoding.keep_vectors(self._maps, part, self._model(), whitening, count, compact=compact)
            yield part, found
