"""This module fits, reads and writes the whitening of an index.

If the library ships no whitening for the model, the whitening is fitted on the index's own pictures. With too few
pictures, a random rotation takes its place.
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from cwcf_jax import descriptors, encoder, files
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Maps, Model

WHITENING_FILE = "whitening.npz"

MIN_PICTURES = 50
"""The smallest number of pictures to fit a whitening on; with fewer, results may get worse (docs/collections.md)."""

MAX_PICTURES = 500
"""The largest number of pictures that a whitening is fitted on."""

NPCA = 1
"""N_pca, the number of class vectors of each picture. It is small, so that frequent objects do not count as noise."""

SHRINKAGE = 0.98
"""The shrinkage of the whitening."""


def fit(model: Model, batches: Iterable[Maps], dim: int, fitted_on: str) -> Whitening:
    """Fits a whitening on the class vectors of pictures by `fit_shrinkage_whitening`.

    Args:
        model: the model that computed the maps.
        batches: batches of maps.
        dim: number of dimensions of a descriptor.
        fitted_on: a description of the pictures.
    """
    count = min(NPCA, model.network.spec.num_labels)
    vectors = [np.asarray(_top_class_vectors(model, maps, count)) for maps in batches]
    data = np.concatenate([batch.reshape(-1, batch.shape[-1]) for batch in vectors])
    return descriptors.fit_shrinkage_whitening(data, ratio=SHRINKAGE, dim=dim, fitted_on=fitted_on)


def _top_class_vectors(model: Model, maps: Maps, count: int) -> np.ndarray:
    embedded = encoder.embed_maps(model, maps, num_classes=1)
    classes = np.argsort(-np.asarray(embedded.probabilities), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(np.asarray(embedded.vectors), classes[..., None], axis=1)


def random_rotation(dim: int, feature_dim: int) -> Whitening:
    """Returns a whitening that only reduces the number of dimensions, with ``dim`` vectors of an orthonormal basis.

    The basis is a random rotation (seed 0). Without data, no other choice preserves cosines better.
    """
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(feature_dim, feature_dim)))[0][:, :dim]
    return Whitening(
        jnp.zeros(feature_dim), jnp.asarray(basis, jnp.float32), jnp.ones(basis.shape[1]), fitted_on="nothing"
    )


def fingerprint(whitening: Whitening) -> str:
    """Returns the sha256 of the arrays of a whitening."""
    digest = hashlib.sha256()
    for array in (whitening.mean, whitening.projection, whitening.eigenvalues):
        digest.update(repr(array.shape).encode() + np.asarray(array, "<f4").tobytes())
    return digest.hexdigest()


def save(whitening: Whitening, folder: pathlib.Path) -> None:
    """Writes a whitening to the folder of a generation."""
    with files.replacing(folder / WHITENING_FILE) as partial, partial.open("wb") as stream:
        np.savez(
            stream,
            mean=whitening.mean,
            projection=whitening.projection,
            eigenvalues=whitening.eigenvalues,
            fitted_on=whitening.fitted_on,
        )


def read(folder: pathlib.Path) -> Whitening:
    """Reads the whitening that `save` wrote; raises ValueError if the file is missing or damaged."""
    file = folder / WHITENING_FILE
    try:
        with file.open("rb") as stream, np.load(stream) as content:  # numpy leaves a damaged file open
            mean, projection, eigenvalues = (
                jnp.asarray(content[name]) for name in ("mean", "projection", "eigenvalues")
            )
            return Whitening(mean, projection, eigenvalues, str(content["fitted_on"]))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be used ({error}); index the folder again") from error
