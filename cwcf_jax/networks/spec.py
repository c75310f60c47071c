"""What the rest of the library has to know about a network."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
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

    ``mean`` and ``scale`` are in the order of the network's channels.
    """

    channel_order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A named map: how many channels it has and how many pixels of the image one step on it covers."""

    name: str
    channels: int
    stride: int


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A network as the pipeline sees it.

    Attributes:
        name: in the registry.
        feature_layers: the layers that can be pooled.
        feature_layer: the default among them.
        cam_layer: the layer before global average pooling; None: the network has no such head and thus no CAMs.
        classifier: the dense layer after it, whose kernel weights the class activation maps (Eq. 1); None: the maps of
            ``cam_layer`` are the class activation maps, one a class.
        head: the layers that are trained when only the classification is; the rest is the trunk.
        num_labels: length of the logits.
        class_names: the names themselves, or the list that comes with the library: ``imagenet``.
        preprocessing: what the weights expect.
        pooling: what `encoder.load` takes for class vectors where nothing is said, see `encoder.EncoderConfig`.
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
        """The feature layer called ``name``, None for the network's default; ValueError lists the ones there are."""
        name = name or self.feature_layer
        for layer in self.feature_layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.feature_layers)
        raise ValueError(f"{self.name} has no feature layer {name!r}; it has {known}")


Transform = Callable[[np.ndarray], np.ndarray]
"""From an array as a foreign file holds it to ours; ValueError if it has the wrong number of axes."""


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """Where the arrays of a foreign checkpoint go.

    Attributes:
        name: ``caffe``, ``keras``, ``torchvision``: whose names and shapes.
        table: ``source key -> (target key, transform)``. A target ``<layer>/norm/<statistic>`` is one of the batch
            statistics that are folded into ``<layer>`` when all are there.
        preprocessing: what weights in this layout expect.
        ignored: patterns (`fnmatch`) of source keys that are known and not needed.
        epsilon: what was added to each variance in training; torch's default, which torchvision leaves in place.
    """

    name: str
    table: Mapping[str, tuple[str, Transform]]
    preprocessing: Preprocessing
    ignored: tuple[str, ...] = ()
    epsilon: float = 1e-5


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
        layouts: the foreign checkpoints it can be read from.
        rebuild: the same architecture under a changed spec; None where the spec cannot be changed.
    """

    spec: NetworkSpec
    apply: Callable[[Params, Float[Array, "b h w 3"], Sizes], tuple[Float[Array, "b n"], dict[str, Array]]]
    map_sizes: Callable[[Sizes], dict[str, Sizes]]
    shapes: Callable[[], Params]
    initialize: Callable[[int], Params]
    layouts: Callable[[], tuple[WeightLayout, ...]] = tuple
    rebuild: Callable[[NetworkSpec], "Network"] | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Travels to other processes as what it is made of, since its functions cannot."""
        return super().__reduce_ex__(protocol) if self.rebuild is None else (self.rebuild, (self.spec,))

    def with_spec(self, **changes: Any) -> "Network":
        """The architecture with another number or names of classes, or another preprocessing.

        ValueError if that would change the shapes of a network that cannot be rebuilt.
        """
        spec = dataclasses.replace(self.spec, **changes)
        if spec.num_labels == self.spec.num_labels:
            return dataclasses.replace(self, spec=spec)
        if spec.classifier is None and spec.cam_layer is not None:  # one map a class
            spec = dataclasses.replace(spec, cam_layer=dataclasses.replace(spec.cam_layer, channels=spec.num_labels))
        if self.rebuild is None:
            raise ValueError(f"{spec.name} has {self.spec.num_labels} classes, not {spec.num_labels}")
        return self.rebuild(spec)
