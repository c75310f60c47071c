"""Who encodes the pictures of an index: the process that updates it, or others for it."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cwcf_jax.collection import encoding
from cwcf_jax.collection.encoding import Described
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Model
from cwcf_jax.indexing import Extraction, Progress


class Workers(Protocol):
    """What an update needs of them. Work that is done twice changes nothing: all of it goes by content.

    Attributes:
        window: pictures that keep all of them busy.
    """

    window: int

    def keep_maps(self, files: Mapping[str, pathlib.Path], progress: Progress) -> dict[str, str]:
        """See `encoding.keep_maps`."""

    def describe(self, contents: Sequence[str], whitening: Whitening) -> dict[str, Described]:
        """See `encoding.describe`."""


class Here:
    """This process, on its own devices."""

    window = 0

    def __init__(
        self, folder: pathlib.Path, model: Callable[[], Model], extraction: Extraction, num_classes: int
    ) -> None:
        """``folder`` is that of the maps; the model is loaded when it is needed."""
        self._folder, self._model, self._extraction, self._num_classes = folder, model, extraction, num_classes

    def keep_maps(self, files: Mapping[str, pathlib.Path], progress: Progress) -> dict[str, str]:
        """See `Workers`."""
        return encoding.keep_maps(self._folder, self._model(), self._extraction, files, progress)

    def describe(self, contents: Sequence[str], whitening: Whitening) -> dict[str, Described]:
        """See `Workers`."""
        return encoding.describe(self._folder, contents, self._model(), whitening, self._num_classes)
