"""This module holds what Tables 2a and 2b share: the methods that they compare, and the flags that choose them."""

import contextlib
import dataclasses
from collections.abc import Iterator

from absl import flags
from absl.flags import FlagValues
from tqdm import tqdm

from cwcf_jax.evaluation import MethodDescriptors
from cwcf_jax.search.pipeline import SearchConfig
from experiments import evaluation, layer_passes, methods, other_methods, published
from experiments.evaluation import Rankings
from experiments.inputs import Inputs
from experiments.layer_passes import LayerConfig
from experiments.other_methods import METHOD_NAMES, MethodConfig, PreparedMethod
from experiments.results import Row

flags.disclaim_key_flags()

SEARCH_STEPS = {
    "CroW": SearchConfig(expansion=10),
    "R-MAC": SearchConfig(rerank=1000, expansion=5),
    "BoW": SearchConfig(rerank=100, expansion=10),
}
"""The other methods of Table 2b, and the steps that their authors add to a search."""

SMOKE_SEARCH_STEPS = {
    "CroW": SearchConfig(expansion=2),
    "R-MAC": SearchConfig(rerank=4, expansion=2),
    "BoW": SearchConfig(rerank=4, expansion=2),
}
SMOKE_CONFIG = MethodConfig(words=20, sample=2000, patch_side=64)


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """A `ComparisonConfig` says which methods of a table are measured, and how.

    Attributes:
        methods: names of the methods, as in results files.
        nc: N_C of OnA and OfA.
        npca: N_pca of OnA and OfA.
        method_config: settings of the other methods.
    """

    methods: tuple[str, ...]
    nc: int
    npca: int
    method_config: MethodConfig


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `ComparisonConfig`."""
    layer_passes.define_flags(values)
    defaults = [*METHOD_NAMES, "OnA", "OfA"]
    flags.DEFINE_list("methods", defaults, "Methods of the table to run.", flag_values=values)
    for name, default, low, text in (
        ("nc", 64, 1, "N_C of OnA and OfA."),
        ("npca", 1, 1, "N_pca of OnA and OfA."),
        ("words", MethodConfig.words, 1, "Number of words in the vocabulary of the bags of words."),
        ("sample", MethodConfig.sample, 1, "Largest number of local features that the vocabulary is fitted on."),
        ("patch_side", MethodConfig.patch_side, 32, "Side of a patch in pixels (Razavian et al.)."),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=low, flag_values=values)
    text = "Images that the vocabulary is fitted on: those of --whitening_dataset, or the benchmark's own."
    choices = ["whitening", "benchmark"]
    flags.DEFINE_enum("vocabulary", MethodConfig.vocabulary, choices, text, flag_values=values)


def from_flags(values: FlagValues) -> ComparisonConfig:
    """Returns the configuration that the parsed flags of `define_flags` describe; ValueError for an unknown method."""
    known = [*METHOD_NAMES, "OnA", "OfA"]
    if unknown := set(values.methods) - set(known):
        raise ValueError(f"--methods: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    layers = layer_passes.from_flags(values)
    method_config = MethodConfig(values.words, values.sample, values.vocabulary, values.patch_side, layers)
    return ComparisonConfig(tuple(values.methods), values.nc, values.npca, method_config)


def paper_methods(inputs: Inputs, config: ComparisonConfig) -> Iterator[MethodDescriptors]:
    """Yields the descriptors of OnA and OfA, with the settings of the tables."""
    classes = inputs.model.network.spec.num_labels
    counts, npca = (min(config.nc, classes),), min(config.npca, classes)
    if "OnA" in config.methods:
        yield methods.online(inputs, counts, npca)
    if "OfA" in config.methods:
        yield methods.offline(inputs, counts, npca)


def other_rows(inputs: Inputs, config: ComparisonConfig, *, postprocessing: bool) -> list[Row]:
    """Measures the other methods: all of Table 2a, or those of Table 2b, with the steps that their authors add."""
    method_config, search_steps = config.method_config, SEARCH_STEPS
    if inputs.run.smoke:
        method_config = dataclasses.replace(
            SMOKE_CONFIG, vocabulary=method_config.vocabulary, layers=method_config.layers
        )
        search_steps = SMOKE_SEARCH_STEPS
    rows: list[Row] = []
    for name in search_steps if postprocessing else METHOD_NAMES:
        if name not in config.methods:
            continue
        with contextlib.ExitStack() as stack:  # only one method at a time may have the shared stores open
            prepared = other_methods.prepare(name, stack, inputs, method_config, rerank=postprocessing)
            for search_config in [SearchConfig(), search_steps[name]] if postprocessing else [SearchConfig()]:
                rankings = _rank(inputs, prepared, name, search_config)
                row = evaluation.row(inputs, name, None, None, search_config, rankings)
                network = prepared.layer.extractor.network.spec.name
                paper = _paper_value(prepared, method_config, name, search_config)
                rows.append(dataclasses.replace(row, dim=prepared.dim, network=network, paper=paper))
    return rows


def _rank(inputs: Inputs, prepared: PreparedMethod, name: str, search_config: SearchConfig) -> Rankings:
    """Returns the ranking of every query."""
    queries = tqdm(inputs.benchmark.queries, desc=name, unit="query", disable=None)
    rankings = {query.name: prepared.ranking(i, search_config) for i, query in enumerate(queries)}
    return {name: prepared.readable[rows].tolist() for name, rows in rankings.items()}


def _paper_value(
    prepared: PreparedMethod, config: MethodConfig, method: str, search_config: SearchConfig
) -> float | None:
    """Returns the paper's value for a method with default settings; it does not depend on the protocol or --network."""
    is_default = dataclasses.replace(config, sample=MethodConfig.sample, layers=LayerConfig()) == MethodConfig()
    if not is_default or not prepared.layer.is_published():
        return None
    dataset, network = prepared.layer.inputs.benchmark.name, prepared.layer.extractor.network.spec.name
    return published.mean_average_precision(
        dataset, network, method, nc=None, npca=None, qe=search_config.expansion, rerank=search_config.rerank
    )
