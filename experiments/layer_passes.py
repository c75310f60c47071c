"""Network passes of the methods without CAMs: one layer's maps, pooled or kept, for every dataset of a run."""

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
from experiments import inputs
from experiments.data import NamedDataset
from experiments.inputs import Inputs
from experiments.weights import weights_of

flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """What the other methods look at.

    Attributes:
        weights: of their network, FILE or NETWORK:FILE; None: the run's own network.
        layer: of that network; None: pool5 if the network has one, otherwise its feature layer.
        bag_layer: of the bags of words; None: the feature layer, or the last one of stride 16 where that is coarser.
        resize: for SPoC, CroW, MAC, GeM and R-MAC.
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
            "Network that the other methods look at, FILE or NETWORK:FILE; default: that of --weights.",
        ),
        (
            "baseline_layer",
            LayerConfig.layer,
            "Its layer; default: pool5 if the network has one, otherwise its feature layer.",
        ),
        (
            "bow_layer",
            LayerConfig.bag_layer,
            "Layer of the bags of words; default: the feature layer, or the last one of stride 16 where that is "
            "coarser.",
        ),
        (
            "baseline_resize",
            LayerConfig.resize,
            "Resize for SPoC, CroW, MAC, GeM, R-MAC; the others set their own.",
        ),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)


def from_flags(values: FlagValues) -> LayerConfig:
    """What the parsed flags of `define_flags` say."""
    return LayerConfig(values.baseline_weights, values.baseline_layer, values.bow_layer, values.baseline_resize)


BAG_INPUT = Resize("squash", 336, 256)
"""Mohedano et al. 2016."""

BAG_STRIDE = 16

Compute = Callable[[Batch, np.ndarray | None], dict[str, np.ndarray]]
"""See `extraction.fill_rows`."""


@dataclasses.dataclass(frozen=True)
class LayerPass:
    """A layer of a network over the datasets of a run.

    Attributes:
        given: the run.
        config: what flags chose of it.
        extractor: network, weights and layer.
        extraction: how pictures are read.
    """

    given: Inputs
    config: LayerConfig
    extractor: Extractor
    extraction: ExtractionConfig

    def stores(
        self, stack: contextlib.ExitStack, name: str, fields: Mapping[str, tuple[int, ...]], compute: Compute
    ) -> list[store.RowStore]:
        """Filled stores: the benchmark's images, its queries, then each whitening dataset's images."""
        first, *others = self.given.sources
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
        length = len(source.images.queries if queries else source.images)
        folder = self._folder(source) / (f"{name}-queries" if queries else name)
        opened = store.RowStore(folder, self._conditions(source, queries), length=length, fields=fields)
        stack.enter_context(opened)
        what = f"{source.images.name} {name} {'queries' if queries else 'images'}"
        with tqdm(total=length, desc=what, unit="image", disable=None) as bar:
            fill_rows(opened, source.images, self.extraction, compute, queries=queries, progress=bar.update)
        return opened

    def maps(
        self, stack: contextlib.ExitStack, source: NamedDataset, name: str, *, queries: bool = False
    ) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
        """Which images, or queries, have maps, after all that can be read were seen; and what reads the maps of one."""
        length = len(source.images.queries if queries else source.images)
        folder = self._folder(source) / (f"{name}-queries" if queries else name)
        conditions = {"length": length, **self._conditions(source, queries)}
        maps = stack.enter_context(store.MapStore.exclusive(folder, conditions))
        everything = np.arange(length)

        def compute(batch: Batch) -> dict[str, tuple[Array, Array]]:
            return {"maps": encoder.layer_maps(self.extractor, batch.images, jnp.asarray(batch.sizes))}

        what = f"{source.images.name} {self.extractor.layer}{' of queries' if queries else ''}"
        with tqdm(total=length, desc=what, unit="image", disable=None) as bar:
            fill_maps(maps, source.images, self.extraction, everything, compute, queries=queries, progress=bar.update)
        there = np.setdiff1d(everything, maps.missing(everything.tolist()))
        return there, lambda row: maps.read(int(row))["maps"].astype(np.float32)

    def is_published(self) -> bool:
        """Whether this is what Table 2's authors ran: nothing of it was chosen by flags but the weights."""
        untouched = dataclasses.replace(self.config, weights=None) == LayerConfig()
        return untouched and not self.given.run.smoke

    def _conditions(self, source: NamedDataset, queries: bool) -> dict[str, object]:
        spec = self.extractor.network.spec
        return {
            "weights": _fingerprint(self.given, self.config.weights),
            "network": spec.name,
            "layer": self.extractor.layer,
            "preprocessing": dataclasses.asdict(spec.preprocessing),
            "resize": str(self.extraction.resize),
            "crop_queries": self.extraction.crop_queries if queries else None,
            "queries": [(query.name, query.box) for query in source.images.queries] if queries else None,
            "files": self.given.data[self.given.sources.index(source)]["sha256"],
        }

    def _folder(self, source: NamedDataset) -> pathlib.Path:
        parts = (self.extractor.network.spec.name, self.extractor.layer, "baselines", str(self.extraction.resize))
        return inputs.cache_path(self.given.run, source, *parts)


def pooled(given: Inputs, config: LayerConfig) -> LayerPass:
    """For vectors pooled from whole pictures; a query is its box's pixels."""
    extraction = _extraction(given, Resize.parse(config.resize))
    return LayerPass(given, config, _extractor(given, config.weights, config.layer, _pool5), extraction)


def patches(given: Inputs, config: LayerConfig) -> LayerPass:
    """For patches of pictures at stored size; a query is its box's pixels."""
    extractor = _extractor(given, config.weights, config.layer, _pool5)
    return LayerPass(given, config, extractor, _extraction(given, Resize()))


def bags(given: Inputs, config: LayerConfig) -> LayerPass:
    """For bags of words, in small pictures; a query is a box in its whole picture."""
    extraction = dataclasses.replace(_extraction(given, BAG_INPUT), crop_queries=False)
    return LayerPass(given, config, _extractor(given, config.weights, config.bag_layer, _of_stride_16), extraction)


def _extractor(
    given: Inputs, weights: str | None, layer: str | None, default: Callable[[NetworkSpec, str], str]
) -> Extractor:
    if weights and weights != given.run.weights:
        whole = _load(weights)
    else:
        whole = Extractor(given.model.params, given.model.network, given.model.feature_layer.name)
    spec = whole.network.spec
    return dataclasses.replace(whole, layer=spec.layer(layer or default(spec, whole.layer)).name)


def _pool5(spec: NetworkSpec, feature_layer: str) -> str:
    return "pool5" if any(layer.name == "pool5" for layer in spec.feature_layers) else feature_layer


def _of_stride_16(spec: NetworkSpec, feature_layer: str) -> str:
    """conv5_1 of the original has stride 16, and so small a picture leaves too few cells on a coarser layer."""
    if spec.layer(feature_layer).stride <= BAG_STRIDE:
        return feature_layer
    fine = [layer.name for layer in spec.feature_layers if layer.stride == BAG_STRIDE]
    return fine[-1] if fine else feature_layer


def _fingerprint(given: Inputs, weights: str | None) -> str:
    return weights_of(weights).fingerprint() if weights and weights != given.run.weights else given.weights


@functools.cache
def _load(weights: str) -> Extractor:
    chosen = weights_of(weights)
    return encoder.load_extractor(chosen.network, chosen.source)


def _extraction(given: Inputs, resize: Resize) -> ExtractionConfig:
    return dataclasses.replace(given.extraction, resize=resize, scale_boxes=True, crop_queries=True, crop_classes=None)
