"""Which methods Tables 2a and 2b have, and the flags of both."""

import contextlib
import dataclasses
from collections.abc import Iterator

from absl import flags
from absl.flags import FlagValues
from tqdm import tqdm

from cwcf_jax.evaluation import MethodDescriptors
from cwcf_jax.search.pipeline import SearchConfig
from experiments import evaluation, layer_passes, methods, other_methods, published
from experiments.evaluation import Ranked
from experiments.inputs import Inputs
from experiments.layer_passes import LayerConfig
from experiments.other_methods import ALL, MethodConfig, PreparedMethod
from experiments.results import Row

flags.disclaim_key_flags()

AFTER_SEARCH = {
    "CroW": SearchConfig(expansion=10),
    "R-MAC": SearchConfig(rerank=1000, expansion=5),
    "BoW": SearchConfig(rerank=100, expansion=10),
}
"""The other methods of Table 2b, and what their authors do after the search."""

SMOKE_AFTER_SEARCH = {
    "CroW": SearchConfig(expansion=2),
    "R-MAC": SearchConfig(rerank=4, expansion=2),
    "BoW": SearchConfig(rerank=4, expansion=2),
}
SMOKE_CONFIG = MethodConfig(words=20, sample=2000, patch_side=64)


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """Which methods of a table run, and how.

    Attributes:
        methods: as results files call them.
        nc: N_C of OnA and OfA.
        npca: N_pca of OnA and OfA.
        others: sizes of the other methods.
    """

    methods: tuple[str, ...]
    nc: int
    npca: int
    others: MethodConfig


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `ComparisonConfig`."""
    layer_passes.define_flags(values)
    defaults = [*ALL, "OnA", "OfA"]
    flags.DEFINE_list("methods", defaults, "Which of the table's methods to run.", flag_values=values)
    for name, default, low, text in (
        ("nc", 64, 1, "N_C of OnA and OfA."),
        ("npca", 1, 1, "N_pca of OnA and OfA."),
        ("words", MethodConfig.words, 1, "Vocabulary of the bags of words."),
        ("sample", MethodConfig.sample, 1, "Local features that make it, at most."),
        ("patch_side", MethodConfig.patch_side, 32, "Pixels of a patch's side (Razavian et al.)."),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=low, flag_values=values)
    text = "Whose local features make the words: other sets' or its own."
    choices = ["whitening", "benchmark"]
    flags.DEFINE_enum("vocabulary", MethodConfig.vocabulary, choices, text, flag_values=values)


def from_flags(values: FlagValues) -> ComparisonConfig:
    """What the parsed flags of `define_flags` say; ValueError for a method there is not."""
    known = [*ALL, "OnA", "OfA"]
    if unknown := set(values.methods) - set(known):
        raise ValueError(f"--methods: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    layers = layer_passes.from_flags(values)
    others = MethodConfig(values.words, values.sample, values.vocabulary, values.patch_side, layers)
    return ComparisonConfig(tuple(values.methods), values.nc, values.npca, others)


def own(given: Inputs, config: ComparisonConfig) -> Iterator[MethodDescriptors]:
    """OnA and OfA as the tables have them."""
    classes = given.model.network.spec.num_labels
    counts, npca = (min(config.nc, classes),), min(config.npca, classes)
    if "OnA" in config.methods:
        yield methods.online(given, counts, npca)
    if "OfA" in config.methods:
        yield methods.offline(given, counts, npca)


def others(given: Inputs, config: ComparisonConfig, *, postprocessing: bool) -> list[Row]:
    """The methods that Table 2a compares with, or those of Table 2b after what their authors do."""
    methods, after = config.others, AFTER_SEARCH
    if given.run.smoke:
        methods = dataclasses.replace(SMOKE_CONFIG, vocabulary=methods.vocabulary, layers=methods.layers)
        after = SMOKE_AFTER_SEARCH
    rows: list[Row] = []
    for name in after if postprocessing else ALL:
        if name not in config.methods:
            continue
        with contextlib.ExitStack() as stack:  # methods share stores, which one at a time may have open
            prepared = other_methods.prepare(name, stack, given, methods, rerank=postprocessing)
            for step in [SearchConfig(), after[name]] if postprocessing else [SearchConfig()]:
                row = evaluation.row(given, name, None, None, step, _ranked(given, prepared, name, step))
                network = prepared.layer.extractor.network.spec.name
                paper = _published(prepared, methods, name, step)
                rows.append(dataclasses.replace(row, dim=prepared.dim, network=network, paper=paper))
    return rows


def _ranked(given: Inputs, prepared: PreparedMethod, name: str, step: SearchConfig) -> Ranked:
    queries = tqdm(given.benchmark.queries, desc=name, unit="query", disable=None)
    return {query.name: prepared.readable[prepared.ranking(i, step)].tolist() for i, query in enumerate(queries)}


def _published(prepared: PreparedMethod, config: MethodConfig, method: str, step: SearchConfig) -> float | None:
    """The paper's value, whatever the protocol: these methods have settings of their own, and their own network."""
    untouched = dataclasses.replace(config, sample=MethodConfig.sample, layers=LayerConfig()) == MethodConfig()
    if not untouched or not prepared.layer.is_published():
        return None
    dataset, network = prepared.layer.given.benchmark.name, prepared.layer.extractor.network.spec.name
    return published.mean_average_precision(
        dataset, network, method, nc=None, npca=None, qe=step.expansion, rerank=step.rerank
    )
