"""This benchmark compares making an index on a Ray cluster with making it in this process.

python -m benchmarks.cluster --pictures=../shared/data --weights=../shared/weights/squeezenet_v1.1.npz --kills=10

Ray's nodes are processes of this machine. The first part measures the cost of Ray: one worker and the plain loop make
indexes in a folder in turns. The second part measures the cost of lost nodes: one of three nodes at a time is killed at
random moments, and the index is in --store, for instance s3://bucket/index of `moto_server` with AWS_ENDPOINT_URL. The
benchmark fails unless that index equals the plain loop's, picture for picture.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
from absl import app, flags
from ray.cluster_utils import Cluster

from benchmarks import measuring
from cwcf_jax.index import Index, QueryConfig, Searcher, make_index_config

_PICTURES = flags.DEFINE_string("pictures", None, "Folder with photographs, also in folders below.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "[NETWORK:]FILE", required=True)
_RESIZE = flags.DEFINE_string("resize", "max640", "Resizing of every picture, as in a protocol.")
_COUNT = flags.DEFINE_integer("count", 1000, "Number of pictures on the cluster that loses nodes.", lower_bound=1)
_PICTURE_COUNTS = flags.DEFINE_list("some", ["100", "300"], "Numbers of pictures that one worker indexes.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Number of rounds with one worker.", lower_bound=1)
_KILLS = flags.DEFINE_integer("kills", 10, "Number of nodes that are killed.", lower_bound=0)
_PAUSE = flags.DEFINE_float("pause", 10.0, "The longest time between two kills, in seconds.", lower_bound=0.0)
_STORE = flags.DEFINE_string("store", "", "Address of the index with lost nodes; empty for a folder.")
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

UPDATE_PROGRAM = """
import sys
from cwcf_jax import compilation_cache
from cwcf_jax.index import Index
compilation_cache.enable()
Index(sys.argv[1]).update(ray=sys.argv[2] or None)
"""


def main(argv: Sequence[str]) -> None:
    """Runs both parts, and prints and saves the results."""
    del argv
    files = sorted(path for path in pathlib.Path(_PICTURES.value).rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    result: dict[str, Any] = {
        "what": "an index made on Ray",
        "machine": measuring.describe_machine(),
        "resize": _RESIZE.value,
    }
    if _ROUNDS.value:
        result["one worker"] = [measure_one_worker(files, int(count)) for count in _PICTURE_COUNTS.value]
    if _KILLS.value:
        result["nodes that are lost"] = measure_lost_nodes(files)
    measuring.print_and_save(result, _OUTPUT.value)


def measure_one_worker(files: Sequence[pathlib.Path], count: int) -> dict[str, Any]:
    """Measures the seconds of a process that makes an index by itself or with one worker.

    The first round is not counted: it fills the cache of compiled code.
    """
    seconds: dict[str, list[float]] = {"loop": [], "ray": []}
    step = max(1, len(files) // count)
    with _make_picture_folder(files[::step][:count]) as root, _run_cluster(1, cpus=os.cpu_count() or 1) as (cluster, _):
        for round_number in range(-1, _ROUNDS.value):
            for name, address in (("loop", ""), ("ray", cluster.address)):
                with tempfile.TemporaryDirectory() as folder:
                    _create(root, folder)
                    start = time.perf_counter()
                    subprocess.run([sys.executable, "-c", UPDATE_PROGRAM, f"{folder}/index", address], check=True)
                    if round_number >= 0:
                        seconds[name].append(time.perf_counter() - start)
    return {
        "pictures": count,
        "seconds": {name: measuring.spread(durations) for name, durations in seconds.items()},
        "ray, of the loop": measuring.ratio(seconds["ray"], seconds["loop"]),
    }


def measure_lost_nodes(files: Sequence[pathlib.Path]) -> dict[str, Any]:
    """Makes an index on three nodes, one of which at a time is killed and replaced, and compares it with the loop's.

    Raises:
        AssertionError: The indexes differ, or fewer nodes were killed than requested.
    """
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_make_picture_folder(files, _COUNT.value))
        cluster, workers = stack.enter_context(_run_cluster(3, cpus=1))
        expected_index = _create(root, stack.enter_context(tempfile.TemporaryDirectory()))
        start = time.perf_counter()
        expected = expected_index.update()
        loop_seconds = time.perf_counter() - start
        index = _create(root, stack.enter_context(tempfile.TemporaryDirectory()), store=_STORE.value)
        killer = _Killer(cluster, workers)
        stack.callback(killer.stop)
        start = time.perf_counter()
        changes = index.update(killer, ray=cluster.address)
        cluster_seconds = time.perf_counter() - start
        if changes != expected or len(killer.killed) < _KILLS.value:
            raise AssertionError(f"{changes} instead of {expected}; pictures finished at each kill: {killer.killed}")
        return {
            "pictures": changes.added,
            "pictures finished when a node was killed": killer.killed,
            "seconds": {"loop": loop_seconds, "three nodes": cluster_seconds},
            **compare(index, expected_index),
        }


def compare(index: Index, expected: Index) -> dict[str, float]:
    """Returns the largest differences of descriptors and scores.

    Raises:
        AssertionError: The indexes hold different pictures, or pictures share class vectors.
    """
    _, entries, descriptors = index.snapshot()
    _, expected_entries, expected_descriptors = expected.snapshot()
    if [(entry.path, entry.content) for entry in entries] != [
        (entry.path, entry.content) for entry in expected_entries
    ]:
        raise AssertionError("the indexes hold different pictures")
    if len({entry.row for entry in entries}) != len({entry.content for entry in entries}):
        raise AssertionError("pictures share class vectors")
    searchers = Searcher(index), Searcher(expected)
    scores = []
    for path in [entry.path for entry in entries[:: max(1, len(entries) // 20)]]:
        for aggregation in "ofa", "ona":
            hits, expected_hits = (
                searcher.search(searcher.describe(searcher.prepare_indexed(path)), QueryConfig(aggregation), count=50)
                for searcher in searchers
            )
            scores.append(max(abs(a.score - b.score) for a, b in zip(hits, expected_hits, strict=True)))
    return {
        "descriptors differ by": float(np.abs(descriptors - expected_descriptors).max()),
        "scores differ by": max(scores),
    }


class _Killer:
    """A `_Killer` kills and replaces nodes, one at a time, at random moments, until enough nodes have been killed.

    ``killed`` holds the number of pictures that were finished at each kill.
    """

    def __init__(self, cluster: Cluster, workers: list[Any]) -> None:
        self._cluster, self._workers, self._finished, self._stopped = cluster, workers, 0, threading.Event()
        self.killed: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Notes the number of encoded pictures; called as the progress function of `Index.update`."""
        del total
        self._finished = done if what == "encoding" else self._finished

    def stop(self) -> None:
        """Stops killing and waits for the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        """Kills and replaces nodes until enough have been killed or `stop` is called."""
        random = np.random.default_rng(0)
        while len(self.killed) < _KILLS.value and not self._stopped.wait(random.uniform(0, _PAUSE.value)):
            self.killed.append(self._finished)
            self._cluster.remove_node(self._workers.pop(0), allow_graceful=False)
            self._workers.append(self._cluster.add_node(**_node_arguments(cpus=1)))


def _node_arguments(cpus: int) -> dict[str, Any]:
    """Returns the arguments of a Ray node."""
    return {"num_cpus": cpus, "object_store_memory": 200 * 2**20}


@contextlib.contextmanager
def _run_cluster(count: int, cpus: int) -> Iterator[tuple[Cluster, list[Any]]]:
    """Runs a Ray cluster of ``count`` nodes on this machine; yields the cluster and its nodes without the head node."""
    cluster = Cluster(initialize_head=True, head_node_args=_node_arguments(cpus))
    try:
        yield cluster, [cluster.add_node(**_node_arguments(cpus)) for _ in range(count - 1)]
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _create(root: pathlib.Path, folder: str, **choices: str) -> Index:
    """Creates an index of the pictures below ``root``, in a subfolder of ``folder``."""
    network, _, weights = _WEIGHTS.value.rpartition(":")
    config = make_index_config(weights, network, resize=_RESIZE.value, **choices)
    return Index.create(root, config, folder=pathlib.Path(folder) / "index")


@contextlib.contextmanager
def _make_picture_folder(files: Sequence[pathlib.Path], count: int = 0) -> Iterator[pathlib.Path]:
    """Yields a folder with links to the photographs; if ``count`` is larger, upper halves of photographs are added."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files[: count or None]):
            (pathlib.Path(folder) / f"{number:05d}{file.suffix}").symlink_to(file.resolve())
        for number in range(len(files), count):
            with Image.open(files[number % len(files)]) as image:
                upper_half = image.convert("RGB").crop((0, 0, image.width, image.height // 2))
                upper_half.save(pathlib.Path(folder) / f"{number:05d}.jpg")
        yield pathlib.Path(folder)


if __name__ == "__main__":
    app.run(main)
