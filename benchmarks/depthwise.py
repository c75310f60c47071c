"""This benchmark compares depthwise layers by shifted maps (`networks.depthwise`) with XLA's grouped convolution.

python -m benchmarks.depthwise --size=480x640

Every depthwise layer of EfficientNet-Lite2 with a new shape runs for one image, with both implementations in turns. A
lower bound of the time is reading the layer's inputs and writing its results once, at the machine's rate of copies.
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
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of each implementation.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Measures every layer, and prints and saves the results."""
    del argv
    height, width = map(int, _SIZE.value.split("x"))
    copy_rate = measure_copies()
    layers: dict[efficientnet_lite.Block, list[str]] = {}
    for i, block in enumerate(efficientnet_lite.blocks(width=1.1, depth=1.2)):
        shape = efficientnet_lite.Block(0, block.inner, 0, block.kernel, block.stride, block.reached)
        layers.setdefault(shape, []).append(f"block{i}")
    rows = [
        measure(-(-height // block.reached), -(-width // block.reached), block, copy_rate) | {"layers": names}
        for block, names in layers.items()
    ]
    result = {"what": "seconds of a layer", "rows": rows, "bytes a second in copies": copy_rate}
    measuring.print_and_save(result | {"machine": measuring.describe_machine()}, _OUTPUT.value)


def measure(height: int, width: int, block: efficientnet_lite.Block, copy_rate: float) -> dict[str, Any]:
    """Measures both implementations on padded maps of one layer."""
    random = np.random.default_rng(0)
    maps = jnp.asarray(random.standard_normal((1, height, width, block.inner)), jnp.float32)
    padded = depthwise.pad(maps, block.kernel, block.stride)
    kernel = jnp.asarray(random.standard_normal((block.kernel, block.kernel, 1, block.inner)), jnp.float32)
    implementations = {
        name: jax.jit(functools.partial(function, stride=block.stride))
        for name, function in (("shifted", depthwise.shifted), ("grouped", depthwise.grouped))
    }
    calls = {
        name: lambda function=function: function(padded, kernel).block_until_ready()
        for name, function in implementations.items()
    }
    seconds = measuring.take_turns(calls, _ROUNDS.value)
    expected, shifted = implementations["grouped"](padded, kernel), implementations["shifted"](padded, kernel)
    speedup = measuring.ratio(seconds["grouped"], seconds["shifted"])
    min_seconds = 4 * (maps.size + shifted.size) / copy_rate
    shape = (height, width, block.inner, block.kernel, block.stride)
    print(
        shape,
        *(f"{name} {1e3 * min(durations):.2f} ms" for name, durations in seconds.items()),
        f"{speedup['median']:.1f} ({speedup['min']:.1f} to {speedup['max']:.1f}), at best {1e3 * min_seconds:.2f} ms",
        flush=True,
    )
    return {
        "shape": shape,
        "seconds": {name: measuring.spread(durations) for name, durations in seconds.items()},
        "times_as_fast": speedup,
        "seconds_at_least": min_seconds,
        "largest_difference": float(jnp.abs(shifted - expected).max() / jnp.abs(expected).max()),
    }


def measure_copies(megabytes: int = 64, rounds: int = 9) -> float:
    """Measures bytes a second, read and written, of an addition to an array; returns the best round."""
    values = jnp.zeros(megabytes * 1_000_000 // 4, jnp.float32)
    add = jax.jit(lambda values: values + 1.0)
    return 2 * values.nbytes / min(measuring.take_turns({"": lambda: add(values).block_until_ready()}, rounds)[""])


if __name__ == "__main__":
    app.run(main)
