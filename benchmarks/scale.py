"""What a million to a billion photographs take: storage, hours, nodes and seconds a query, from this machine's rates.

python -m benchmarks.scale --images=1e6,1e8,1e9 --memory=64

Measures how fast one node encodes (GoogLeNet, 480 x 640, N_C 64), scores descriptors (OfA) and sums class vectors that
are in memory (OnA), then multiplies. A query to many nodes waits for the slowest: its time is simulated with the spread
that was measured here, and with nodes that are now and then a hundred times slower. What the network adds is left out.
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

_IMAGES = flags.DEFINE_list("images", ["1e6", "1e8", "1e9"], "Sizes of the collection.")
_MEMORY = flags.DEFINE_float("memory", 64.0, "Of a node, GB, of which .8 hold pictures.", lower_bound=1.0)
_CLASSES = flags.DEFINE_list("classes", ["1000", "100"], "Classes that are kept of an image for OnA.")
_ROUNDS = flags.DEFINE_integer("rounds", 100, "Queries of each kind.", lower_bound=1)
_STRAGGLERS = flags.DEFINE_float("stragglers", 0.001, "Share of answers that take a hundred times as long.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

DIM, NC = 256, 64
ROW = 4 * DIM + 300
"""Bytes of a picture in the table: its descriptor, path, sha256 and sizes; 1,331 measured with paths of 30 letters."""

MAPS = 554_147
"""Bytes of a picture's int8 maps, GoogLeNet (docs/stores.md)."""

SLOWER = 100


def main(argv: Sequence[str]) -> None:
    """Measures, multiplies, prints tables and keeps the JSON."""
    del argv
    rates = {"encoding": encoding(), "ofa": ofa(), "ona": ona()}
    plans = [plan(float(images), rates) for images in _IMAGES.value]
    result = {
        "what": "of a node: images encoded, bytes of descriptors and of class vectors read by a query, a second",
        "machine": measuring.machine(),
        "rates": {name: measuring.spread(found) for name, found in rates.items()},
        "memory": _MEMORY.value,
        "stragglers": {"share": _STRAGGLERS.value, "times": SLOWER},
        "plans": plans,
    }
    measuring.write(result, _OUTPUT.value)
    for one in plans:
        print(table(one))


def encoding() -> list[float]:
    """Images a second, of many passes."""
    network = networks.get("googlenet")
    model = Model(network.initialize(0), network, EncoderConfig(network.spec.feature_layer))
    image = np.random.default_rng(0).integers(0, 256, (1, 480, 640, 3), np.uint8)
    encode = functools.partial(cwcf_jax.encode, model, image, num_classes=NC)
    seconds = measuring.take_turns({"encode": lambda: np.asarray(encode())}, 20, 3)["encode"]
    return [1 / second for second in seconds]


def ofa(rows: int = 1_000_000) -> list[float]:
    """Bytes a second of descriptors that are scored, the best of them found."""
    database = jax.random.normal(jax.random.key(0), (rows, DIM))
    return _bytes_a_second(lambda: online.best(np.asarray(similarities(database[0], database)), 100), database.nbytes)


def ona(images: int = 50_000) -> list[float]:
    """Bytes a second of class vectors that are summed and scored."""
    random = np.random.default_rng(0)
    values = jnp.asarray(random.integers(-127, 128, (NC, images, DIM), np.int8))
    scales = jnp.asarray(random.random((NC, images), np.float32))
    query = jnp.ones(DIM) / math.sqrt(DIM)
    ask = functools.partial(online_scores, values, scales, jnp.arange(NC), query)
    return _bytes_a_second(lambda: online.best(np.asarray(ask()), 100), values.nbytes + scales.nbytes)


def _bytes_a_second(query: Any, size: int) -> list[float]:
    return [size / second for second in measuring.take_turns({"query": query}, _ROUNDS.value, 3)["query"]]


def plan(images: float, rates: dict[str, list[float]]) -> dict[str, Any]:
    """One collection's storage in bytes, hours of a node, and each way to search it."""
    ways = [_way("OfA", images, 4 * DIM, 4 * DIM, rates["ofa"])]
    for classes in map(int, _CLASSES.value):
        layout = StoreConfig(tuple(range(classes)), DIM, "int8")
        read = StoreConfig(tuple(range(min(NC, classes))), DIM, "int8")
        ways.append(_way(f"OnA, {classes} classes", images, layout.image_bytes, read.image_bytes, rates["ona"]))
    return {
        "images": images,
        "table": images * ROW,
        "class_vectors": {
            int(classes): images * StoreConfig(tuple(range(int(classes))), DIM).image_bytes
            for classes in _CLASSES.value
        },
        "maps": images * MAPS,
        "node_hours": images / float(np.median(rates["encoding"])) / 3600,
        "ways": ways,
    }


def _way(name: str, images: float, held: int, read: int, rate: list[float]) -> dict[str, Any]:
    """Nodes that hold a collection in memory, ``held`` bytes an image, and a query that reads ``read`` of them."""
    nodes = math.ceil(images * held / (0.8e9 * _MEMORY.value))
    seconds = images * read / nodes / np.array(rate)
    return {"way": name, "nodes": nodes, "query": scatter(seconds, nodes)}


def scatter(seconds: np.ndarray, nodes: int, queries: int = 2000) -> dict[str, float]:
    """Seconds of a query that waits for all nodes, each as slow as one of those measured, some a hundred times."""
    random = np.random.default_rng(0)
    slowest = np.zeros(queries)
    for _ in range(nodes):
        taken = random.choice(seconds, queries)
        taken[random.random(queries) < _STRAGGLERS.value] *= SLOWER
        slowest = np.maximum(slowest, taken)
    return {name: float(np.quantile(slowest, at)) for name, at in (("median", 0.5), ("p95", 0.95), ("p99", 0.99))}


def table(found: dict[str, Any]) -> str:
    """One collection for people."""
    lines = [f"{found['images']:.0e} photographs, {found['node_hours']:,.0f} hours of one node to encode"]
    vectors = "; ".join(f"{size / 1e12:,.3f} TB of {name} classes" for name, size in found["class_vectors"].items())
    lines.append(f"  table {found['table'] / 1e12:,.3f} TB, maps {found['maps'] / 1e12:,.2f} TB, vectors {vectors}")
    for way in found["ways"]:
        query = ", ".join(f"{name} {seconds:.3f}" for name, seconds in way["query"].items())
        lines.append(f"  {way['way']:18} {way['nodes']:6,} nodes, seconds a query: {query}")
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
