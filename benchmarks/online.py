"""Queries by online aggregation over a store of synthetic class vectors, against reading the same bytes.

python -m benchmarks.online --folder=FOLDER --images=5063,20000,105000

For each number of images: bytes an image, how fast they are written, one query's time at each N_C with the files in the
page cache and without, and beside each the time that ``cat`` takes for as many bytes of the store's files. The store is
filled up from one number to the next and removed at the end. 105,000 images of 1,000 classes of 512 numbers take 54 GB.
"""

import gc
import pathlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.search.online import OnlineSearch
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, StoreConfig

_FOLDER = flags.DEFINE_string("folder", None, "An empty or new folder on the disk to measure.", required=True)
_IMAGES = flags.DEFINE_list("images", ["5063", "20000"], "Sizes of the store, ascending.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Classes of an image.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 512, "Numbers of a class vector.", lower_bound=1)
_FRAGMENT = flags.DEFINE_integer("fragment", 512, "Images that are written together.", lower_bound=1)
_NC = flags.DEFINE_list("nc", ["8", "64"], "Values of N_C.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Queries of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Fills, asks, compares."""
    del argv
    folder = pathlib.Path(_FOLDER.value)
    if folder.exists() and any(folder.iterdir()):
        raise app.UsageError(f"{folder} is not empty")
    layout = StoreConfig(tuple(range(_CLASSES.value)), _DIM.value, "int8", _FRAGMENT.value)
    rows = []
    try:
        for images in map(int, _IMAGES.value):
            writing = fill(folder / "store", layout, images)
            for nc in map(int, _NC.value):
                row = {"images": images, "nc": nc, **ask(folder, images, nc), "writing": writing}
                rows.append(row)
                print(row, flush=True)
    finally:
        shutil.rmtree(folder / "store", ignore_errors=True)
    result = {
        "what": "OnA over a class-vector store, seconds",
        "layout": {"classes": _CLASSES.value, "dim": _DIM.value, "dtype": "int8", "fragment": _FRAGMENT.value},
        "bytes_per_image": layout.image_bytes,
        "memory_bandwidth": measuring.memory_bandwidth(),
        "machine": measuring.machine(),
        "rows": rows,
    }
    measuring.write(result, _OUTPUT.value)


def fill(folder: pathlib.Path, layout: StoreConfig, images: int) -> dict[str, float]:
    """Appends random vectors until there are so many images; what the generator takes is no part of the rate."""
    random = np.random.default_rng(0)
    batch = 64
    shape = batch, len(layout.classes), layout.dim
    seconds, written = 0.0, 0
    writer = ClassVectorWriter(folder, {"benchmark": "synthetic"}, layout)
    while writer.length < images:
        values = np.frombuffer(random.bytes(int(np.prod(shape))), np.int8).reshape(shape)
        scales = np.full(shape[:2], 1.0 / 127, np.float32)
        count = min(batch, images - writer.length)
        start = time.perf_counter()
        writer.append(values[:count], scales[:count])
        seconds += time.perf_counter() - start
        written += count
    start = time.perf_counter()
    writer.close()
    seconds += time.perf_counter() - start
    return {"images": written, "seconds": seconds, "bytes_per_second": written * layout.image_bytes / seconds}


def ask(folder: pathlib.Path, images: int, nc: int) -> dict[str, Any]:
    """Times of a query and of `cat`, cold and warm."""
    random = np.random.default_rng(nc)
    classes = random.permutation(_CLASSES.value)[:nc].astype(np.int32)
    direction = random.normal(size=_DIM.value)
    query = jnp.asarray(direction / np.linalg.norm(direction), jnp.float32)
    layout = ClassVectorStore(folder / "store").layout
    shards = -(-images // layout.fragment)
    bytes_read = shards * layout.fragment * nc * layout.dim
    read = _command(folder, bytes_read)
    cold: dict[str, list[float]] = {"query": [], "cat": []}
    for _ in range(max(3, _ROUNDS.value // 2)):
        files = [path for path in folder.rglob("*") if path.is_file()]
        gc.collect()  # a store's mappings go with it; mapped pages cannot be forgotten
        measuring.forget(files)
        search = OnlineSearch(ClassVectorStore(folder / "store"))
        start = time.perf_counter()
        search.scores(query, classes)
        cold["query"].append(time.perf_counter() - start)
        del search
        gc.collect()
        measuring.forget(files)
        start = time.perf_counter()
        _run(read)
        cold["cat"].append(time.perf_counter() - start)
    search = OnlineSearch(ClassVectorStore(folder / "store"))
    warm = measuring.take_turns(
        {"query": lambda: search.scores(query, classes), "cat": lambda: _run(read)}, _ROUNDS.value, warm_up=2
    )
    memory = measuring.peak_memory()
    return {
        "bytes": bytes_read,
        "cold": {name: measuring.spread(values) for name, values in cold.items()},
        "cold_cat_per_query": measuring.ratio(cold["cat"], cold["query"]),
        "warm": {name: measuring.spread(values) for name, values in warm.items()},
        "warm_cat_per_query": measuring.ratio(warm["cat"], warm["query"]),
        "warm_bytes_per_second": bytes_read / measuring.spread(warm["query"])["median"],
        "memory": memory,
    }


def _command(folder: pathlib.Path, count: int) -> list[str]:
    """Reads so many bytes of the store from its beginning, as fast as the disk gives them."""
    shards = sorted(path for path in (folder / "store" / "values" / "c").rglob("*") if path.is_file())
    whole, rest = divmod(count, shards[0].stat().st_size)
    parts = [shlex.join(["cat", *map(str, shards[:whole])])] if whole else []
    if rest:
        parts.append(shlex.join(["head", "-c", str(rest), str(shards[whole])]))
    return ["sh", "-c", "; ".join(parts)]


def _run(command: Sequence[str]) -> None:
    with pathlib.Path("/dev/null").open("wb") as nowhere:
        subprocess.run(command, stdout=nowhere, check=True)


if __name__ == "__main__":
    app.run(main)
