"""This benchmark compares the library's 3x3 convolutions with XLA's convolution.

The layers of VGG-16-CAM use Winograd's algorithm (`networks.winograd`). The first layer of EfficientNet-Lite, which has
stride 2, is a matrix product (`networks.stem`).

python -m benchmarks.convolutions --size=720x960

Every layer with another shape runs for one image, with both algorithms in turns.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.networks import efficientnet_lite, stem, vgg, winograd

_SIZE = flags.DEFINE_string("size", "720x960", "Rows and columns of the image.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of each algorithm.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Measures every layer, and prints and saves the results."""
    del argv
    height, width = map(int, _SIZE.value.split("x"))
    shapes = {}
    inputs = 3
    for layer in (*vgg.CONVOLUTIONS, vgg.VGG16_CAM.spec.cam_layer):
        if layer is not None:
            shapes[(-(-height // layer.stride), -(-width // layer.stride), inputs, layer.channels)] = layer.name
            inputs = layer.channels
    rows = [measure(*shape, 1) | {"layer": name} for shape, name in shapes.items()]
    rows.append(measure(height, width, 3, efficientnet_lite.STEM, 2) | {"layer": "stem of EfficientNet-Lite"})
    measuring.print_and_save(
        {"what": "seconds of a layer", "rows": rows, "machine": measuring.describe_machine()}, _OUTPUT.value
    )


def measure(height: int, width: int, inputs: int, outputs: int, stride: int) -> dict[str, Any]:
    """Measures both algorithms on the shape of a layer."""
    random = np.random.default_rng(0)
    maps = jnp.asarray(np.maximum(random.standard_normal((1, height, width, inputs)), 0), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((3, 3, inputs, outputs)) / np.sqrt(9 * inputs), jnp.float32)

    @jax.jit
    def direct(maps: jax.Array, kernel: jax.Array) -> jax.Array:
        dimension_numbers, highest, padding = ("NHWC", "HWIO", "NHWC"), jax.lax.Precision.HIGHEST, [(1, 1), (1, 1)]
        return jax.lax.conv_general_dilated(
            maps, kernel, (stride, stride), padding, dimension_numbers=dimension_numbers, precision=highest
        )

    def product(maps: jax.Array, kernel: jax.Array) -> jax.Array:
        return stem.multiply(jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel, stride)

    fast = jax.jit(winograd.convolve if stride == 1 else product)
    calls = {
        name: lambda function=function: function(maps, kernel).block_until_ready()
        for name, function in (("direct", direct), ("fast", fast))
    }
    seconds = measuring.take_turns(calls, _ROUNDS.value)
    expected = direct(maps, kernel)
    speedup = measuring.ratio(seconds["direct"], seconds["fast"])
    print(
        (height, width, inputs, outputs, stride),
        f"{speedup['median']:.2f} ({speedup['min']:.2f} to {speedup['max']:.2f})",
    )
    return {
        "shape": [height, width, inputs, outputs],
        "stride": stride,
        "seconds": {name: measuring.spread(durations) for name, durations in seconds.items()},
        "times_as_fast": speedup,
        "largest_difference": float(jnp.abs(fast(maps, kernel) - expected).max() / jnp.abs(expected).max()),
    }


if __name__ == "__main__":
    app.run(main)
