"""This benchmark measures queries by online aggregation over a store of random class vectors.

python -m benchmarks.online --folder=FOLDER --images=5063,20000,105000

For each number of images it measures the bytes of an image, the speed of writing, and the time of a query for each N_C,
with the files in the page cache and without. Each time is compared with the time of ``cat`` for as many bytes of the
store's files. The store grows from one number of images to the next, and is removed at the end. 105,000 images of 1,000
classes and 512 dimensions need 54 GB.
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

_FOLDER = flags.DEFINE_string("folder", None, "Empty or new folder on the disk that is measured.", required=True)
_IMAGES = flags.DEFINE_list("images", ["5063", "20000"], "Numbers of images in the store, ascending.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Number of classes of an image.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 512, "Dimensions of a class vector.", lower_bound=1)
_FRAGMENT = flags.DEFINE_integer("fragment", 512, "Number of images that are written together.", lower_bound=1)
_NC = flags.DEFINE_list("nc", ["8", "64"], "Values of N_C.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of queries of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Fills the store, measures all queries, and prints and saves the results."""
    del argv
    folder = pathlib.Path(_FOLDER.value)
    if folder.exists() and any(folder.iterdir()):
        raise app.UsageError(f"--folder: {folder} is not empty; choose an empty or a new folder")
    layout = StoreConfig(tuple(range(_CLASSES.value)), _DIM.value, "int8", _FRAGMENT.value)
    rows = []
    try:
        for images in map(int, _IMAGES.value):
            writing = fill_store(folder / "store", layout, images)
            for nc in map(int, _NC.value):
                row = {"images": images, "nc": nc, **measure_query(folder, images, nc), "writing": writing}
                rows.append(row)
                print(row, flush=True)
    finally:
        shutil.rmtree(folder / "store", ignore_errors=True)
    result = {
        "what": "OnA over a class-vector store, seconds",
        "layout": {"classes": _CLASSES.value, "dim": _DIM.value, "dtype": "int8", "fragment": _FRAGMENT.value},
        "bytes_per_image": layout.image_bytes,
        "memory_bandwidth": measuring.memory_bandwidth(),
        "machine": measuring.describe_machine(),
        "rows": rows,
    }
    measuring.print_and_save(result, _OUTPUT.value)


def fill_store(folder: pathlib.Path, layout: StoreConfig, images: int) -> dict[str, float]:
    """Appends random vectors until the store has ``images`` images; the rate leaves out the random generator."""
    random = np.random.default_rng(0)
    batch_size = 64
    shape = batch_size, len(layout.classes), layout.dim
    seconds, num_written = 0.0, 0
    writer = ClassVectorWriter(folder, {"benchmark": "synthetic"}, layout)
    while writer.length < images:
        values = np.frombuffer(random.bytes(int(np.prod(shape))), np.int8).reshape(shape)
        scales = np.full(shape[:2], 1.0 / 127, np.float32)
        count = min(batch_size, images - writer.length)
        start = time.perf_counter()
        writer.append(values[:count], scales[:count])
        seconds += time.perf_counter() - start
        num_written += count
    start = time.perf_counter()
    writer.close()
    seconds += time.perf_counter() - start
    return {"images": num_written, "seconds": seconds, "bytes_per_second": num_written * layout.image_bytes / seconds}


def measure_query(folder: pathlib.Path, images: int, nc: int) -> dict[str, Any]:
    """Measures a query and ``cat``, with a cold and with a warm page cache."""
    random = np.random.default_rng(nc)
    classes = random.permutation(_CLASSES.value)[:nc].astype(np.int32)
    direction = random.normal(size=_DIM.value)
    query = jnp.asarray(direction / np.linalg.norm(direction), jnp.float32)
    layout = ClassVectorStore(folder / "store").layout
    shards = -(-images // layout.fragment)
    bytes_read = shards * layout.fragment * nc * layout.dim
    read_command = _make_read_command(folder, bytes_read)
    cold: dict[str, list[float]] = {"query": [], "cat": []}
    for _ in range(max(3, _ROUNDS.value // 2)):
        files = [path for path in folder.rglob("*") if path.is_file()]
        gc.collect()  # closes the previous store: pages that it maps would stay in the page cache
        measuring.drop_from_page_cache(files)
        search = OnlineSearch(ClassVectorStore(folder / "store"))
        start = time.perf_counter()
        search.scores(query, classes)
        cold["query"].append(time.perf_counter() - start)
        del search
        gc.collect()
        measuring.drop_from_page_cache(files)
        start = time.perf_counter()
        _run_quietly(read_command)
        cold["cat"].append(time.perf_counter() - start)
    search = OnlineSearch(ClassVectorStore(folder / "store"))
    warm = measuring.take_turns(
        {"query": lambda: search.scores(query, classes), "cat": lambda: _run_quietly(read_command)},
        _ROUNDS.value,
        warm_up=2,
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


def _make_read_command(folder: pathlib.Path, count: int) -> list[str]:
    """Returns a command that reads the first ``count`` bytes of the store's values."""
    shards = sorted(path for path in (folder / "store" / "values" / "c").rglob("*") if path.is_file())
    num_whole_shards, rest_bytes = divmod(count, shards[0].stat().st_size)
    commands = [shlex.join(["cat", *map(str, shards[:num_whole_shards])])] if num_whole_shards else []
    if rest_bytes:
        commands.append(shlex.join(["head", "-c", str(rest_bytes), str(shards[num_whole_shards])]))
    return ["sh", "-c", "; ".join(commands)]


def _run_quietly(command: Sequence[str]) -> None:
    """Runs a command and discards its output."""
    with pathlib.Path("/dev/null").open("wb") as null:
        subprocess.run(command, stdout=null, check=True)


if __name__ == "__main__":
    app.run(main)
