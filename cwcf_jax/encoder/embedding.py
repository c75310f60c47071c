"""Class vectors from maps: for what an index keeps of an image, and for queries under other boxes or classes."""

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
    """What an index keeps of an image: everything for both strategies, from one pass.

    ``vectors`` [b, classes, d], the whitened class vectors of norm 1 of all classes in order, whose sums are
    descriptors (OnA); ``descriptors`` [b, d], what `encode` gives (OfA); ``probabilities`` [b, classes].
    """

    vectors: Float[Array, "*b classes d"]
    descriptors: Float[Array, "*b d"]
    probabilities: Float[Array, "*b classes"]


def embed_classes(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    whitening: Whitening | None = None,
    sizes: ArrayLike | None = None,
) -> Embeddings:
    """All classes of each image at once, and its descriptor beside them. Arguments and errors as in `encode`.

    Raises:
        ValueError: also if the model repeats dropped classes: what stands in for them depends on the query's order.
    """
    return embed_maps(model, feature_maps(model, images, sizes=sizes), num_classes=num_classes, whitening=whitening)


def embed_maps(
    model: Model, maps: Maps, *, num_classes: int = 64, whitening: Whitening | None = None, own: int = 0
) -> Embeddings:
    """`embed_classes` of images whose maps are at hand: no network pass. Arguments and errors as there.

    ``own``: only the vectors of each image's this many most probable classes are computed, those of others are 0; 0:
    those of all classes.
    """
    if model.config.repeat_dropped:
        raise ValueError(
            "class vectors that are kept for online aggregation drop classes without evidence; load the model without "
            "repeat_dropped"
        )
    check_classes(model, num_classes, whitening)
    classes = model.network.spec.num_labels
    if not 0 <= own <= classes:
        raise ValueError(f"own must be 0 (all) to {classes} classes, not {own}")
    return _embed_maps(model, maps, whitening, num_classes=num_classes, own=own or classes)


@functools.partial(jax.jit, static_argnames=("num_classes", "own"))
def _embed_maps(model: Model, maps: Maps, whitening: Whitening | None, *, num_classes: int, own: int) -> Embeddings:
    classes = model.network.spec.num_labels

    def one_image(one: Maps) -> Embeddings:
        pooled = pool_maps(model, one, one.feature_size, None, None, num_classes=max(own, num_classes))
        vectors, class_ids, _ = pooled_vectors(model, pooled)
        embedded = descriptors.whiten_normalized(vectors, whitening)
        kept = jnp.zeros((classes, embedded.shape[1])).at[class_ids[:own]].set(embedded[:own], unique_indices=True)
        descriptor = l2_normalize(jnp.sum(embedded[:num_classes], axis=0))
        return Embeddings(kept, descriptor, jax.nn.softmax(pooled.logits))

    return jax.vmap(one_image)(maps)


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
    """`class_vectors` of images whose maps are at hand: other regions or classes need no network pass.

    Args:
        model: whose maps they are.
        maps: of b images.
        image_sizes: height and width of each, in the pixels of its box.
        num_classes: N_C.
        class_ids: the classes, instead of each image's own.
        boxes: regions of interest ``x1 y1 x2 y2``; None: whole images.
    """

    def one_image(one: Maps, size: Int[Array, "2"], box: Float[Array, "4"] | None) -> ClassVectors:
        return pooled_vectors(model, pool_maps(model, one, size, box, class_ids, num_classes=num_classes))

    return jax.vmap(one_image)(maps, image_sizes, boxes)
