"""What every driver starts from: the network passes that its flags ask for."""

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
    """A benchmark after its network passes.

    Attributes:
        run: what was read, and how.
        filler: who makes the passes.
        weights: sha256 of the weights file, or of the file that found weights were converted from.
        sources: the benchmark, then the datasets that whitenings are fitted on.
        database: the benchmark's rows.
        whitening: the other datasets' rows.
        left_out: pictures that could not be read, and why.
        data: name, size, release and sha256 over names and contents of each dataset, the benchmark first.
    """

    run: RunConfig
    filler: AnyFiller
    weights: str
    sources: tuple[NamedDataset, ...]
    database: DatasetRows
    whitening: tuple[DatasetRows, ...]
    left_out: tuple[str, ...]
    data: tuple[dict[str, str | int], ...]

    @property
    def model(self) -> cwcf_jax.Model:
        """The network with its weights."""
        return self.filler.model

    @property
    def benchmark(self) -> ImageSet:
        """Images and ground truth."""
        return self.sources[0].images

    @property
    def queries(self) -> store.PooledRows:
        """The rows of the benchmark's queries."""
        assert self.database.queries is not None  # `prepare` refuses a dataset without
        return self.database.queries

    @property
    def protocol(self) -> ProtocolConfig:
        """Every choice that is not the method."""
        return self.run.protocol

    @property
    def extraction(self) -> ExtractionConfig:
        """How pictures are read."""
        return self.protocol.extraction(self.run.batch_size)


def prepare(stack: contextlib.ExitStack, run: RunConfig) -> Inputs:
    """Every picture through the network, or out of the cache; ``stack`` closes the stores.

    Args:
        stack: that the stores are entered into.
        run: what to read, and how.

    Raises:
        ValueError, OSError, StoreBusyError: a flag, file or folder that cannot be used; the message names it.
    """
    found = extract(stack, run, read_datasets(run))
    queries = found.database.queries
    if queries is None or not queries.done.all():
        raise ValueError("a query's picture could not be read, see above; nothing can be measured without it")
    return found


def extract(stack: contextlib.ExitStack, run: RunConfig, sources: Sequence[NamedDataset]) -> Inputs:
    """`prepare` for datasets that were read already and need no queries; the first takes the benchmark's place."""
    chosen = weights_of(run.weights, run.network)
    fingerprint = chosen.fingerprint()
    filler = passes.filler(stack, load_model(run, chosen), run.ray)
    collections: list[DatasetRows] = []
    left_out: list[str] = []
    described: list[dict[str, str | int]] = []
    for source in sources:
        files = fingerprint_files(source.images)
        described.append(describe_data(source.images, files))
        collection, reasons = _extract(stack, filler, source, run, weights=fingerprint, files=files)
        collections.append(collection)
        left_out += reasons
    report_left_out(left_out)
    database, *whitening = collections
    return Inputs(
        run, filler, fingerprint, tuple(sources), database, tuple(whitening), tuple(left_out), tuple(described)
    )


def open_maps(stack: contextlib.ExitStack, given: Inputs) -> store.MapStore:
    """The benchmark's maps, filled by `fill_maps` as they are needed."""
    files = str(given.data[0]["sha256"])
    conditions = fingerprint(
        given.model, given.benchmark, given.extraction, weights=given.weights, files=files, queries=False
    )
    settings = (str(given.extraction.resize), given.protocol.pixel_mean)
    # What maps do not depend on must not tell stores apart.
    conditions["encoder"] = {name: conditions["encoder"][name] for name in ("feature_layer", "pixel_mean", "dtype")}
    conditions["length"] = len(given.benchmark)
    dtype = given.run.map_dtype
    kind = "maps" if dtype == "float16" else f"maps-{dtype}"
    folder = cache_folder(given.run, given.sources[0], given.model, *settings) / kind
    return stack.enter_context(store.MapStore.exclusive(folder, conditions, dtype=dtype))


def fill_maps(given: Inputs, maps: store.MapStore, rows: np.ndarray) -> None:
    """Makes sure that the maps of the given images are there."""
    if not maps.missing(rows.tolist()):
        return
    with tqdm(total=len(rows), desc=f"{given.benchmark.name} maps", unit="image", disable=None) as bar:
        given.filler.fill_maps(maps, given.benchmark, given.extraction, rows, progress=bar.update)


def read_datasets(run: RunConfig) -> list[NamedDataset]:
    """The benchmark, then the datasets that whitenings are fitted on; ValueError names the flag."""
    names = [run.dataset, *run.whitening_datasets]
    if len(names) < 2:
        raise ValueError("--whitening_dataset needs at least one folder")
    places = [pathlib.Path(name).resolve() for name in names]
    for name, place in zip(names, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{name} is named twice; --dataset and each of --whitening_dataset must differ")
    sources = [data.read(name, cache=run.cache, data_dir=run.data_dir, smoke=run.smoke) for name in names]
    if not sources[0].images.queries:
        raise ValueError(f"--dataset={names[0]} has no queries: it needs lab/ beside jpg/, see docs/datasets.md")
    return sources


def load_model(run: RunConfig, chosen: Weights) -> cwcf_jax.Model:
    """The network with its weights as the protocol wants them."""
    options = run.protocol.model_options(chosen.network.spec.preprocessing.mean)
    return encoder.replicate(
        cwcf_jax.load(chosen.network, chosen.source, feature_layer=run.feature_layer, dtype=run.dtype, **options)
    )


def describe_data(images: ImageSet, files: str) -> dict[str, str | int]:
    """What a results file says of a dataset."""
    described: dict[str, str | int] = {"name": images.name, "images": len(images), "queries": len(images.queries)}
    return described | ({"release": images.release} if images.release else {}) | {"sha256": files}


def report_left_out(left_out: list[str]) -> None:
    """Says which pictures could not be read."""
    for reason in dict.fromkeys(left_out):
        print(f"left out: {reason}", file=sys.stderr)


def cache_folder(run: RunConfig, source: NamedDataset, model: cwcf_jax.Model, *settings: str) -> pathlib.Path:
    """Readable, and apart for settings that people vary; a store's fingerprint is what counts."""
    dtype = () if model.config.dtype == "float32" else (model.config.dtype,)
    return cache_path(run, source, model.network.spec.name, model.feature_layer.name, *dtype, *settings)


def cache_path(run: RunConfig, source: NamedDataset, *settings: str) -> pathlib.Path:
    """`cache_folder` for what no model made."""
    return run.cache / "-".join((source.images.name, source.place, *settings))


def _extract(
    stack: contextlib.ExitStack,
    filler: AnyFiller,
    source: NamedDataset,
    run: RunConfig,
    *,
    weights: str,
    files: str,
) -> tuple[DatasetRows, list[str]]:
    chosen = run.protocol
    settings = [chosen.cam_normalization, chosen.negative_maps, chosen.pixel_mean]
    settings += [] if chosen.pooling == "sum" else [chosen.pooling]
    model, images = filler.model, source.images
    kinds = {"images": False}
    if images.queries:
        kinds["-".join(("queries", chosen.query_boxes, chosen.query_features, chosen.query_classes))] = True
    rows: list[store.PooledRows] = []
    left_out: list[str] = []
    for kind, queries in kinds.items():
        scales = []
        for extraction in chosen.extractions(run.batch_size):
            folder = cache_folder(run, source, model, str(extraction.resize), *settings)
            opened = open_store(folder / kind, model, images, extraction, weights=weights, files=files, queries=queries)
            stack.enter_context(opened)
            what = f"{images.name} {'queries' if queries else 'images'}, {extraction.resize}"
            with tqdm(total=opened.length, desc=what, unit="image", disable=None) as bar:
                left_out += filler.fill_store(opened, images, extraction, queries=queries, progress=bar.update)
            scales.append(opened)
        rows.append(scales[0] if len(scales) == 1 else store.PooledScales(scales))
    return DatasetRows(images.name, *rows), left_out
