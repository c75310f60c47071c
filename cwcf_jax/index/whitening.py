"""The whitening of an index where none ships: fitted on its own pictures if there are enough, else left out."""

import hashlib
import pathlib
import zipfile
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from cwcf_jax import descriptors, encoder, files
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Maps, Model

FILE = "whitening.npz"

MIN_PICTURES = 50
"""Pictures below which none is fitted: with fewer it can cost more than it brings (docs/collections.md)."""

SAMPLE = 500
"""Pictures that it is fitted on, at most."""

CLASSES = 1
"""Class vectors of each, N_pca: what a collection shows often must not be taken for noise."""

SHRINKAGE = 0.98
"""How far the variances are drawn to their mean."""


def fit(model: Model, batches: Iterable[Maps], dim: int, fitted_on: str) -> Whitening:
    """Fits on the class vectors of pictures whose maps are given, by `fit_shrinkage_whitening`."""
    count = min(CLASSES, model.network.spec.num_labels)
    vectors = [np.asarray(_top(model, maps, count)) for maps in batches]
    data = np.concatenate([one.reshape(-1, one.shape[-1]) for one in vectors])
    return descriptors.fit_shrinkage_whitening(data, ratio=SHRINKAGE, dim=dim, fitted_on=fitted_on)


def _top(model: Model, maps: Maps, count: int) -> np.ndarray:
    found = encoder.embed_maps(model, maps, num_classes=1)
    places = np.argsort(-np.asarray(found.probabilities), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(np.asarray(found.vectors), places[..., None], axis=1)


def none(dim: int, feature_dim: int) -> Whitening:
    """What changes nothing but the number of dimensions: the first ``dim`` of an orthonormal basis.

    A random rotation (seed 0) keeps cosines as well as any choice that looks at no data.
    """
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(feature_dim, feature_dim)))[0][:, :dim]
    return Whitening(
        jnp.zeros(feature_dim), jnp.asarray(basis, jnp.float32), jnp.ones(basis.shape[1]), fitted_on="nothing"
    )


def fingerprint(whitening: Whitening) -> str:
    """sha256 over its arrays."""
    digest = hashlib.sha256()
    for array in (whitening.mean, whitening.projection, whitening.eigenvalues):
        digest.update(repr(array.shape).encode() + np.asarray(array, "<f4").tobytes())
    return digest.hexdigest()


def save(whitening: Whitening, folder: pathlib.Path) -> None:
    """Keeps a whitening."""
    with files.replacing(folder / FILE) as partial, partial.open("wb") as stream:
        np.savez(
            stream,
            mean=whitening.mean,
            projection=whitening.projection,
            eigenvalues=whitening.eigenvalues,
            fitted_on=whitening.fitted_on,
        )


def read(folder: pathlib.Path) -> Whitening:
    """A whitening that `save` kept; ValueError names a file that cannot be used."""
    file = folder / FILE
    try:
        with file.open("rb") as stream, np.load(stream) as content:  # numpy leaves a damaged file open
            mean, projection, eigenvalues = (
                jnp.asarray(content[name]) for name in ("mean", "projection", "eigenvalues")
            )
            return Whitening(mean, projection, eigenvalues, str(content["fitted_on"]))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be used ({error}); index the folder anew") from error
