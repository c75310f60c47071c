"""This module prepares the inputs of a driver: datasets, a model, and the network passes that the flags ask for."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

import cwcf_jax
from cwcf_jax import encoder, store
from cwcf_jax.evaluation.benchmark import DatasetRows
from cwcf_jax.evaluation.protocol import ProtocolConfig
from cwcf_jax.extraction import ExtractionConfig, fingerprint, fingerprint_files, open_store
from cwcf_jax.images import ImageSet
from experiments import data, passes
from experiments.data import NamedDataset
from experiments.passes import AnyFiller
from experiments.run_flags import RunConfig
from experiments.weights import Weights, weights_of


@dataclasses.dataclass(frozen=True)
class Inputs:
    """An `Inputs` holds a benchmark and its whitening datasets, after their network passes.

    Attributes:
        run: settings that say what was read, and how.
        filler: the object that runs the passes, in this process or on a Ray cluster.
        weights_sha256: sha256 of the weights file, or of the file that installed weights were converted from.
        sources: the benchmark, then the datasets that whitenings are fitted on.
        database: rows of the benchmark.
        whitening: rows of each whitening dataset.
        left_out: unreadable pictures, with the reasons.
        data: name, size, release and sha256 over names and contents of each dataset, the benchmark first.
    """

    run: RunConfig
    filler: AnyFiller
    weights_sha256: str
    sources: tuple[NamedDataset, ...]
    database: DatasetRows
    whitening: tuple[DatasetRows, ...]
    left_out: tuple[str, ...]
    data: tuple[dict[str, str | int], ...]

    @property
    def model(self) -> cwcf_jax.Model:
        """Returns the network with its weights."""
        return self.filler.model

    @property
    def benchmark(self) -> ImageSet:
        """Returns the images, the queries and the ground truth."""
        return self.sources[0].images

    @property
    def queries(self) -> store.PooledRows:
        """Returns the rows of the benchmark's queries."""
        assert self.database.queries is not None  # `prepare` refuses a dataset without queries
        return self.database.queries

    @property
    def protocol(self) -> ProtocolConfig:
        """Returns the protocol of the run."""
        return self.run.protocol

    @property
    def extraction(self) -> ExtractionConfig:
        """Returns the settings that pictures are read with."""
        return self.protocol.extraction(self.run.batch_size)


def prepare(stack: contextlib.ExitStack, run: RunConfig) -> Inputs:
    """Runs the network on every picture, or reads the results from the cache; ``stack`` closes the stores.

    Args:
        stack: stack that closes the stores.
        run: settings that say what to read, and how.

    Raises:
        ValueError, OSError, StoreBusyError: a flag, file or folder cannot be used; the message names it.
    """
    inputs = extract(stack, run, read_datasets(run))
    queries = inputs.database.queries
    if queries is None or not queries.done.all():
        raise ValueError("a query's picture could not be read, see above; nothing can be measured without it")
    return inputs


def extract(stack: contextlib.ExitStack, run: RunConfig, sources: Sequence[NamedDataset]) -> Inputs:
    """Prepares inputs as `prepare` does, from ``sources``, which need no queries; the first one is the benchmark."""
    weights = weights_of(run.weights, run.network)
    weights_sha256 = weights.fingerprint()
    filler = passes.filler(stack, load_model(run, weights), run.ray)
    datasets: list[DatasetRows] = []
    left_out: list[str] = []
    dataset_facts: list[dict[str, str | int]] = []
    for source in sources:
        files = fingerprint_files(source.images)
        dataset_facts.append(describe_data(source.images, files))
        rows, reasons = _extract(stack, filler, source, run, weights=weights_sha256, files=files)
        datasets.append(rows)
        left_out += reasons
    report_left_out(left_out)
    database, *whitening = datasets
    return Inputs(
        run, filler, weights_sha256, tuple(sources), database, tuple(whitening), tuple(left_out), tuple(dataset_facts)
    )


def open_maps(stack: contextlib.ExitStack, inputs: Inputs) -> store.MapStore:
    """Opens the store of the benchmark's maps, which `fill_maps` fills when maps are needed."""
    files = str(inputs.data[0]["sha256"])
    conditions = fingerprint(
        inputs.model, inputs.benchmark, inputs.extraction, weights=inputs.weights_sha256, files=files, queries=False
    )
    settings = (str(inputs.extraction.resize), inputs.protocol.pixel_mean)
    # Settings that do not change the maps must not lead to separate stores.
    conditions["encoder"] = {name: conditions["encoder"][name] for name in ("feature_layer", "pixel_mean", "dtype")}
    conditions["length"] = len(inputs.benchmark)
    dtype = inputs.run.map_dtype
    kind = "maps" if dtype == "float16" else f"maps-{dtype}"
    folder = cache_folder(inputs.run, inputs.sources[0], inputs.model, *settings) / kind
    return stack.enter_context(store.MapStore.exclusive(folder, conditions, dtype=dtype))


def fill_maps(inputs: Inputs, maps: store.MapStore, rows: np.ndarray) -> None:
    """Computes the maps of the images ``rows`` that are missing in the store."""
    if not maps.missing(rows.tolist()):
        return
    with tqdm(total=len(rows), desc=f"{inputs.benchmark.name} maps", unit="image", disable=None) as bar:
        inputs.filler.fill_maps(maps, inputs.benchmark, inputs.extraction, rows, progress=bar.update)


def read_datasets(run: RunConfig) -> list[NamedDataset]:
    """Reads the benchmark, then the datasets that whitenings are fitted on; ValueError names the flag."""
    names = [run.dataset, *run.whitening_datasets]
    if len(names) < 2:
        raise ValueError("--whitening_dataset needs at least one folder")
    folders = [pathlib.Path(name).resolve() for name in names]
    for name, folder in zip(names, folders, strict=True):
        if folders.count(folder) > 1:
            raise ValueError(f"{name} is named twice; --dataset and each of --whitening_dataset must differ")
    sources = [data.read(name, cache=run.cache, data_dir=run.data_dir, smoke=run.smoke) for name in names]
    if not sources[0].images.queries:
        raise ValueError(f"--dataset={names[0]} has no queries: it needs lab/ beside jpg/, see docs/datasets.md")
    return sources


def load_model(run: RunConfig, weights: Weights) -> cwcf_jax.Model:
    """Returns the network with its weights and the options of the protocol, on every device."""
    options = run.protocol.model_options(weights.network.spec.preprocessing.mean)
    return encoder.replicate(
        cwcf_jax.load(weights.network, weights.source, feature_layer=run.feature_layer, dtype=run.dtype, **options)
    )


def describe_data(images: ImageSet, files: str) -> dict[str, str | int]:
    """Returns the entries of a results file that describe a dataset; ``files`` is the sha256 over its files."""
    facts: dict[str, str | int] = {"name": images.name, "images": len(images), "queries": len(images.queries)}
    return facts | ({"release": images.release} if images.release else {}) | {"sha256": files}


def report_left_out(left_out: list[str]) -> None:
    """Prints to stderr which pictures could not be read, and why."""
    for reason in dict.fromkeys(left_out):
        print(f"left out: {reason}", file=sys.stderr)


def cache_folder(run: RunConfig, source: NamedDataset, model: cwcf_jax.Model, *settings: str) -> pathlib.Path:
    """Returns a folder whose name shows the settings that vary often; the fingerprint of a store holds all settings."""
    dtype = () if model.config.dtype == "float32" else (model.config.dtype,)
    return cache_path(run, source, model.network.spec.name, model.feature_layer.name, *dtype, *settings)


def cache_path(run: RunConfig, source: NamedDataset, *settings: str) -> pathlib.Path:
    """Returns a folder as `cache_folder` does, for stores that do not depend on a model."""
    return run.cache / "-".join((source.images.name, source.location_hash, *settings))


def _extract(
    stack: contextlib.ExitStack,
    filler: AnyFiller,
    source: NamedDataset,
    run: RunConfig,
    *,
    weights: str,
    files: str,
) -> tuple[DatasetRows, list[str]]:
    """Returns the rows of one dataset, and the reasons why pictures were left out."""
    protocol = run.protocol
    settings = [protocol.cam_normalization, protocol.negative_maps, protocol.pixel_mean]
    settings += [] if protocol.pooling == "sum" else [protocol.pooling]
    model, images = filler.model, source.images
    kinds = {"images": False}
    if images.queries:
        kinds["-".join(("queries", protocol.query_boxes, protocol.query_features, protocol.query_classes))] = True
    rows: list[store.PooledRows] = []
    left_out: list[str] = []
    for kind, queries in kinds.items():
        scales = []
        for extraction in protocol.extractions(run.batch_size):
            folder = cache_folder(run, source, model, str(extraction.resize), *settings)
            rows_store = open_store(
                folder / kind, model, images, extraction, weights=weights, files=files, queries=queries
            )
            stack.enter_context(rows_store)
            description = f"{images.name} {'queries' if queries else 'images'}, {extraction.resize}"
            with tqdm(total=rows_store.length, desc=description, unit="image", disable=None) as bar:
                left_out += filler.fill_store(rows_store, images, extraction, queries=queries, progress=bar.update)
            scales.append(rows_store)
        rows.append(scales[0] if len(scales) == 1 else store.PooledScales(scales))
    return DatasetRows(images.name, *rows), left_out
