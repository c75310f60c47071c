"""An index made on a Ray cluster against one made by this process: what Ray costs, and what lost nodes cost.

python -m benchmarks.cluster --pictures=../shared/data --weights=../shared/weights/squeezenet_v1.1.npz --kills=10

Ray's nodes are processes of this machine: first one worker and an index in a folder, in turns with the plain loop;
then three nodes, of which one is killed at random moments, and an index in --store, for instance s3://bucket/index of
`moto_server` with AWS_ENDPOINT_URL. That index must be the plain loop's, picture for picture; the run fails if not.
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

_PICTURES = flags.DEFINE_string("pictures", None, "A folder with photographs below.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "[NETWORK:]FILE", required=True)
_RESIZE = flags.DEFINE_string("resize", "max640", "Of every picture.")
_COUNT = flags.DEFINE_integer("count", 1000, "Pictures on the cluster that loses nodes.", lower_bound=1)
_SOME = flags.DEFINE_list("some", ["100", "300"], "Pictures that one worker indexes, against the loop.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Of each.", lower_bound=1)
_KILLS = flags.DEFINE_integer("kills", 10, "Nodes that are killed.", lower_bound=0)
_PAUSE = flags.DEFINE_float("pause", 10.0, "Seconds before the next is killed, at most.", lower_bound=0.0)
_STORE = flags.DEFINE_string("store", "", "An address for the index of the nodes that are lost; a folder without it.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


PROCESS = """
import sys
from cwcf_jax import compilation_cache
from cwcf_jax.index import Index
compilation_cache.enable()
Index(sys.argv[1]).update(ray=sys.argv[2] or None)
"""


def main(argv: Sequence[str]) -> None:
    """Measures, compares and keeps the JSON."""
    del argv
    files = sorted(path for path in pathlib.Path(_PICTURES.value).rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    result: dict[str, Any] = {"what": "an index made on Ray", "machine": measuring.machine(), "resize": _RESIZE.value}
    if _ROUNDS.value:
        result["one worker"] = [one_worker(files, int(count)) for count in _SOME.value]
    if _KILLS.value:
        result["nodes that are lost"] = lost_nodes(files)
    measuring.write(result, _OUTPUT.value)


def one_worker(files: Sequence[pathlib.Path], count: int) -> dict[str, Any]:
    """Seconds of a process that makes an index by itself or by one worker, from start to end.

    The first run, which is not counted, fills the cache of compiled code.
    """
    seconds: dict[str, list[float]] = {"loop": [], "ray": []}
    step = max(1, len(files) // count)
    with _folder(files[::step][:count]) as root, _nodes(1, cpus=os.cpu_count() or 1) as (cluster, _):
        for counted in range(-1, _ROUNDS.value):
            for name, address in (("loop", ""), ("ray", cluster.address)):
                with tempfile.TemporaryDirectory() as place:
                    _create(root, place)
                    start = time.perf_counter()
                    subprocess.run([sys.executable, "-c", PROCESS, f"{place}/index", address], check=True)
                    if counted >= 0:
                        seconds[name].append(time.perf_counter() - start)
    return {
        "pictures": count,
        "seconds": {name: measuring.spread(taken) for name, taken in seconds.items()},
        "ray, of the loop": measuring.ratio(seconds["ray"], seconds["loop"]),
    }


def lost_nodes(files: Sequence[pathlib.Path]) -> dict[str, Any]:
    """An index in a bucket, by three nodes of which one at a time is killed and replaced; against the loop's."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(_folder(files, _COUNT.value))
        cluster, workers = stack.enter_context(_nodes(3, cpus=1))
        alone = _create(root, stack.enter_context(tempfile.TemporaryDirectory()))
        start = time.perf_counter()
        expected = alone.update()
        loop = time.perf_counter() - start
        index = _create(root, stack.enter_context(tempfile.TemporaryDirectory()), store=_STORE.value)
        killer = _Killer(cluster, workers)
        stack.callback(killer.stop)
        start = time.perf_counter()
        found = index.update(killer, ray=cluster.address)
        taken = time.perf_counter() - start
        if found != expected or len(killer.killed) < _KILLS.value:
            raise AssertionError(f"{found} instead of {expected}, nodes killed at {killer.killed}")
        return {
            "pictures": found.added,
            "pictures finished when a node was killed": killer.killed,
            "seconds": {"loop": loop, "three nodes": taken},
            **compare(index, alone),
        }


def compare(index: Index, expected: Index) -> dict[str, float]:
    """Largest differences; fails if the pictures, or what is found among them, are not the same."""
    _, entries, descriptors = index.snapshot()
    _, others, wanted = expected.snapshot()
    if [(one.path, one.content) for one in entries] != [(one.path, one.content) for one in others]:
        raise AssertionError("not the same pictures")
    if len({one.row for one in entries}) != len({one.content for one in entries}):
        raise AssertionError("pictures share class vectors")
    searchers = Searcher(index), Searcher(expected)
    scores = []
    for path in [one.path for one in entries[:: max(1, len(entries) // 20)]]:
        for aggregation in "ofa", "ona":
            found, again = (
                searcher.search(searcher.describe(searcher.prepare_indexed(path)), QueryConfig(aggregation), count=50)
                for searcher in searchers
            )
            scores.append(max(abs(a.score - b.score) for a, b in zip(found, again, strict=True)))
    return {"descriptors differ by": float(np.abs(descriptors - wanted).max()), "scores differ by": max(scores)}


class _Killer:
    """Kills and replaces a node at random moments, one at a time, and notes how many pictures were finished then."""

    def __init__(self, cluster: Cluster, workers: list[Any]) -> None:
        self._cluster, self._workers, self._done, self._ended = cluster, workers, 0, threading.Event()
        self.killed: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __call__(self, what: str, done: int, total: int) -> None:
        del total
        self._done = done if what == "encoding" else self._done

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        random = np.random.default_rng(0)
        while len(self.killed) < _KILLS.value and not self._ended.wait(random.uniform(0, _PAUSE.value)):
            self.killed.append(self._done)
            self._cluster.remove_node(self._workers.pop(0), allow_graceful=False)
            self._workers.append(self._cluster.add_node(**_options(cpus=1)))


def _options(cpus: int) -> dict[str, Any]:
    return {"num_cpus": cpus, "object_store_memory": 200 * 2**20}


@contextlib.contextmanager
def _nodes(count: int, cpus: int) -> Iterator[tuple[Cluster, list[Any]]]:
    """A Ray cluster on this machine, and its nodes but the head, while the context lasts; ``cpus`` processors each."""
    cluster = Cluster(initialize_head=True, head_node_args=_options(cpus))
    try:
        yield cluster, [cluster.add_node(**_options(cpus)) for _ in range(count - 1)]
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _create(root: pathlib.Path, place: str, **choices: str) -> Index:
    network, _, weights = _WEIGHTS.value.rpartition(":")
    config = make_index_config(weights, network, resize=_RESIZE.value, **choices)
    return Index.create(root, config, folder=pathlib.Path(place) / "index")


@contextlib.contextmanager
def _folder(files: Sequence[pathlib.Path], count: int = 0) -> Iterator[pathlib.Path]:
    """Links to photographs; beyond their number, upper halves of them, so that there are ``count``."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files[: count or None]):
            (pathlib.Path(folder) / f"{number:05d}{file.suffix}").symlink_to(file.resolve())
        for number in range(len(files), count):
            with Image.open(files[number % len(files)]) as image:
                half = image.convert("RGB").crop((0, 0, image.width, image.height // 2))
                half.save(pathlib.Path(folder) / f"{number:05d}.jpg")
        yield pathlib.Path(folder)


if __name__ == "__main__":
    app.run(main)
