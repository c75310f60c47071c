"""This module computes class vectors and descriptors from stored feature maps, without a run of the network."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import descriptors
from cwcf_jax.arrays import l2_normalize
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.arguments import check_classes
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.passes import ClassVectors, Maps, feature_maps, pool_maps, pooled_vectors


class Embeddings(NamedTuple):
    """`Embeddings` are the arrays that an index stores of images, for offline and for online aggregation.

    Attributes:
        vectors: [b, num_labels, d], the whitened class vectors of norm 1 of all classes in order. The normalised sum of
            the rows of a query's classes is an image's OnA descriptor.
        descriptors: [b, d], the OfA descriptors that `encode` returns.
        probabilities: [b, num_labels], the softmax over all classes.
    """

    vectors: Float[Array, "*b num_labels d"]
    descriptors: Float[Array, "*b d"]
    probabilities: Float[Array, "*b num_labels"]


def embed_classes(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    whitening: Whitening | None = None,
    sizes: ArrayLike | None = None,
) -> Embeddings:
    """Computes the class vectors of all classes, and the descriptor, of each image. Arguments and errors: see `encode`.

    Raises:
        ValueError: also for a model with ``repeat_dropped``, where the vector that replaces a dropped class depends on
            the order of the query's classes.
    """
    return embed_maps(model, feature_maps(model, images, sizes=sizes), num_classes=num_classes, whitening=whitening)


def embed_maps(
    model: Model, maps: Maps, *, num_classes: int = 64, whitening: Whitening | None = None, own_classes: int = 0
) -> Embeddings:
    """Computes `embed_classes` from the maps of images, without a run of the network.

    Args:
        model: the model that computed the maps.
        maps: the maps of b images.
        num_classes: N_C of the descriptors.
        whitening: see `encode`.
        own_classes: the number of each image's most probable classes with computed vectors; the vectors of all other
            classes are 0. 0: the vectors of all classes are computed.

    Raises:
        ValueError: see `embed_classes`.
    """
    if model.config.repeat_dropped:
        raise ValueError(
            "class vectors that are kept for online aggregation drop classes without evidence; load the model without "
            "repeat_dropped"
        )
    check_classes(model, num_classes, whitening)
    num_labels = model.network.spec.num_labels
    if not 0 <= own_classes <= num_labels:
        raise ValueError(f"own_classes must be 0 (all) to {num_labels} classes, not {own_classes}")
    return _embed_maps(model, maps, whitening, num_classes=num_classes, own_classes=own_classes or num_labels)


@functools.partial(jax.jit, static_argnames=("num_classes", "own_classes"))
def _embed_maps(
    model: Model, maps: Maps, whitening: Whitening | None, *, num_classes: int, own_classes: int
) -> Embeddings:
    num_labels = model.network.spec.num_labels

    def embed_image(image_maps: Maps) -> Embeddings:
        count = max(own_classes, num_classes)
        pooled = pool_maps(model, image_maps, image_maps.feature_size, None, None, num_classes=count)
        vectors, class_ids, _ = pooled_vectors(model, pooled)
        whitened = descriptors.whiten_normalized(vectors, whitening)
        own_ids, own_vectors = class_ids[:own_classes], whitened[:own_classes]
        by_class = jnp.zeros((num_labels, whitened.shape[1])).at[own_ids].set(own_vectors, unique_indices=True)
        descriptor = l2_normalize(jnp.sum(whitened[:num_classes], axis=0))
        return Embeddings(by_class, descriptor, jax.nn.softmax(pooled.logits))

    return jax.vmap(embed_image)(maps)


@functools.partial(jax.jit, static_argnames="num_classes")
def class_vectors_from_maps(
    model: Model,
    maps: Maps,
    image_sizes: Int[Array, "b 2"],
    *,
    num_classes: int = 64,
    class_ids: Int[Array, " n"] | None = None,
    boxes: Float[Array, "b 4"] | None = None,
) -> ClassVectors:
    """Computes `class_vectors` from the maps of images: other boxes or classes need no further run of the network.

    Args:
        model: the model that computed the maps.
        maps: the maps of b images.
        image_sizes: [b, 2], height and width of each image in pixels, the unit of ``boxes``.
        num_classes: N_C.
        class_ids: [n], the classes to pool; None: each image's own most probable classes.
        boxes: [b, 4], boxes ``x1 y1 x2 y2`` in pixels; None: whole images.
    """

    def pool_image(image_maps: Maps, size: Int[Array, "2"], box: Float[Array, "4"] | None) -> ClassVectors:
        return pooled_vectors(model, pool_maps(model, image_maps, size, box, class_ids, num_classes=num_classes))

    return jax.vmap(pool_image)(maps, image_sizes, boxes)
