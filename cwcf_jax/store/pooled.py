"""This module stores what one pass pools of each image (`encoder.PooledFeatures`), at one scale or several."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cwcf_jax import descriptors
from cwcf_jax.store.rows import RowStore


class PooledStore(RowStore):
    """Rows of `encoder.PooledFeatures` over all classes for a list of images.

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

    @property
    def scales(self) -> tuple["PooledStore", ...]:
        """Itself: the images at one scale."""
        return (self,)

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Class vectors [rows, n, k] of the given rows; ``class_ids`` [n], or [rows, n] for each its own."""
        indices = np.arange(self.length)[rows]
        sums = np.asarray(self.class_sums[indices[:, None], class_ids])
        weights = np.asarray(self.channel_weights[rows]) if self.channel_weighting else None
        return np.asarray(descriptors.class_vectors(sums, weights))


class PooledScales:
    """The rows of the same images at several scales, for descriptors that sum the class vectors of all of them.

    Raw features, logits and with them the classes are those of the first scale; a row is done where it is at every
    scale.

    Attributes:
        scales: a store for each scale.
        length: how many images.
    """

    def __init__(self, scales: Sequence[PooledStore]) -> None:
        """Joins stores of the same images; ValueError if there are none, or their lengths differ."""
        if len({store.length for store in scales}) != 1:
            raise ValueError("the stores of several scales must be of the same images")
        self.scales = tuple(scales)
        first = self.scales[0]
        self.length, self.logits = first.length, first.logits
        self.sums, self.channel_weights = first.sums, first.channel_weights

    @property
    def done(self) -> np.ndarray:
        """[n] bool, which images every scale has."""
        return np.all([store.done for store in self.scales], axis=0)

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """`PooledStore.class_vectors` of the first scale."""
        return self.scales[0].class_vectors(rows, class_ids)


PooledRows = PooledStore | PooledScales
"""Images at one scale or at several."""
