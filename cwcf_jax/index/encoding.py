"""This module encodes pictures for an index: first their maps, then the descriptors and class vectors from the maps.

A picture goes through the network once. Maps are stored under the picture's content, so that an update that was killed
does not repeat finished pictures, and a new whitening needs no pass.
"""

import dataclasses
import functools
import hashlib
import io
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax import encoder
from cwcf_jax.arrays import quantize
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Maps, Model
from cwcf_jax.extraction import ExtractionConfig, Progress, compile_model_maps, crop_maps, model_maps, pass_pictures
from cwcf_jax.images import ImageError, Picture
from cwcf_jax.index.index_config import IndexConfig
from cwcf_jax.search import reranking
from cwcf_jax.store import ClassVectorStore, Location, MapStore, StoreConfig, write_images


@dataclasses.dataclass(frozen=True)
class EncodedPicture:
    """An `EncodedPicture` holds everything that an index stores of a picture, except its maps.

    Attributes:
        descriptor: shape [d]; the descriptor of the picture.
        values: shape [classes, d], int8; the class vectors, 0 for classes that are not stored. In a compact index,
            shape [regions, d]; the descriptors of the regions.
        scales: shape [classes] or [regions]; the quantization step of each row of ``values``.
    """

    descriptor: np.ndarray
    values: np.ndarray
    scales: np.ndarray


def write_maps(
    maps: MapStore, model: Model, extraction: ExtractionConfig, files: Mapping[str, Picture], progress: Progress
) -> dict[str, str]:
    """Computes and stores the maps of all pictures that have no maps yet.

    Args:
        maps: the map store.
        model: the model that computes the maps.
        extraction: how pictures are read.
        files: for each content, a file with this content.
        progress: function that is called with the number of pictures finished since the last call.

    Returns:
        For the content of each unreadable picture, a message.
    """
    missing = maps.missing(list(files))
    progress(len(files) - len(missing))
    unreadable = pass_pictures(
        [_VerifiedPicture(files[content], content) for content in missing],
        range(len(missing)),
        extraction,
        functools.partial(model_maps, model),
        lambda index, image_maps: maps.write(missing[index], **crop_maps(image_maps)),
        compile_bucket=functools.partial(compile_model_maps, model, extraction),
        progress=progress,
    )
    return {missing[picture.index]: picture.reason for picture in unreadable}


@dataclasses.dataclass(frozen=True)
class _VerifiedPicture:
    """A `_VerifiedPicture` is a picture that opens only if its file still has the content of the listing."""

    file: Picture
    content: str

    def open(self, mode: str, /) -> io.BytesIO:
        with self.file.open(mode) as stream:
            body = stream.read()
        if hashlib.sha256(body).hexdigest() != self.content:
            raise ImageError(f"{self.file}: changed while it was read; index it again")
        return io.BytesIO(body)

    def __str__(self) -> str:
        return str(self.file)


def describe(
    maps: MapStore, contents: Sequence[str], model: Model, whitening: Whitening, num_classes: int, own_classes: int = 0
) -> dict[str, EncodedPicture]:
    """Computes descriptors and class vectors of pictures from their stored maps.

    Args:
        maps: the map store.
        contents: contents of the pictures.
        model: the model that computed the maps.
        whitening: the whitening of the class vectors.
        num_classes: N_C, number of classes of a descriptor.
        own_classes: number of each picture's most probable classes with stored class vectors; 0: all classes.
    """
    pictures: dict[str, EncodedPicture] = {}
    for indices, batch in reranking.map_batches(maps.read, contents):
        encoded = _encode_batch(model, batch, whitening, num_classes=num_classes, own_classes=own_classes)
        descriptors, values, scales = map(np.asarray, encoded)
        for row, index in enumerate(indices):
            pictures[contents[index]] = EncodedPicture(descriptors[row], values[row], scales[row])
    return pictures


def describe_compactly(
    maps: MapStore, contents: Sequence[str], model: Model, whitening: Whitening, num_classes: int
) -> dict[str, EncodedPicture]:
    """Computes descriptors of pictures and of their regions, each under its own classes, from the stored maps."""
    pictures: dict[str, EncodedPicture] = {}
    for indices, batch in reranking.map_batches(maps.read, contents):
        descriptors = np.asarray(encoder.describe_grid(model, batch, whitening, num_classes=num_classes))
        values, scales = quantize(descriptors[:, 1:])
        for row, index in enumerate(indices):
            pictures[contents[index]] = EncodedPicture(descriptors[row, 0], values[row], scales[row])
    return pictures


@dataclasses.dataclass(frozen=True)
class VectorBlock:
    """A `VectorBlock` names pictures with consecutive rows in one fragment of a class-vector store.

    Attributes:
        vectors: location of the class-vector store, where a writer reserved the rows.
        first_row: row of the first picture.
        contents: distinct contents of the pictures.
    """

    vectors: Location
    first_row: int
    contents: tuple[str, ...]


def choose_layout(classes: int, dim: int, fragment: int, config: IndexConfig) -> StoreConfig:
    """Returns the layout of the class-vector store; a compact index stores regions in place of classes."""
    if config.compact:
        return StoreConfig(tuple(range(encoder.NUM_GRID_REGIONS)), dim, "int8", fragment)
    own_classes = config.own_classes if config.own_classes < classes else 0
    return StoreConfig(tuple(range(classes)), dim, "int8", fragment, own_classes)


def write_vectors(
    maps: MapStore, block: VectorBlock, model: Model, whitening: Whitening, num_classes: int, *, compact: bool
) -> Float[np.ndarray, "n d"]:
    """Writes the class vectors of pictures with stored maps, and returns the descriptors of the pictures.

    If ``compact``, the descriptors of the regions are written in place of the class vectors.
    """
    if compact:
        encoded = describe_compactly(maps, block.contents, model, whitening, num_classes)
    else:
        own_classes = ClassVectorStore(block.vectors).layout.own
        encoded = describe(maps, block.contents, model, whitening, num_classes, own_classes)
    pictures = [encoded[content] for content in block.contents]
    values = np.stack([picture.values for picture in pictures])
    scales = np.stack([picture.scales for picture in pictures])
    write_images(block.vectors, block.first_row, values, scales)
    return np.stack([picture.descriptor for picture in pictures])


@functools.partial(jax.jit, static_argnames=("num_classes", "own_classes"))
def _encode_batch(
    model: Model, maps: Maps, whitening: Whitening, *, num_classes: int, own_classes: int
) -> tuple[Float[Array, "b d"], Array, Float[Array, "b n"]]:
    embedded = encoder.embed_maps(model, maps, num_classes=num_classes, whitening=whitening, own_classes=own_classes)
    return embedded.descriptors, *quantize(embedded.vectors)
