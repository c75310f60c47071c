"""What one pass leaves of each image (`encoder.Pooled` over all classes), on disk."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cwcf_jax import descriptors
from cwcf_jax.store.rows import RowStore


class PooledStore(RowStore):
    """Rows of `encoder.Pooled` over all classes for a list of images.

    Attributes:
        sums: [n, k] raw features.
        channel_weights: [n, k].
        class_sums: [n, classes, k], row c of image i at ``class_sums[i, c]``; under the pooling ``gem`` power means.
        logits: [n, classes].
        channel_weighting: whether `class_vectors` multiplies the two.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        fingerprint: Mapping[str, Any],
        *,
        length: int,
        classes: int,
        dim: int,
        channel_weighting: bool = True,
    ) -> None:
        """A `RowStore` of images with so many classes.

        Args:
            folder: see `RowStore`, as for the errors.
            fingerprint: what the rows depend on, the pooling included.
            length: how many images.
            classes: how many classes each has a row of.
            dim: channels of a class vector.
            channel_weighting: whether class vectors are ``class_sums`` times ``channel_weights`` (Eq. 4), or the former
                alone.
        """
        fields: dict[str, tuple[int, ...]] = {
            "sums": (dim,),
            "channel_weights": (dim,),
            "class_sums": (classes, dim),
            "logits": (classes,),
        }
        super().__init__(folder, fingerprint, length=length, fields=fields)
        self.sums, self.channel_weights = self.arrays["sums"], self.arrays["channel_weights"]
        self.class_sums, self.logits = self.arrays["class_sums"], self.arrays["logits"]
        self.channel_weighting = channel_weighting

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Class vectors [rows, n, k] of the given rows; ``class_ids`` [n], or [rows, n] for each its own."""
        indices = np.arange(self.length)[rows]
        sums = np.asarray(self.class_sums[indices[:, None], class_ids])
        weights = np.asarray(self.channel_weights[rows]) if self.channel_weighting else None
        return np.asarray(descriptors.class_vectors(sums, weights))
