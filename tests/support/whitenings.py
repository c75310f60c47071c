"""This module ships whitenings for tests, in place of the whitenings of the library."""

import pathlib
from unittest import mock

import numpy as np

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.weights import whitenings
from cwcf_jax.weights.whitenings import FittingImages, WhiteningRecord


def record(model, **changes):
    """Returns the record of a whitening for a model."""
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
    """Returns a whitening of all dimensions of the feature layer, fitted on noise."""
    vectors = np.random.default_rng(seed).random((60, model.feature_dim))
    return cwcf_jax.fit_shrinkage_whitening(vectors, fitted_on="noise")


def ship(test, model):
    """Ships a whitening for a model, and no other whitening, until the test ends; returns the whitening."""
    folder = pathlib.Path(test.create_tempdir().full_path)
    test.enterContext(mock.patch.object(whitenings, "FOLDER", folder))
    whitening = fitted(model)
    whitenings.write(folder / f"{model.network.spec.name}.npz", whitening, record(model))
    return whitening
