"""Which methods Tables 2a and 2b have, and the flags of both."""

import contextlib
import dataclasses
from collections.abc import Iterator

from absl import flags
from tqdm import tqdm

from cwcf_jax.evaluation import Described
from cwcf_jax.search.pipeline import SearchConfig
from experiments import evaluation, inputs, layer_passes, methods, other_methods, published
from experiments.evaluation import Ranked
from experiments.inputs import Inputs
from experiments.other_methods import ALL, MethodConfig, Prepared
from experiments.results import Row

flags.adopt_module_key_flags(layer_passes)

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

_METHODS = flags.DEFINE_list("methods", [*ALL, "OnA", "OfA"], "Which of the table's methods to run.")
_NC = flags.DEFINE_integer("nc", 64, "N_C of OnA and OfA.", lower_bound=1)
_NPCA = flags.DEFINE_integer("npca", 1, "N_pca of OnA and OfA.", lower_bound=1)
_WORDS = flags.DEFINE_integer("words", 25_000, "Vocabulary of the bags of words.", lower_bound=1)
_SAMPLE = flags.DEFINE_integer("sample", 3_000_000, "Local features that make it, at most.", lower_bound=1)
_VOCABULARY = flags.DEFINE_enum(
    "vocabulary",
    "whitening",
    ["whitening", "benchmark"],
    "Whose local features make the words: other sets' or its own.",
)
_PATCH_SIDE = flags.DEFINE_integer("patch_side", 576, "Pixels of a patch's side (Razavian et al.).", lower_bound=32)


def own(given: Inputs) -> Iterator[Described]:
    """OnA and OfA as the tables have them."""
    classes = given.model.network.spec.num_classes
    counts, npca = (min(_NC.value, classes),), min(_NPCA.value, classes)
    if "OnA" in _METHODS.value:
        yield methods.online(given, counts, npca)
    if "OfA" in _METHODS.value:
        yield methods.offline(given, counts, npca)


def others(given: Inputs, *, postprocessing: bool) -> list[Row]:
    """The methods that Table 2a compares with, or those of Table 2b after what their authors do."""
    known = [*ALL, "OnA", "OfA"]
    unknown = set(_METHODS.value) - set(known)
    if unknown:
        raise ValueError(f"--methods: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    config = MethodConfig(_WORDS.value, _SAMPLE.value, _VOCABULARY.value, _PATCH_SIDE.value)
    if inputs.smoke():
        config = dataclasses.replace(SMOKE_CONFIG, vocabulary=config.vocabulary)
    after = SMOKE_AFTER_SEARCH if inputs.smoke() else AFTER_SEARCH
    rows: list[Row] = []
    for name in after if postprocessing else ALL:
        if name not in _METHODS.value:
            continue
        with contextlib.ExitStack() as stack:  # methods share stores, which one at a time may have open
            prepared = other_methods.prepare(name, stack, given, config, rerank=postprocessing)
            for step in [SearchConfig(), after[name]] if postprocessing else [SearchConfig()]:
                row = evaluation.row(given, name, None, None, step, _ranked(given, prepared, name, step))
                network = prepared.layer.extractor.network.spec.name
                paper = _published(prepared, config, name, step)
                rows.append(dataclasses.replace(row, dim=prepared.dim, network=network, paper=paper))
    return rows


def _ranked(given: Inputs, prepared: Prepared, name: str, step: SearchConfig) -> Ranked:
    queries = tqdm(given.benchmark.queries, desc=name, unit="query", disable=None)
    return {query.name: prepared.readable[prepared.ranking(i, step)].tolist() for i, query in enumerate(queries)}


def _published(prepared: Prepared, config: MethodConfig, method: str, step: SearchConfig) -> float | None:
    """The paper's value, whatever the protocol: these methods have settings of their own, and their own network."""
    untouched = dataclasses.replace(config, sample=MethodConfig.sample) == MethodConfig()
    if not untouched or not prepared.layer.is_published():
        return None
    dataset, network = prepared.layer.given.benchmark.name, prepared.layer.extractor.network.spec.name
    return published.mean_average_precision(
        dataset, network, method, nc=None, npca=None, qe=step.expansion, rerank=step.rerank
    )
