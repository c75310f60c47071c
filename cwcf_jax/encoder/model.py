"""A network with its weights and the encoder's choices."""

import dataclasses
import pathlib

import jax

from cwcf_jax import descriptors, networks

REGION_CELLS = {
    "touched": "every cell that the box touches",
    "floor": "floor(x1 / stride) up to floor(x2 / stride), as in the authors' released code",
}

DTYPES = {
    "float32": "everything",
    "bfloat16": "the network's layers, accumulated in float32; all that follows its maps is float32",
}


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What of the pipeline is a choice; static, so each value compiles its own pass.

    Attributes:
        feature_layer: the layer whose maps are pooled.
        cam_normalization: a key of `descriptors.NORMALIZATIONS`.
        drop_negative: whether a class whose raw map is nowhere positive is dropped (its class vector is zero); if not,
            the least negative part of its map counts as evidence.
        channel_weighting: whether class vectors carry the CroW channel weights (Eq. 3).
        pixel_mean: the mean to subtract, in the network's channel order; None is the network's own.
        repeat_dropped: whether a dropped class's vector is replaced by that of the class before it.
        region_cells: which cells of a map belong to a box: a key of `REGION_CELLS`.
        dtype: what the network computes in: a key of `DTYPES`.
    """

    feature_layer: str
    cam_normalization: str = "min_max"
    drop_negative: bool = True
    channel_weighting: bool = True
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
        return self.network.spec.layer(self.config.feature_layer).channels

    @property
    def feature_stride(self) -> int:
        """Pixels that one step on the feature map covers."""
        return self.network.spec.layer(self.config.feature_layer).stride

    @property
    def cam_layer(self) -> networks.Layer:
        """The layer whose maps make the class activation maps."""
        layer = self.network.spec.cam_layer
        if layer is None:
            raise ValueError(_NO_CAMS.format(name=self.network.spec.name))
        return layer


_NO_CAMS = (
    "{name} has no global average pooling before its classifier, and thus no class activation maps. Load a network "
    "that has (vgg16_cam for VGG-16) with weights of its own, or train its CAM head on the weights you have: "
    "cwcf_jax.training with TrainingConfig(network='vgg16_cam', trunk=FILE, ...)"
)


def load(
    network: str | networks.Network,
    weights: str | pathlib.Path | networks.Params,
    *,
    feature_layer: str | None = None,
    cam_normalization: str = "min_max",
    drop_negative: bool = True,
    channel_weighting: bool = True,
    pixel_mean: tuple[float, float, float] | None = None,
    repeat_dropped: bool = False,
    region_cells: str = "touched",
    dtype: str = "float32",
) -> Model:
    """A model for `encode` from a network's name and its weights.

    Args:
        network: a key of `networks.NETWORKS`, or a `Network` of your own.
        weights: a ``.npz`` file, an Orbax checkpoint directory, or parameters already in memory. A record in the file
            (`networks.Provenance`) decides the classes and the preprocessing.
        feature_layer: the layer whose maps are pooled; None is the network's default.
        cam_normalization: ``min_max`` (the paper), ``max_clip`` (the authors' code) or ``raw``.
        drop_negative: whether classes whose raw map is nowhere positive are dropped.
        channel_weighting: whether class vectors carry the CroW channel weights (Eq. 3).
        pixel_mean: another mean to subtract, in the network's channel order.
        repeat_dropped: whether a dropped class's vector is replaced by that of the class before it (the authors' code).
        region_cells: ``touched``: a box takes every cell that it touches; ``floor``: as in the authors' code.
        dtype: ``float32``, or ``bfloat16`` for the network's layers: for accelerators (docs/performance.md).

    Raises:
        ValueError: an unknown network, layer, normalization or dtype, or a network without class activation maps.
        FileNotFoundError, CheckpointError: see `networks.load_params` and `networks.check_params`.
    """
    if isinstance(network, str):
        network = networks.get(network)
    if network.spec.cam_layer is None:
        raise ValueError(_NO_CAMS.format(name=network.spec.name))
    layer = network.spec.layer(feature_layer or network.spec.feature_layer)
    config = EncoderConfig(
        feature_layer=layer.name,
        cam_normalization=cam_normalization,
        drop_negative=drop_negative,
        channel_weighting=channel_weighting,
        pixel_mean=pixel_mean,
        repeat_dropped=repeat_dropped,
        region_cells=region_cells,
        dtype=dtype,
    )
    if isinstance(weights, str | pathlib.Path):
        network = networks.adapt(network, networks.read_provenance(weights))
        weights = networks.load_params(network, weights)
    else:
        networks.check_params(network, weights)
    return Model(weights, network, config)
