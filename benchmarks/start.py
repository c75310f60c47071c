"""This benchmark measures the time from the start of Python to the first descriptor.

python -m benchmarks.start --network=vgg16_cam --size=720x960

The time has four parts: imports, weights, compilation (or reading the cache of compiled code) and a pass. Processes
start one after another with a common cache: the first process fills the cache, the others show how long a user waits.
Weights are random, from a file. Imports are quick only with Python's bytecode: see docs/performance.md.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax import networks

_NETWORK = flags.DEFINE_string("network", "vgg16_cam", "Name of a CAM network.")
_SIZE = flags.DEFINE_string("size", "720x960", "Rows and columns of the image.")
_NC = flags.DEFINE_integer("nc", 64, "N_C.")
_STARTS = flags.DEFINE_integer("starts", 5, "Number of processes after the first.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

FIRST_DESCRIPTOR_PROGRAM = """
import json, sys, time
start = time.perf_counter()
import jax, numpy as np
import cwcf_jax
from cwcf_jax import compilation_cache
imported = time.perf_counter()
network, weights, height, width, count = sys.argv[1:]
compilation_cache.enable()
model = jax.block_until_ready(cwcf_jax.load(network, weights))
loaded = time.perf_counter()
image = np.random.default_rng(0).integers(0, 256, (1, int(height), int(width), 3), np.uint8)
def encode():
    return np.asarray(cwcf_jax.encode(model, image, num_classes=int(count)))
encode()
first = time.perf_counter()
encode()
second = time.perf_counter()
print(json.dumps({
    "imports": imported - start, "weights": loaded - imported, "first descriptor": first - loaded,
    "all of this": first - start, "a pass": second - first,
}))
"""


def main(argv: Sequence[str]) -> None:
    """Runs all processes, and prints and saves the results."""
    del argv
    network = networks.get(_NETWORK.value)
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder, "weights.npz")
        values: dict[str, Any] = {
            f"{layer}/{name}": np.asarray(value)
            for layer, part in network.initialize(0).items()
            for name, value in part.items()
        }
        np.savez(weights, **values)
        run = functools.partial(
            _run_process, [network.spec.name, str(weights), *_SIZE.value.split("x"), str(_NC.value)], folder
        )
        first, *others = [run() for _ in range(1 + _STARTS.value)]
    result = {
        "what": "seconds of a process from its first line to its first descriptor",
        "network": network.spec.name,
        "size": _SIZE.value,
        "machine": measuring.describe_machine(),
        "first": first,
        "later": {name: measuring.spread(times[name] for times in others) for name in first},
    }
    measuring.print_and_save(result, _OUTPUT.value)


def _run_process(arguments: Sequence[str], folder: str) -> dict[str, float]:
    """Runs a process over the cache in ``folder``; returns the seconds of its parts and of the whole process."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", FIRST_DESCRIPTOR_PROGRAM, *arguments]
    start = time.perf_counter()
    output = subprocess.run(
        command, env=environment | {"XDG_CACHE_HOME": folder}, check=True, capture_output=True, text=True
    ).stdout
    return {**json.loads(output), "process": time.perf_counter() - start}


if __name__ == "__main__":
    app.run(main)
