"""3x3 convolutions: the library's algorithms against XLA's convolution.

Those of VGG-16-CAM are Winograd's (`networks.winograd`). The first layer of EfficientNet-Lite, of pixels and with
stride 2, is a matrix product (`networks.stem`).

python -m benchmarks.convolutions --size=720x960

Every layer with as many inputs and outputs as it takes, for one image, in turns.
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
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Passes of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Measures every layer and prints a line for each."""
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
    measuring.write({"what": "seconds of a layer", "rows": rows, "machine": measuring.machine()}, _OUTPUT.value)


def measure(height: int, width: int, inputs: int, outputs: int, stride: int) -> dict[str, Any]:
    """Both algorithms on one layer's shape."""
    random = np.random.default_rng(0)
    maps = jnp.asarray(np.maximum(random.standard_normal((1, height, width, inputs)), 0), jnp.float32)
    kernel = jnp.asarray(random.standard_normal((3, 3, inputs, outputs)) / np.sqrt(9 * inputs), jnp.float32)

    @jax.jit
    def direct(maps: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers, highest, padding = ("NHWC", "HWIO", "NHWC"), jax.lax.Precision.HIGHEST, [(1, 1), (1, 1)]
        return jax.lax.conv_general_dilated(
            maps, kernel, (stride, stride), padding, dimension_numbers=numbers, precision=highest
        )

    def product(maps: jax.Array, kernel: jax.Array) -> jax.Array:
        return stem.multiply(jnp.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel, stride)

    fast = jax.jit(winograd.convolve if stride == 1 else product)
    calls = {name: lambda f=f: f(maps, kernel).block_until_ready() for name, f in (("direct", direct), ("fast", fast))}
    seconds = measuring.take_turns(calls, _ROUNDS.value)
    expected = direct(maps, kernel)
    times = measuring.ratio(seconds["direct"], seconds["fast"])
    print((height, width, inputs, outputs, stride), f"{times['median']:.2f} ({times['min']:.2f} to {times['max']:.2f})")
    return {
        "shape": [height, width, inputs, outputs],
        "stride": stride,
        "seconds": {name: measuring.spread(taken) for name, taken in seconds.items()},
        "times_as_fast": times,
        "largest_difference": float(jnp.abs(fast(maps, kernel) - expected).max() / jnp.abs(expected).max()),
    }


if __name__ == "__main__":
    app.run(main)
