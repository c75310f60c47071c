"""What the rest of the library has to know about a network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jaxtyping import Array, Float, Int, UInt8

Params = dict[str, Any]
"""Nested dictionary of float32 arrays: ``{"conv1": {"kernel": ..., "bias": ...}, ...}``."""

Images = UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]
"""RGB, 0-255."""

Sizes = Int[Array, "b 2"]
"""Valid rows and columns of each image or map of a padded batch."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From RGB 0-255 to what the first convolution expects: ``(image[channel_order] - mean) * scale``.

    ``mean`` and ``scale`` are in the order of the network's channels. ``resize`` is what the network's users do to a
    photograph beforehand, in the notation of `cwcf_jax.datasets.Resize`.
    """

    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = "min720"


@dataclasses.dataclass(frozen=True)
class Layer:
    """A named map: how many channels it has and how many pixels of the image one step on it covers."""

    name: str
    channels: int
    stride: int


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A CAM network as the pipeline sees it.

    ``feature_layers`` can be pooled (``feature_layer`` is the default); ``cam_layer`` feeds global average pooling and
    then ``classifier``, a dense layer whose kernel weights the class activation maps (Eq. 1).
    """

    name: str
    feature_layers: tuple[Layer, ...]
    feature_layer: str
    cam_layer: Layer
    classifier: str
    num_classes: int
    class_names: str
    preprocessing: Preprocessing

    def layer(self, name: str) -> Layer:
        """The feature layer called ``name``; ValueError lists the ones there are."""
        for layer in self.feature_layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.feature_layers)
        raise ValueError(f"{self.name} has no feature layer {name!r}; it has {known}")


@dataclasses.dataclass(frozen=True)
class Network:
    """One architecture: the contract between `cwcf_jax.networks` and the encoder. Hashable, so it can be static.

    Attributes:
        spec: names, shapes and preprocessing.
        apply: ``(params, inputs [b, h, w, 3] preprocessed, sizes [b, 2]) -> (logits [b, n], {layer: maps})``, NHWC.
            Maps are zero outside their valid area, and inside it equal to those of the unpadded image.
        map_sizes: ``sizes [b, 2] -> {layer: sizes [b, 2]}``, the valid area of each map.
        shapes: the parameters as a nested dictionary of `jax.ShapeDtypeStruct`.
        initialize: ``seed -> params``, random.
        sources: foreign checkpoint layouts, each a table ``source layer -> layer of params``.
    """

    spec: NetworkSpec
    apply: Callable[[Params, Float[Array, "b h w 3"], Sizes], tuple[Float[Array, "b n"], dict[str, Array]]]
    map_sizes: Callable[[Sizes], dict[str, Sizes]]
    shapes: Callable[[], Params]
    initialize: Callable[[int], Params]
    sources: Callable[[], Mapping[str, Mapping[str, str]]]
