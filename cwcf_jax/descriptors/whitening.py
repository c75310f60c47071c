"""PCA whitening; fitting (float64, on the host) and applying (jitted) are apart."""

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
    """A fitted whitening: a pytree of three arrays.

    Attributes:
        mean: [k], subtracted first.
        projection: [k, d], orthonormal directions, the one of largest variance first.
        eigenvalues: [d], the (possibly shrunk) variances that are divided out, all positive.
        fitted_on: a name of the data it was fitted on, for people and results files. The name is no part of the
            pytree: it compiles nothing again, and what a JAX transformation returns has none.
    """

    mean: Float[Array, " k"]
    projection: Float[Array, "k d"]
    eigenvalues: Float[Array, " d"]
    fitted_on: str = ""

    @property
    def dim(self) -> int:
        """Dimensions after whitening."""
        return self.projection.shape[1]


def fit_pca_whitening(vectors: ArrayLike, *, dim: int | None = None, fitted_on: str = "") -> Whitening:
    """Centred PCA of ``vectors`` [n, k], variances with n - 1 (Jegou & Chum 2012; [13] of the paper).

    Directions without variance are dropped, so fewer than ``dim`` come back when there are too few vectors.

    Args:
        vectors: [n, k], finite, not all equal; zero vectors, which stand for dropped classes, are left out.
        dim: how many directions to keep, at most; None keeps all that have variance.
        fitted_on: a name for the data.

    Raises:
        ValueError: the vectors cannot carry a whitening.
    """
    mean, eigenvalues, directions = _principal_components(vectors)
    kept = _kept(eigenvalues, dim)
    return _whitening(mean, eigenvalues[:kept], directions[:, :kept], fitted_on)


def fit_shrinkage_whitening(
    vectors: ArrayLike, *, ratio: float = 0.2, dim: int | None = None, fitted_on: str = ""
) -> Whitening:
    """PCA whitening with each eigenvalue drawn to their mean: ``(1 - ratio) lambda + ratio mean(lambda)``.

    Directions that too few vectors describe badly are then not blown up: with ``ratio`` > 0 all k directions stay,
    those without variance included. ``ratio`` 0 is `fit_pca_whitening`, 1 only centres and rotates.
    Source: Ledoit & Wolf 2004, with a fixed ratio. Arguments and errors as in `fit_pca_whitening`.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"the shrinkage ratio must lie between 0 and 1, not {ratio}")
    if ratio == 0.0:
        return fit_pca_whitening(vectors, dim=dim, fitted_on=fitted_on)
    mean, eigenvalues, directions = _principal_components(vectors)
    shrunk = (1.0 - ratio) * np.maximum(eigenvalues, 0.0) + ratio * np.maximum(eigenvalues, 0.0).mean()
    kept = _kept(shrunk, dim)
    return _whitening(mean, shrunk[:kept], directions[:, :kept], fitted_on)


@dataclasses.dataclass(frozen=True)
class WhiteningConfig:
    """How to fit a whitening, chosen before there are vectors.

    Attributes:
        kind: ``pca`` or ``shrinkage``.
        dim: dimensions to keep, at most; None keeps all.
        shrinkage: the ratio of `fit_shrinkage_whitening`.
    """

    kind: str = "pca"
    dim: int | None = None
    shrinkage: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("pca", "shrinkage"):
            raise ValueError(f"unknown whitening {self.kind!r}; known: pca, shrinkage")

    def fit(self, vectors: np.ndarray, fitted_on: str) -> Whitening:
        """Fits on [n, k] as `fit_pca_whitening` or `fit_shrinkage_whitening` do."""
        if self.kind == "pca":
            return fit_pca_whitening(vectors, dim=self.dim, fitted_on=fitted_on)
        return fit_shrinkage_whitening(vectors, ratio=self.shrinkage, dim=self.dim, fitted_on=fitted_on)


def whiten(vectors: Float[Array, "*batch k"], whitening: Whitening) -> Float[Array, "*batch d"]:
    """``(vector - mean) projection / sqrt(eigenvalues)``."""
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
    if _kept(eigenvalues[::-1], None) == 0:
        raise ValueError("whitening cannot be fitted on vectors that are all equal")
    return mean, eigenvalues[::-1], directions[:, ::-1]


def _kept(eigenvalues: np.ndarray, dim: int | None) -> int:
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
