"""This module fits PCA whitenings in float64 on the host, and applies them in float32 inside JAX transformations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("mean", "projection", "eigenvalues"),
    meta_fields=(),
    drop_fields=("fitted_on",),
)
@dataclasses.dataclass(frozen=True)
class Whitening:
    """A `Whitening` is a fitted PCA projection that gives all dimensions the same variance; a pytree of three arrays.

    Attributes:
        mean: [k], the mean that is subtracted first.
        projection: [k, d], orthonormal directions, in the order of decreasing variance.
        eigenvalues: [d], the variances of the directions, possibly regularised, all positive.
        fitted_on: the name of the whitening images, for people and results files. The name is no part of the pytree:
            another name causes no compilation, and a whitening from a JAX transformation has no name.
    """

    mean: Float[Array, " k"]
    projection: Float[Array, "k d"]
    eigenvalues: Float[Array, " d"]
    fitted_on: str = ""

    @property
    def dim(self) -> int:
        """Returns the number of dimensions after whitening."""
        return self.projection.shape[1]


def fit_pca_whitening(vectors: ArrayLike, *, dim: int | None = None, fitted_on: str = "") -> Whitening:
    """Fits a whitening by centred PCA, with variances over n - 1 (Jegou & Chum 2012; [13] of the paper).

    Directions without variance are dropped. Therefore too few vectors give fewer than ``dim`` dimensions.

    Args:
        vectors: [n, k], finite, not all equal; zero vectors, which stand for dropped classes, are ignored.
        dim: the largest number of directions; None: all directions with variance.
        fitted_on: the name of the whitening images.

    Raises:
        ValueError: a whitening cannot be fitted on the vectors, or ``dim`` is below 1.
    """
    mean, eigenvalues, directions = _principal_components(vectors)
    count = _num_dimensions(eigenvalues, dim)
    return _whitening(mean, eigenvalues[:count], directions[:, :count], fitted_on)


def fit_shrinkage_whitening(
    vectors: ArrayLike, *, ratio: float = 0.2, dim: int | None = None, fitted_on: str = ""
) -> Whitening:
    """Fits a PCA whitening with regularised eigenvalues: ``(1 - ratio) lambda + ratio mean(lambda)``.

    The shrinkage ``ratio`` keeps directions of small, badly estimated variance from being scaled up too much. With
    ``ratio`` > 0 all k directions are kept, also directions without variance. ``ratio`` 0 is `fit_pca_whitening`; 1
    only centres and rotates. The source is Ledoit & Wolf 2004, here with a fixed ratio. Other arguments and errors are
    those of `fit_pca_whitening`.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"the shrinkage ratio must lie between 0 and 1, not {ratio}")
    if ratio == 0.0:
        return fit_pca_whitening(vectors, dim=dim, fitted_on=fitted_on)
    mean, eigenvalues, directions = _principal_components(vectors)
    shrunk = (1.0 - ratio) * np.maximum(eigenvalues, 0.0) + ratio * np.maximum(eigenvalues, 0.0).mean()
    count = _num_dimensions(shrunk, dim)
    return _whitening(mean, shrunk[:count], directions[:, :count], fitted_on)


@dataclasses.dataclass(frozen=True)
class WhiteningConfig:
    """A `WhiteningConfig` says how to fit a whitening.

    Attributes:
        kind: ``pca`` or ``shrinkage``.
        dim: the largest number of dimensions; None: all dimensions.
        shrinkage: the ratio of `fit_shrinkage_whitening`; unused if ``kind`` is ``pca``.
    """

    kind: str = "pca"
    dim: int | None = None
    shrinkage: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("pca", "shrinkage"):
            raise ValueError(f"unknown whitening {self.kind!r}; known: pca, shrinkage")

    def fit(self, vectors: np.ndarray, fitted_on: str) -> Whitening:
        """Fits a whitening on vectors [n, k] by `fit_pca_whitening` or `fit_shrinkage_whitening`."""
        if self.kind == "pca":
            return fit_pca_whitening(vectors, dim=self.dim, fitted_on=fitted_on)
        return fit_shrinkage_whitening(vectors, ratio=self.shrinkage, dim=self.dim, fitted_on=fitted_on)


def whiten(vectors: Float[Array, "*batch k"], whitening: Whitening) -> Float[Array, "*batch d"]:
    """Computes ``(vector - mean) projection / sqrt(eigenvalues)`` for each vector."""
    scaled = whitening.projection * jax.lax.rsqrt(whitening.eigenvalues)[None, :]
    mean = jnp.expand_dims(whitening.mean, tuple(range(vectors.ndim - 1)))
    return jnp.matmul(
        vectors - mean,
        scaled,
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )


def _principal_components(vectors: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = np.asarray(vectors, np.float64)
    if data.ndim != 2 or data.shape[0] < 2:
        raise ValueError(f"whitening needs at least 2 vectors as rows of [n, k], not an array of shape {data.shape}")
    if not np.isfinite(data).all():
        raise ValueError("whitening cannot be fitted on vectors that are not finite")
    data = data[np.any(data != 0, axis=1)]
    if len(data) < 2:
        raise ValueError("whitening needs at least 2 vectors that are not zero")
    mean = data.mean(axis=0)
    centred = data - mean
    eigenvalues, directions = np.linalg.eigh(centred.T @ centred / (data.shape[0] - 1))
    if _num_dimensions(eigenvalues[::-1], None) == 0:
        raise ValueError("whitening cannot be fitted on vectors that are all equal")
    return mean, eigenvalues[::-1], directions[:, ::-1]


def _num_dimensions(eigenvalues: np.ndarray, dim: int | None) -> int:
    if dim is not None and dim < 1:
        raise ValueError(f"whitening keeps at least 1 dimension, not {dim}")
    floor = eigenvalues[0] * len(eigenvalues) * np.finfo(np.float64).eps
    with_variance = int(np.sum(eigenvalues > max(floor, 0.0)))
    return with_variance if dim is None else min(dim, with_variance)


def _whitening(mean: np.ndarray, eigenvalues: np.ndarray, directions: np.ndarray, fitted_on: str) -> Whitening:
    return Whitening(
        mean=jnp.asarray(mean, jnp.float32),
        projection=jnp.asarray(directions, jnp.float32),
        eigenvalues=jnp.asarray(eigenvalues, jnp.float32),
        fitted_on=fitted_on,
    )
