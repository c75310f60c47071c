"""This module returns the whitening that ships with the library for a model."""

import dataclasses
from typing import Any

from cwcf_jax import networks
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import EncoderConfig, Model
from cwcf_jax.weights import whitenings


class NoWhiteningError(ValueError):
    """Raised when the library ships no whitening for a model; the message says why, and what to do."""


def shipped_whitening(model: Model, *, dim: int | None = None) -> Whitening:
    """Returns the whitening that ships with the library for a model's class vectors.

        model = cwcf_jax.load("efficientnet_lite2")
        descriptors = cwcf_jax.encode(model, images, num_classes=8, whitening=cwcf_jax.shipped_whitening(model))

    The library ships one whitening for each EfficientNet-Lite, for class vectors of pooling ``gem``. The whitening
    images are general photographs, which `Whitening.fitted_on` names. docs/collections.md lists the gain in mAP.

    Args:
        model: a model from `load`. The whitening was fitted for certain parameters, and the model must have exactly the
            same numbers; the file that the numbers were read from does not matter.
        dim: the largest number of dimensions, in the order of decreasing variance; None: all channels of the layer.

    Raises:
        NoWhiteningError: the library has no whitening for this network, or the whitening is for other parameters,
            another layer or other class vectors; a ValueError.
        ValueError: ``dim`` is below 1.
    """
    if dim is not None and dim < 1:
        raise ValueError(f"whitening keeps at least 1 dimension, not {dim}")
    name, paths = model.network.spec.name, whitenings.shipped()
    if name not in paths:
        known = ", ".join(paths)
        raise NoWhiteningError(f"the library has no whitening for {name}, only for {known}; {_ADVICE}")
    record = whitenings.read_record(paths[name])
    expected, actual = record.encoder, vector_settings(model.config)
    differing = {field: value for field, value in expected.items() if actual[field] != value}
    if differing:
        reasons = ", ".join(f"{field}={value!r} (here {actual[field]!r})" for field, value in differing.items())
        raise NoWhiteningError(
            f"the library's whitening of {name} is for {reasons}; load the model with these settings, or {_ADVICE}"
        )
    if networks.fingerprint_params(model.params) != record.params:
        raise NoWhiteningError(
            f"the library's whitening of {name} is for other weights than the model's: load the weights file with "
            f"sha256 {record.weights[:12]}..., or {_ADVICE}"
        )
    whitening, _ = whitenings.read(paths[name])
    projection, eigenvalues = whitening.projection[:, :dim], whitening.eigenvalues[:dim]
    return dataclasses.replace(whitening, projection=projection, eigenvalues=eigenvalues)


_ADVICE = "fit one with cwcf_jax.fit_shrinkage_whitening on class vectors of other pictures"


def vector_settings(config: EncoderConfig) -> dict[str, Any]:
    """Returns the fields of an encoder config that class vectors depend on, in JSON types."""
    mean = config.pixel_mean
    return {
        "feature_layer": config.feature_layer,
        "cam_normalization": config.cam_normalization,
        "drop_negative": config.drop_negative,
        "pooling": config.pooling,
        "gem_p": config.gem_p,
        "channel_weighting": config.weights_channels,
        "pixel_mean": None if mean is None else list(mean),
    }
