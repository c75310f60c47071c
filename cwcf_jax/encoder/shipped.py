"""The whitening that comes with the library, for a model that it was fitted for."""

import dataclasses
from typing import Any

from cwcf_jax import networks
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import EncoderConfig, Model
from cwcf_jax.weights import whitenings


class NoWhiteningError(ValueError):
    """No whitening that comes with the library fits a model; the message says why, and what to do."""


def shipped_whitening(model: Model, *, dim: int | None = None) -> Whitening:
    """The whitening that comes with the library for a model's class vectors, fitted on photographs of other things.

        model = cwcf_jax.load("efficientnet_lite2")
        descriptors = cwcf_jax.encode(model, images, num_classes=8, whitening=cwcf_jax.shipped_whitening(model))

    There is one for each EfficientNet-Lite, for class vectors of pooling ``gem``;
    docs/collections.md says what it is worth, and `Whitening.fitted_on` what it was fitted on.

    Args:
        model: from `load`. Its weights may come from any file, as long as they are those that the whitening was fitted
            for, number for number.
        dim: dimensions kept, at most, those of largest variance first; None: as many as the layer has channels.

    Raises:
        NoWhiteningError: none comes for this network, or it is for other weights, another layer or other class vectors;
            a ValueError.
        ValueError: ``dim`` is below 1.
    """
    if dim is not None and dim < 1:
        raise ValueError(f"whitening keeps at least 1 dimension, not {dim}")
    name, known = model.network.spec.name, whitenings.shipped()
    if name not in known:
        raise NoWhiteningError(f"no whitening comes with the library for {name}, only for {', '.join(known)}; {_FIT}")
    record = whitenings.read_record(known[name])
    wanted, given = record.encoder, vector_settings(model.config)
    others = {field: value for field, value in wanted.items() if given[field] != value}
    if others:
        faults = ", ".join(f"{field}={value!r} (here {given[field]!r})" for field, value in others.items())
        raise NoWhiteningError(
            f"the whitening that comes for {name} is for {faults}: load the model so, or else {_FIT}"
        )
    if networks.fingerprint_params(model.params) != record.params:
        raise NoWhiteningError(
            f"the whitening that comes for {name} is for other weights than these, those of the file with sha256 "
            f"{record.weights[:12]}...: load them, or else {_FIT}"
        )
    found, _ = whitenings.read(known[name])
    return dataclasses.replace(found, projection=found.projection[:, :dim], eigenvalues=found.eigenvalues[:dim])


_FIT = "fit one with cwcf_jax.fit_shrinkage_whitening on class vectors of pictures of other things"


def vector_settings(config: EncoderConfig) -> dict[str, Any]:
    """What an image's class vectors depend on beside the weights and the image, as JSON keeps it."""
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
