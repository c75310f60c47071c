"""This module defines `Network` and `NetworkSpec`, the contract between a network and the rest of the library."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

Params = dict[str, Any]
"""A nested dictionary of float32 arrays: ``{"conv1": {"kernel": ..., "bias": ...}, ...}``."""

Images = UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]
"""A batch of images, RGB, 0 to 255."""

Sizes = Int[Array, "b 2"]
"""The valid rows and columns of each image, or of each image's maps, in a padded batch."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """A `Preprocessing` turns RGB of 0 to 255 into a network's input: ``(image[channel_order] - mean) * scale``.

    ``mean`` and ``scale`` have the order of ``channel_order``.
    """

    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A `Layer` is the name of feature maps, their number of channels, and the pixels of the image for each cell."""

    name: str
    channels: int
    stride: int


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A `NetworkSpec` holds the facts about a network that the rest of the library relies on.

    Attributes:
        name: name of the network in the registry.
        feature_layers: layers whose feature maps can be pooled.
        feature_layer: name of the default feature layer.
        cam_layer: layer before global average pooling; None for a network without global average pooling and CAMs.
        classifier: name of the dense layer after global average pooling, with the channel weights of the CAMs (Eq. 1);
            None if the maps of ``cam_layer`` are the CAMs themselves, one for each class.
        head: names of the layers that are trained for new classes; all other layers are the trunk.
        num_labels: number of the network's classes: the length of the logits.
        class_names: names of the classes, or ``imagenet`` for the list that the library includes.
        preprocessing: preprocessing that the parameters expect.
        pooling: default of `encoder.load` for the pooling of class vectors, see `encoder.EncoderConfig`.
    """

    name: str
    feature_layers: tuple[Layer, ...]
    feature_layer: str
    cam_layer: Layer | None
    classifier: str | None
    head: tuple[str, ...]
    preprocessing: Preprocessing
    num_labels: int = 1000
    class_names: str | tuple[str, ...] = "imagenet"
    pooling: str = "sum"

    def layer(self, name: str | None) -> Layer:
        """Returns the feature layer called ``name``, or the default for None; ValueError lists the known layers."""
        name = name or self.feature_layer
        for layer in self.feature_layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.feature_layers)
        raise ValueError(f"{self.name} has no feature layer {name!r}; it has {known}")


Transform = Callable[[np.ndarray], np.ndarray]
"""A function from a foreign file's array to a parameter; raises ValueError for a wrong number of axes."""


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """A `WeightLayout` maps the arrays of a foreign checkpoint to the parameters of a network.

    Attributes:
        name: name of the layout, such as ``caffe``, ``keras`` or ``torchvision``.
        table: ``source key -> (target key, transform)``. A target key ``<layer>/norm/<statistic>`` is a batch statistic
            that is folded into ``<layer>``.
        preprocessing: preprocessing that parameters in this layout expect.
        ignored: patterns (`fnmatch`) of source keys that the network does not need.
        epsilon: constant that is added to each variance of a batch normalisation; the default is torch's.
    """

    name: str
    table: Mapping[str, tuple[str, Transform]]
    preprocessing: Preprocessing
    ignored: tuple[str, ...] = ()
    epsilon: float = 1e-5


@dataclasses.dataclass(frozen=True)
class Network:
    """A `Network` is one architecture as pure functions. It is hashable, so compiled functions accept it as static.

    Attributes:
        spec: names, layers and preprocessing of the network.
        apply: ``(params, inputs [b, h, w, 3] preprocessed, sizes [b, 2]) -> (logits [b, n], {layer: maps})``, NHWC.
            Maps are zero outside their valid area; inside, they equal the maps of the unpadded image.
        map_sizes: ``sizes [b, 2] -> {layer: sizes [b, 2]}``, the valid area of each layer's maps.
        shapes: function without arguments that returns the parameters as a nested dictionary of `jax.ShapeDtypeStruct`.
        initialize: ``seed -> params``, random parameters.
        layouts: function without arguments that returns the weight layouts of foreign checkpoints.
        rebuild: ``spec -> network``, the same architecture with another spec; None if the shapes are fixed.
    """

    spec: NetworkSpec
    apply: Callable[[Params, Float[Array, "b h w 3"], Sizes], tuple[Float[Array, "b n"], dict[str, Array]]]
    map_sizes: Callable[[Sizes], dict[str, Sizes]]
    shapes: Callable[[], Params]
    initialize: Callable[[int], Params]
    layouts: Callable[[], tuple[WeightLayout, ...]] = tuple
    rebuild: Callable[[NetworkSpec], "Network"] | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickles the spec and the arguments of `rebuild`, since the functions themselves cannot be pickled."""
        return super().__reduce_ex__(protocol) if self.rebuild is None else (self.rebuild, (self.spec,))

    def with_spec(self, **changes: Any) -> "Network":
        """Returns the network with changes in its spec, such as other classes or another preprocessing.

        Raises:
            ValueError: the number of classes changes, but the network has no `rebuild`.
        """
        spec = dataclasses.replace(self.spec, **changes)
        if spec.num_labels == self.spec.num_labels:
            return dataclasses.replace(self, spec=spec)
        if spec.classifier is None and spec.cam_layer is not None:  # the CAM layer has one map for each class
            spec = dataclasses.replace(spec, cam_layer=dataclasses.replace(spec.cam_layer, channels=spec.num_labels))
        if self.rebuild is None:
            raise ValueError(f"{spec.name} has {self.spec.num_labels} classes, not {spec.num_labels}")
        return self.rebuild(spec)
