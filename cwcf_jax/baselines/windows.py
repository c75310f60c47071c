"""R-MAC's re-ranking: the query is located in each image by approximate max-pooling (Tolias et al. 2016)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import Size, bucket_shape
from cwcf_jax.descriptors import Whitening, localization, rmac

CELLS = 8
"""Cells to which the sides of maps are rounded up, so that few shapes get compiled."""

PERCENTILE = 99.0
"""Of the activations that are positive: what counts as a typical maximum when they are quantised."""


def quantization_unit(maps: list[np.ndarray]) -> float:
    """The step of `localization.quantize` for a network: an eighth of a typical maximum."""
    positive = np.concatenate([one[one > 0] for one in maps])
    return float(np.percentile(positive, PERCENTILE)) / localization.LEVELS if len(positive) else 1.0


@dataclasses.dataclass(frozen=True)
class RmacWindows:
    """Scores images by the window that is most like a query.

    Attributes:
        read: gives an image's maps of the layer [h, w, k].
        whitening: of region vectors.
        unit: step of the quantised activations.
    """

    read: Callable[[int], np.ndarray]
    whitening: Whitening | None
    unit: float

    def search(
        self, maxima: np.ndarray, query: Float[Array, " d"], aspect: float, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cosines [r] of the query with the R-MAC descriptor of each image's best window, and these descriptors [r, d].

        As in the authors' released code, windows are sought and described in quantised maps.

        Args:
            maxima: [k], maximum of each channel over the query region: what windows are sought with.
            query: [d], the query's R-MAC descriptor.
            aspect: rows divided by columns of the query region.
            rows: [r] images.
        """
        vectors = np.stack([self._describe(self.read(row), maxima, aspect) for row in rows.tolist()])
        return np.asarray(jnp.asarray(vectors) @ query), vectors

    def _describe(self, features: np.ndarray, maxima: np.ndarray, aspect: float) -> np.ndarray:
        size = np.array(features.shape[:2], np.int32)
        padded = np.zeros((*bucket_shape(features.shape[:2], CELLS), features.shape[2]), np.float32)
        padded[: size[0], : size[1]] = features
        quantized, box = _locate(padded, size, jnp.asarray(maxima), jnp.float32(aspect), jnp.float32(self.unit))
        x1, y1, x2, y2 = np.asarray(box).tolist()
        boxes, valid = rmac.pad_regions(rmac.regions(y2 - y1, x2 - x1) + np.array([x1, y1, x1, y1]))
        return np.asarray(_describe(quantized, jnp.asarray(boxes), jnp.asarray(valid), self.whitening))


@jax.jit
def _locate(
    features: Float[Array, "h w k"],
    size: Size,
    maxima: Float[Array, " k"],
    aspect: Float[Array, ""],
    unit: Float[Array, ""],
) -> tuple[Float[Array, "h w k"], Int[Array, "4"]]:
    quantized = localization.quantize(features, unit)
    return quantized, localization.localize(quantized, size, maxima, aspect)[0]


@jax.jit
def _describe(
    quantized: Float[Array, "h w k"], boxes: Int[Array, "r 4"], valid: Bool[Array, " r"], whitening: Whitening | None
) -> Float[Array, " d"]:
    return descriptors.aggregate(rmac.max_over_regions(quantized, boxes, valid), whitening)
