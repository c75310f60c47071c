"""This module describes queries: a picture goes through the network once, for any number of regions and classes."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax import encoder
from cwcf_jax.arrays import bucket_shape
from cwcf_jax.descriptors import Whitening, whiten_normalized
from cwcf_jax.encoder import Maps, Model
from cwcf_jax.images import Box, Resize
from cwcf_jax.search import mean_vector, reranking

Corners = Sequence[float | int]
"""A box ``x1 y1 x2 y2`` in pixels of the upright picture."""


@dataclasses.dataclass(frozen=True)
class PreparedQuery:
    """A `PreparedQuery` is a picture after its pass through the network.

    Attributes:
        maps: the maps of the picture, with a batch axis of length 1.
        height, width: size of the upright picture, pixels.
    """

    maps: Maps
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """Returns the size of the maps in memory, bytes."""
        return sum(array.nbytes for array in self.maps)


@dataclasses.dataclass(frozen=True)
class QueryDescription:
    """A `QueryDescription` is a query that is ready for a search.

    Attributes:
        descriptor: shape [d]; the descriptor of the query.
        class_ids: shape [n]; the classes of the query, most probable first.
        vectors: shape [n, d]; the whitened class vectors of these classes.
        probabilities: shape [n]; the probabilities of these classes.
    """

    descriptor: Float[Array, " d"]
    class_ids: np.ndarray
    vectors: Float[Array, "n d"]
    probabilities: np.ndarray


def prepare(model: Model, resize: Resize, image: np.ndarray) -> PreparedQuery:
    """Runs an image [height, width, 3], uint8, RGB, through the network; raises ValueError for other arrays."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is [height, width, 3] of uint8, not {list(image.shape)} of {image.dtype}")
    return PreparedQuery(encoder.feature_maps(model, resize(image)[None]), image.shape[0], image.shape[1])


def as_batch(maps: dict[str, np.ndarray]) -> Maps:
    """Returns the stored maps of one picture as a padded batch of length 1."""
    shapes = (bucket_shape(maps[name].shape[:2], reranking.CELL_STEP) for name in ("features", "cam_features"))
    return reranking.stack_maps([maps], *shapes)


def describe(
    model: Model,
    whitening: Whitening,
    prepared: PreparedQuery,
    *,
    num_classes: int,
    box: Corners | None = None,
    class_ids: list[int] | None = None,
) -> QueryDescription:
    """Describes a query.

    Args:
        model: the model that computed the maps.
        whitening: the whitening of the class vectors.
        prepared: the picture.
        num_classes: N_C, number of most probable classes that describe the query.
        box: the region of the picture that is searched for; None: the whole picture.
        class_ids: classes that describe the query in place of the most probable ones.

    Raises:
        ValueError: the region is empty or not inside the picture.
    """
    pooled = encoder.class_vectors_from_maps(
        model,
        prepared.maps,
        jnp.asarray([[prepared.height, prepared.width]], jnp.int32),
        num_classes=num_classes,
        class_ids=jnp.asarray(class_ids, jnp.int32) if class_ids else None,
        boxes=None if box is None else jnp.asarray([_check_box(box, prepared)], jnp.float32),
    )
    vectors, descriptor = _aggregate(pooled.vectors[0], whitening)
    return QueryDescription(descriptor, np.asarray(pooled.class_ids[0]), vectors, np.asarray(pooled.probabilities[0]))


@jax.jit
def _aggregate(vectors: Float[Array, "n k"], whitening: Whitening) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """Returns the whitened class vectors and their aggregation."""
    whitened = whiten_normalized(vectors, whitening)
    return whitened, mean_vector(whitened)


def _check_box(box: Corners, prepared: PreparedQuery) -> Box:
    if len(box) != 4:
        raise ValueError(f"a region is x1,y1,x2,y2, not {len(box)} numbers")
    x1, y1, x2, y2 = map(float, box)
    width, height = prepared.width, prepared.height
    if not (np.all(np.isfinite(box)) and 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"the region {x1:g},{y1:g},{x2:g},{y2:g} does not lie within the picture's {width} x {height}")
    return x1, y1, x2, y2
