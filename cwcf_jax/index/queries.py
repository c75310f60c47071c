"""A query: a picture through the network once, then described as often as its region or classes change."""

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
"""``x1 y1 x2 y2`` in the upright picture's pixels."""


@dataclasses.dataclass(frozen=True)
class PreparedQuery:
    """A picture after its pass: the maps of one image, with a batch axis, and the upright picture's sides, pixels."""

    maps: Maps
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return sum(part.nbytes for part in self.maps)


@dataclasses.dataclass(frozen=True)
class QueryDescription:
    """A query.

    ``descriptor`` [d]; ``class_ids`` [n], what it is made of, most probable first, with ``vectors`` [n, d] and
    ``probabilities`` [n].
    """

    descriptor: Float[Array, " d"]
    class_ids: np.ndarray
    vectors: Float[Array, "n d"]
    probabilities: np.ndarray


def prepare(model: Model, resize: Resize, image: np.ndarray) -> PreparedQuery:
    """A picture [height, width, 3], uint8 RGB, through the network; ValueError if it is none."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is [height, width, 3] of uint8, not {list(image.shape)} of {image.dtype}")
    return PreparedQuery(encoder.feature_maps(model, resize(image)[None]), image.shape[0], image.shape[1])


def one_image(maps: dict[str, np.ndarray]) -> Maps:
    """Kept maps of one image as a padded batch of one."""
    shapes = (bucket_shape(maps[name].shape[:2], reranking.CELLS) for name in ("features", "cam_features"))
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
    """The query of a picture or a region of it; ValueError if the region has no area or lies outside."""
    found = encoder.class_vectors_from_maps(
        model,
        prepared.maps,
        jnp.asarray([[prepared.height, prepared.width]], jnp.int32),
        num_classes=num_classes,
        class_ids=jnp.asarray(class_ids, jnp.int32) if class_ids else None,
        boxes=None if box is None else jnp.asarray([_checked(box, prepared)], jnp.float32),
    )
    vectors, descriptor = embedded(found.vectors[0], whitening)
    return QueryDescription(descriptor, np.asarray(found.class_ids[0]), vectors, np.asarray(found.probabilities[0]))


@jax.jit
def embedded(vectors: Float[Array, "n k"], fitted: Whitening) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    """Class vectors whitened, and the descriptor they make."""
    whitened = whiten_normalized(vectors, fitted)
    return whitened, mean_vector(whitened)


def _checked(box: Corners, prepared: PreparedQuery) -> Box:
    if len(box) != 4:
        raise ValueError(f"a region is x1,y1,x2,y2, not {len(box)} numbers")
    x1, y1, x2, y2 = map(float, box)
    width, height = prepared.width, prepared.height
    if not (np.all(np.isfinite(box)) and 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"the region {x1:g},{y1:g},{x2:g},{y2:g} does not lie within the picture's {width} x {height}")
    return x1, y1, x2, y2
