"""This program estimates what a million to a billion photographs need: storage, hours, nodes and seconds a query.

python -m benchmarks.scale --images=1e6,1e8,1e9 --memory=64

The program measures how fast this machine, as one node, encodes (GoogLeNet, 480 x 640, N_C 64), scores descriptors
(OfA) and sums class vectors in memory (OnA). The estimates are multiples of these rates. A query to many nodes waits
for the slowest node: the waiting time is simulated with the measured times, a few of which are a hundred times longer.
The time of the connections between nodes is left out.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import cwcf_jax
from benchmarks import measuring
from cwcf_jax import networks
from cwcf_jax.encoder import EncoderConfig, Model
from cwcf_jax.search import online, online_scores, similarities
from cwcf_jax.store import StoreConfig

_IMAGES = flags.DEFINE_list("images", ["1e6", "1e8", "1e9"], "Numbers of images of the collections.")
_MEMORY = flags.DEFINE_float(
    "memory", 64.0, "Memory of a node in GB, of which .8 holds descriptors or class vectors.", lower_bound=1.0
)
_CLASSES = flags.DEFINE_list("classes", ["1000", "100"], "Numbers of classes that are stored of an image for OnA.")
_ROUNDS = flags.DEFINE_integer("rounds", 100, "Number of queries of each kind.", lower_bound=1)
_STRAGGLERS = flags.DEFINE_float("stragglers", 0.001, "Share of answers that are a hundred times slower.")
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

DIM, NC = 256, 64
ENTRY_BYTES = 4 * DIM + 300
"""Bytes of a table entry: descriptor, path, sha256 and sizes; 1,331 were measured for paths of 30 letters."""

MAP_BYTES = 554_147
"""Bytes of an image's int8 maps from GoogLeNet (docs/stores.md)."""

STRAGGLER_FACTOR = 100
"""The factor by which a slow answer is slower."""


def main(argv: Sequence[str]) -> None:
    """Measures the rates of a node, plans every collection, and prints and saves the results."""
    del argv
    rates = {"encoding": measure_encoding(), "ofa": measure_ofa(), "ona": measure_ona()}
    plans = [plan_collection(float(images), rates) for images in _IMAGES.value]
    result = {
        "what": "of a node: images encoded, bytes of descriptors and of class vectors read by a query, a second",
        "machine": measuring.describe_machine(),
        "rates": {name: measuring.spread(rate) for name, rate in rates.items()},
        "memory": _MEMORY.value,
        "stragglers": {"share": _STRAGGLERS.value, "times": STRAGGLER_FACTOR},
        "plans": plans,
    }
    measuring.print_and_save(result, _OUTPUT.value)
    for collection in plans:
        print(format_plan(collection))


def measure_encoding() -> list[float]:
    """Measures images a second in each of many passes."""
    network = networks.get("googlenet")
    model = Model(network.initialize(0), network, EncoderConfig(network.spec.feature_layer))
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
    encode = functools.partial(cwcf_jax.encode, model, image, num_classes=NC)
    seconds = measuring.take_turns({"encode": lambda: np.asarray(encode())}, 20, 3)["encode"]
    return [1 / duration for duration in seconds]


def measure_ofa(rows: int = 1_000_000) -> list[float]:
    """Measures bytes a second of descriptors that are scored and ranked."""
    database = jax.random.normal(jax.random.key(0), (rows, DIM))
    return _measure_bytes_a_second(
        lambda: online.best(np.asarray(similarities(database[0], database)), 100), database.nbytes
    )


def measure_ona(images: int = 50_000) -> list[float]:
    """Measures bytes a second of class vectors that are summed, scored and ranked."""
    random = np.random.default_rng(0)
    values = jnp.asarray(random.integers(-127, 128, (NC, images, DIM), np.int8))
    scales = jnp.asarray(random.random((NC, images), np.float32))
    query = jnp.ones(DIM) / math.sqrt(DIM)
    compute_scores = functools.partial(online_scores, values, scales, jnp.arange(NC), query)
    return _measure_bytes_a_second(
        lambda: online.best(np.asarray(compute_scores()), 100), values.nbytes + scales.nbytes
    )


def _measure_bytes_a_second(query: Any, size: int) -> list[float]:
    """Measures bytes a second of a query that reads ``size`` bytes."""
    return [size / duration for duration in measuring.take_turns({"query": query}, _ROUNDS.value, 3)["query"]]


def plan_collection(images: float, rates: dict[str, list[float]]) -> dict[str, Any]:
    """Returns a collection's storage in bytes, the hours of a node to encode the images, and the ways to search."""
    searches = [_plan_search("OfA", images, 4 * DIM, 4 * DIM, rates["ofa"])]
    for classes in map(int, _CLASSES.value):
        stored = StoreConfig(tuple(range(classes)), DIM, "int8")
        read = StoreConfig(tuple(range(min(NC, classes))), DIM, "int8")
        searches.append(
            _plan_search(f"OnA, {classes} classes", images, stored.image_bytes, read.image_bytes, rates["ona"])
        )
    return {
        "images": images,
        "table": images * ENTRY_BYTES,
        "class_vectors": {
            int(classes): images * StoreConfig(tuple(range(int(classes))), DIM).image_bytes
            for classes in _CLASSES.value
        },
        "maps": images * MAP_BYTES,
        "node_hours": images / float(np.median(rates["encoding"])) / 3600,
        "ways": searches,
    }


def _plan_search(name: str, images: float, stored: int, read: int, rate: list[float]) -> dict[str, Any]:
    """Returns the number of nodes that store ``stored`` bytes an image, and the times of queries that read ``read``."""
    nodes = math.ceil(images * stored / (0.8e9 * _MEMORY.value))
    seconds = images * read / nodes / np.array(rate)
    return {"way": name, "nodes": nodes, "query": simulate_queries(seconds, nodes)}


def simulate_queries(seconds: np.ndarray, nodes: int, queries: int = 2000) -> dict[str, float]:
    """Simulates queries that wait for all nodes; returns quantiles of their seconds.

    The time of each node is one of the measured ``seconds``; a few times are `STRAGGLER_FACTOR` times longer.
    """
    random = np.random.default_rng(0)
    slowest = np.zeros(queries)
    for _ in range(nodes):
        node_seconds = random.choice(seconds, queries)
        node_seconds[random.random(queries) < _STRAGGLERS.value] *= STRAGGLER_FACTOR
        slowest = np.maximum(slowest, node_seconds)
    return {
        name: float(np.quantile(slowest, quantile))
        for name, quantile in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def format_plan(plan: dict[str, Any]) -> str:
    """Formats a plan as text."""
    lines = [f"{plan['images']:.0e} photographs, {plan['node_hours']:,.0f} hours of one node to encode"]
    vectors = "; ".join(f"{size / 1e12:,.3f} TB of {name} classes" for name, size in plan["class_vectors"].items())
    lines.append(f"  table {plan['table'] / 1e12:,.3f} TB, maps {plan['maps'] / 1e12:,.2f} TB, vectors {vectors}")
    for search in plan["ways"]:
        query = ", ".join(f"{name} {seconds:.3f}" for name, seconds in search["query"].items())
        lines.append(f"  {search['way']:18} {search['nodes']:6,} nodes, seconds a query: {query}")
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
