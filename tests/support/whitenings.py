"""Whitenings in a folder of their own, as if they came with the library."""

import pathlib
from unittest import mock

import numpy as np

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.weights import whitenings
from cwcf_jax.weights.whitenings import FittingImages, WhiteningRecord


def record(model, **changes):
    """What a file for a model's class vectors says of itself."""
    fields = dict(
        network=model.network.spec.name,
        params=networks.fingerprint_params(model.params),
        weights="ab" * 32,
        encoder=encoder.vector_settings(model.config),
        resize="none",
        classes=4,
        shrinkage=0.2,
        data=(FittingImages("noise", 7, "cd" * 32, "CC0"), FittingImages("more noise", 3, "ef" * 32, "CC BY 4.0")),
        versions={"numpy": np.__version__},
    )
    return WhiteningRecord(**fields | changes)


def fitted(model, seed=0):
    """A whitening of all the layer's dimensions, fitted on noise."""
    vectors = np.random.default_rng(seed).random((60, model.feature_dim))
    return cwcf_jax.fit_shrinkage_whitening(vectors, fitted_on="noise")


def ship(test, model):
    """Until the test ends, a whitening for this model comes with the library, and no other; returns what was fitted."""
    folder = pathlib.Path(test.create_tempdir().full_path)
    test.enterContext(mock.patch.object(whitenings, "FOLDER", folder))
    found = fitted(model)
    whitenings.write(folder / f"{model.network.spec.name}.npz", found, record(model))
    return found
