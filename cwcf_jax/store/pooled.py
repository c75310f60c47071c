"""This module stores the pooled features of each image (`encoder.PooledFeatures`), at one scale or several."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cwcf_jax import descriptors
from cwcf_jax.store.rows import RowStore


class PooledStore(RowStore):
    """A `PooledStore` holds the `encoder.PooledFeatures` of n images over all classes.

    Attributes:
        sums: shape [n, k]; sum-pooled features.
        channel_weights: shape [n, k]; channel weights.
        class_sums: shape [n, classes, k]; features pooled under the CAM of each class, or power means (``gem``).
        logits: shape [n, classes]; logits of the classifier.
        channel_weighting: whether `class_vectors` multiplies ``class_sums`` by ``channel_weights``.
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
        """Opens the store in ``folder``, or starts a new one; errors as in `RowStore`.

        Args:
            folder: folder of the store, created with its parents if missing.
            fingerprint: fingerprint of the rows, which includes the pooling.
            length: number of images.
            classes: number of classes.
            dim: number of channels, k.
            channel_weighting: whether class vectors are ``class_sums`` times ``channel_weights`` (Eq. 4), or
                ``class_sums`` alone.
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
        """Returns the stores of all scales: this store alone."""
        return (self,)

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Returns the class vectors [rows, n, k] of some rows; ``class_ids`` has shape [n], or [rows, n] by row."""
        indices = np.arange(self.length)[rows]
        sums = np.asarray(self.class_sums[indices[:, None], class_ids])
        weights = np.asarray(self.channel_weights[rows]) if self.channel_weighting else None
        return np.asarray(descriptors.class_vectors(sums, weights))


class PooledScales:
    """A `PooledScales` joins the rows of the same images at several scales, for descriptors over all scales.

    The first scale gives the sum-pooled features, the logits and so the classes. A row is done if it is done at every
    scale.

    Attributes:
        scales: one store for each scale.
        length: number of images.
        logits: logits of the first scale, see `PooledStore`.
        sums: sum-pooled features of the first scale.
        channel_weights: channel weights of the first scale.
    """

    def __init__(self, scales: Sequence[PooledStore]) -> None:
        """Joins stores of the same images; raises ValueError if there are none, or their lengths differ."""
        if len({store.length for store in scales}) != 1:
            raise ValueError("the stores of several scales must be of the same images")
        self.scales = tuple(scales)
        first = self.scales[0]
        self.length, self.logits = first.length, first.logits
        self.sums, self.channel_weights = first.sums, first.channel_weights

    @property
    def done(self) -> np.ndarray:
        """Returns which images have rows at every scale, [n] bool."""
        return np.all([store.done for store in self.scales], axis=0)

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Returns the `PooledStore.class_vectors` of the first scale."""
        return self.scales[0].class_vectors(rows, class_ids)


PooledRows = PooledStore | PooledScales
"""The pooled rows of images, at one scale or at several."""
