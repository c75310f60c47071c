"""This module runs the network for the methods without CAMs: it pools or stores the maps of one layer."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from absl import flags
from absl.flags import FlagValues
from jaxtyping import Array
from tqdm import tqdm

from cwcf_jax import encoder, store
from cwcf_jax.encoder import Extractor
from cwcf_jax.extraction import ExtractionConfig, fill_maps, fill_rows
from cwcf_jax.images import Batch, Resize
from cwcf_jax.networks import NetworkSpec
from experiments.data import NamedDataset
from experiments.inputs import Inputs, cache_path
from experiments.weights import weights_of

flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """A `LayerConfig` says which network and which layers the other methods use.

    Attributes:
        weights: weights of the network, FILE or NETWORK:FILE; None: the run's own network.
        layer: layer of that network; None: pool5 if the network has it, otherwise the feature layer.
        bag_layer: layer of the bags of words; None: the feature layer, or the last layer of stride 16 if the feature
            layer is coarser.
        resize: resize of the pictures for SPoC, CroW, MAC, GeM and R-MAC.
    """

    weights: str | None = None
    layer: str | None = None
    bag_layer: str | None = None
    resize: str = "none"


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `LayerConfig`."""
    for name, default, text in (
        (
            "baseline_weights",
            LayerConfig.weights,
            "Network of the other methods, FILE or NETWORK:FILE; default: the network of --weights.",
        ),
        (
            "baseline_layer",
            LayerConfig.layer,
            "Layer of that network; default: pool5 if the network has it, otherwise its feature layer.",
        ),
        (
            "bow_layer",
            LayerConfig.bag_layer,
            "Layer of the bags of words; default: the feature layer, or the last layer of stride 16 if the feature "
            "layer is coarser.",
        ),
        (
            "baseline_resize",
            LayerConfig.resize,
            "Resize for SPoC, CroW, MAC, GeM and R-MAC; bags of words and patch search have a fixed resize.",
        ),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)


def from_flags(values: FlagValues) -> LayerConfig:
    """Returns the configuration that the parsed flags of `define_flags` describe."""
    return LayerConfig(values.baseline_weights, values.baseline_layer, values.bow_layer, values.baseline_resize)


BAG_INPUT = Resize("squash", 336, 256)
"""The resize of pictures for bags of words, from Mohedano et al. 2016."""

BAG_STRIDE = 16

Compute = Callable[[Batch, np.ndarray | None], dict[str, np.ndarray]]
"""The type of a function that computes the rows of a batch; see `extraction.fill_rows`."""


@dataclasses.dataclass(frozen=True)
class LayerPass:
    """A `LayerPass` runs one layer of a network on the datasets of a run, and stores the results.

    Attributes:
        inputs: the inputs of the run.
        config: settings of the layer.
        extractor: network, weights and layer.
        extraction: settings that pictures are read with.
    """

    inputs: Inputs
    config: LayerConfig
    extractor: Extractor
    extraction: ExtractionConfig

    def stores(
        self, stack: contextlib.ExitStack, name: str, fields: Mapping[str, tuple[int, ...]], compute: Compute
    ) -> list[store.RowStore]:
        """Returns filled stores for the benchmark's images, its queries, and the images of each whitening dataset."""
        first, *others = self.inputs.sources
        return [
            self._store(stack, source, name, fields, compute, queries=queries)
            for source, queries in [(first, False), (first, True), *((source, False) for source in others)]
        ]

    def _store(
        self,
        stack: contextlib.ExitStack,
        source: NamedDataset,
        name: str,
        fields: Mapping[str, tuple[int, ...]],
        compute: Compute,
        *,
        queries: bool,
    ) -> store.RowStore:
        """Opens and fills the store of one dataset."""
        length = len(source.images.queries if queries else source.images)
        folder = self._folder(source) / (f"{name}-queries" if queries else name)
        row_store = store.RowStore(folder, self._conditions(source, queries), length=length, fields=fields)
        stack.enter_context(row_store)
        description = f"{source.images.name} {name} {'queries' if queries else 'images'}"
        with tqdm(total=length, desc=description, unit="image", disable=None) as bar:
            fill_rows(row_store, source.images, self.extraction, compute, queries=queries, progress=bar.update)
        return row_store

    def maps(
        self, stack: contextlib.ExitStack, source: NamedDataset, name: str, *, queries: bool = False
    ) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
        """Fills the store of the maps of a dataset's images or queries.

        Returns:
            The indices of the images or queries whose pictures can be read, and a function that reads the maps of one
            of them.
        """
        length = len(source.images.queries if queries else source.images)
        folder = self._folder(source) / (f"{name}-queries" if queries else name)
        conditions = {"length": length, **self._conditions(source, queries)}
        maps = stack.enter_context(store.MapStore.exclusive(folder, conditions))
        indices = np.arange(length)

        def compute(batch: Batch) -> dict[str, tuple[Array, Array]]:
            return {"maps": encoder.layer_maps(self.extractor, batch.images, jnp.asarray(batch.sizes))}

        description = f"{source.images.name} {self.extractor.layer}{' of queries' if queries else ''}"
        with tqdm(total=length, desc=description, unit="image", disable=None) as bar:
            fill_maps(maps, source.images, self.extraction, indices, compute, queries=queries, progress=bar.update)
        readable = np.setdiff1d(indices, maps.missing(indices.tolist()))
        return readable, lambda index: maps.read(int(index))["maps"].astype(np.float32)

    def is_published(self) -> bool:
        """Returns whether the settings are those of the methods' authors, apart from the weights."""
        is_default = dataclasses.replace(self.config, weights=None) == LayerConfig()
        return is_default and not self.inputs.run.smoke

    def _conditions(self, source: NamedDataset, queries: bool) -> dict[str, object]:
        """Returns the fingerprint of a store."""
        spec = self.extractor.network.spec
        return {
            "weights": _fingerprint(self.inputs, self.config.weights),
            "network": spec.name,
            "layer": self.extractor.layer,
            "preprocessing": dataclasses.asdict(spec.preprocessing),
            "resize": str(self.extraction.resize),
            "crop_queries": self.extraction.crop_queries if queries else None,
            "queries": [(query.name, query.box) for query in source.images.queries] if queries else None,
            "files": self.inputs.data[self.inputs.sources.index(source)]["sha256"],
        }

    def _folder(self, source: NamedDataset) -> pathlib.Path:
        """Returns the folder of the stores of a dataset."""
        parts = (self.extractor.network.spec.name, self.extractor.layer, "baselines", str(self.extraction.resize))
        return cache_path(self.inputs.run, source, *parts)


def pooled_pass(inputs: Inputs, config: LayerConfig) -> LayerPass:
    """Returns the pass for vectors that are pooled from whole pictures; a query is the pixels in its box."""
    extraction = _extraction(inputs, Resize.parse(config.resize))
    return LayerPass(
        inputs, config, _extractor(inputs, config.weights, config.layer, _default_pooled_layer), extraction
    )


def patch_pass(inputs: Inputs, config: LayerConfig) -> LayerPass:
    """Returns the pass for patches of pictures at stored size; a query is the pixels in its box."""
    extractor = _extractor(inputs, config.weights, config.layer, _default_pooled_layer)
    return LayerPass(inputs, config, extractor, _extraction(inputs, Resize()))


def bag_pass(inputs: Inputs, config: LayerConfig) -> LayerPass:
    """Returns the pass for bags of words, in small pictures; a query is the cells of its box in the whole picture."""
    extraction = dataclasses.replace(_extraction(inputs, BAG_INPUT), crop_queries=False)
    return LayerPass(
        inputs, config, _extractor(inputs, config.weights, config.bag_layer, _default_bag_layer), extraction
    )


def _extractor(
    inputs: Inputs, weights: str | None, layer: str | None, default: Callable[[NetworkSpec, str], str]
) -> Extractor:
    """Returns the extractor of a layer; ``default`` chooses the layer if none is named."""
    if weights and weights != inputs.run.weights:
        extractor = _load(weights)
    else:
        extractor = Extractor(inputs.model.params, inputs.model.network, inputs.model.feature_layer.name)
    spec = extractor.network.spec
    return dataclasses.replace(extractor, layer=spec.layer(layer or default(spec, extractor.layer)).name)


def _default_pooled_layer(spec: NetworkSpec, feature_layer: str) -> str:
    """Returns pool5 if the network has it, otherwise the feature layer."""
    return "pool5" if any(layer.name == "pool5" for layer in spec.feature_layers) else feature_layer


def _default_bag_layer(spec: NetworkSpec, feature_layer: str) -> str:
    """Returns the feature layer, or the last layer of stride 16 if the feature layer is coarser.

    The original method uses conv5_1, which has stride 16. A coarser layer has too few cells for so small a picture.
    """
    if spec.layer(feature_layer).stride <= BAG_STRIDE:
        return feature_layer
    layers = [layer.name for layer in spec.feature_layers if layer.stride == BAG_STRIDE]
    return layers[-1] if layers else feature_layer


def _fingerprint(inputs: Inputs, weights: str | None) -> str:
    """Returns the fingerprint of the weights, or of the run's own weights."""
    return weights_of(weights).fingerprint() if weights and weights != inputs.run.weights else inputs.weights_sha256


@functools.cache
def _load(weights: str) -> Extractor:
    """Loads a network for its layers."""
    network_weights = weights_of(weights)
    return encoder.load_extractor(network_weights.network, network_weights.source)


def _extraction(inputs: Inputs, resize: Resize) -> ExtractionConfig:
    """Returns the settings of the run, with another resize and cropped queries."""
    return dataclasses.replace(inputs.extraction, resize=resize, scale_boxes=True, crop_queries=True, crop_classes=None)
