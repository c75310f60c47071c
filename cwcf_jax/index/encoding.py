"""Pictures into what an index keeps of them: maps first, one by one, then all that follows from maps.

The network sees a picture once. Whatever a killed run had finished is found again by the picture's content; another
whitening needs no pass.
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
    """What an index keeps of a picture besides its maps.

    ``descriptor`` [d]; ``values`` [classes, d] int8 and ``scales`` [classes], its class vectors, 0 for those that are
    not kept; in a compact index [regions, d] and [regions], the descriptors of its regions.
    """

    descriptor: np.ndarray
    values: np.ndarray
    scales: np.ndarray


def keep_maps(
    maps: MapStore, model: Model, extraction: ExtractionConfig, files: Mapping[str, Picture], progress: Progress
) -> dict[str, str]:
    """The maps of pictures that are not there yet; returns why some have none.

    Args:
        maps: where they go.
        model: that makes the pass.
        extraction: how pictures are read.
        files: content -> a file with it.
        progress: called with how many more are finished.
    """
    missing = maps.missing(list(files))
    progress(len(files) - len(missing))
    unreadable = pass_pictures(
        [_VerifiedPicture(files[content], content) for content in missing],
        range(len(missing)),
        extraction,
        functools.partial(model_maps, model),
        lambda index, made: maps.write(missing[index], **crop_maps(made)),
        compile_bucket=functools.partial(compile_model_maps, model, extraction),
        progress=progress,
    )
    return {missing[one.index]: one.reason for one in unreadable}


@dataclasses.dataclass(frozen=True)
class _VerifiedPicture:
    """A picture that opens only while its file holds the content that it is known by."""

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
    maps: MapStore, contents: Sequence[str], model: Model, whitening: Whitening, num_classes: int, own: int = 0
) -> dict[str, EncodedPicture]:
    """Descriptors and class vectors of pictures from their kept maps; ``own``: see `store.StoreConfig`."""
    found: dict[str, EncodedPicture] = {}
    for places, made in reranking.map_batches(maps.read, contents):
        described = _described(model, made, whitening, num_classes=num_classes, own=own)
        descriptors, values, scales = map(np.asarray, described)
        for i, place in enumerate(places):
            found[contents[place]] = EncodedPicture(descriptors[i], values[i], scales[i])
    return found


def describe_compactly(
    maps: MapStore, contents: Sequence[str], model: Model, whitening: Whitening, num_classes: int
) -> dict[str, EncodedPicture]:
    """Descriptors of pictures and of their regions, each under its own classes, from their kept maps."""
    found: dict[str, EncodedPicture] = {}
    for places, made in reranking.map_batches(maps.read, contents):
        described = np.asarray(encoder.describe_grid(model, made, whitening, num_classes=num_classes))
        values, scales = quantize(described[:, 1:])
        for i, place in enumerate(places):
            found[contents[place]] = EncodedPicture(described[i, 0], values[i], scales[i])
    return found


@dataclasses.dataclass(frozen=True)
class VectorBlock:
    """Pictures whose class vectors follow one another in a fragment of a store.

    Attributes:
        vectors: the store, where a writer reserved their rows.
        first: row of the first.
        contents: of the pictures, distinct.
    """

    vectors: Location
    first: int
    contents: tuple[str, ...]


def choose_layout(classes: int, dim: int, fragment: int, settings: IndexConfig) -> StoreConfig:
    """Of class vectors; in a compact index of the descriptors of regions, which lie where classes do otherwise."""
    if settings.compact:
        return StoreConfig(tuple(range(encoder.REGIONS)), dim, "int8", fragment)
    own = settings.own_classes if settings.own_classes < classes else 0
    return StoreConfig(tuple(range(classes)), dim, "int8", fragment, own)


def keep_vectors(
    maps: MapStore, part: VectorBlock, model: Model, whitening: Whitening, num_classes: int, *, compact: bool
) -> Float[np.ndarray, "n d"]:
    """Writes the class vectors of pictures whose maps are kept; returns their descriptors.

    ``compact``: the descriptors of their regions instead.
    """
    if compact:
        described = describe_compactly(maps, part.contents, model, whitening, num_classes)
    else:
        own = ClassVectorStore(part.vectors).layout.own
        described = describe(maps, part.contents, model, whitening, num_classes, own)
    found = [described[content] for content in part.contents]
    values, scales = np.stack([one.values for one in found]), np.stack([one.scales for one in found])
    write_images(part.vectors, part.first, values, scales)
    return np.stack([one.descriptor for one in found])


@functools.partial(jax.jit, static_argnames=("num_classes", "own"))
def _described(
    model: Model, maps: Maps, whitening: Whitening, *, num_classes: int, own: int
) -> tuple[Float[Array, "b d"], Array, Float[Array, "b n"]]:
    embedded = encoder.embed_maps(model, maps, num_classes=num_classes, whitening=whitening, own=own)
    return embedded.descriptors, *quantize(embedded.vectors)
