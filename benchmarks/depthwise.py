"""Depthwise layers of EfficientNet-Lite2: shifted maps (`networks.depthwise`) against XLA's grouped convolution.

python -m benchmarks.depthwise --size=480x640

Every layer of another shape, for one image, in turns, beside what the machine could do at best: reading the layer's
inputs and writing its results once at the rate of copies.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.networks import depthwise, efficientnet_lite

_SIZE = flags.DEFINE_string("size", "480x640", "Rows and columns of the image.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Passes of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Measures every layer and prints a line for each."""
    del argv
    height, width = map(int, _SIZE.value.split("x"))
    rate = copied()
    layers: dict[efficientnet_lite.Block, list[str]] = {}
    for i, block in enumerate(efficientnet_lite.blocks(width=1.1, depth=1.2)):
        shape = efficientnet_lite.Block(0, block.inner, 0, block.kernel, block.stride, block.reached)
        layers.setdefault(shape, []).append(f"block{i}")
    rows = [
        measure(-(-height // block.reached), -(-width // block.reached), block, rate) | {"layers": names}
        for block, names in layers.items()
    ]
    result = {"what": "seconds of a layer", "rows": rows, "bytes a second in copies": rate}
    measuring.write(result | {"machine": measuring.machine()}, _OUTPUT.value)


def measure(height: int, width: int, block: efficientnet_lite.Block, rate: float) -> dict[str, Any]:
    """Both ways on one layer's shape, its padding there already."""
    random = np.random.default_rng(0)
    maps = jnp.asarray(random.standard_normal((1, height, width, block.inner)), jnp.float32)
    padded = depthwise.pad(maps, block.kernel, block.stride)
    kernel = jnp.asarray(random.standard_normal((block.kernel, block.kernel, 1, block.inner)), jnp.float32)
    ways = {
        name: jax.jit(functools.partial(way, stride=block.stride))
        for name, way in (("shifted", depthwise.shifted), ("grouped", depthwise.grouped))
    }
    calls = {name: lambda way=way: way(padded, kernel).block_until_ready() for name, way in ways.items()}
    seconds = measuring.take_turns(calls, _ROUNDS.value)
    expected, found = ways["grouped"](padded, kernel), ways["shifted"](padded, kernel)
    times = measuring.ratio(seconds["grouped"], seconds["shifted"])
    least = 4 * (maps.size + found.size) / rate
    shape = (height, width, block.inner, block.kernel, block.stride)
    print(
        shape,
        *(f"{name} {1e3 * min(taken):.2f} ms" for name, taken in seconds.items()),
        f"{times['median']:.1f} ({times['min']:.1f} to {times['max']:.1f}), at best {1e3 * least:.2f} ms",
        flush=True,
    )
    return {
        "shape": shape,
        "seconds": {name: measuring.spread(taken) for name, taken in seconds.items()},
        "times_as_fast": times,
        "seconds_at_least": least,
        "largest_difference": float(jnp.abs(found - expected).max() / jnp.abs(expected).max()),
    }


def copied(megabytes: int = 64, rounds: int = 9) -> float:
    """Bytes a second, read and written, of adding to an array, in the best of the rounds."""
    values = jnp.zeros(megabytes * 1_000_000 // 4, jnp.float32)
    add = jax.jit(lambda values: values + 1.0)
    return 2 * values.nbytes / min(measuring.take_turns({"": lambda: add(values).block_until_ready()}, rounds)[""])


if __name__ == "__main__":
    app.run(main)
