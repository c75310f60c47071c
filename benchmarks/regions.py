"""This benchmark measures how fast the host and a compiled function find boxes in heat maps.

``python -m benchmarks.regions`` prints JSON. The maps have the size of VGG-16's maps at 720 x 1024. A re-ranking of
1000 images needs twice as many maps. The implementations take turns, so that other load on the machine falls on both.
The maps are on the device before the clock starts; the time includes the transfer of the boxes to the host.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import measuring
from cwcf_jax.descriptors import regions

NUM_MAPS = 500
MAP_SHAPE = 45, 64
THRESHOLDS = 0.01, 0.1, 0.2, 0.3, 0.4
ROUNDS = 7


def heat_maps(seed: int = 0) -> np.ndarray:
    """Returns smooth random maps with a few peaks, shape [n, h, w], 0 to 1, similar to class activation maps."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(MAP_SHAPE[0])[:, None], np.fft.fftfreq(MAP_SHAPE[1])[None, :]
    smooth = np.exp(-150.0 * (rows**2 + columns**2))
    noise: np.ndarray = np.fft.ifft2(np.fft.fft2(random.normal(size=(NUM_MAPS, *MAP_SHAPE))) * smooth).real
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return np.asarray(((noise - low) / (high - low)) ** 3, np.float32)


def main() -> None:
    """Measures all rules, and checks that both implementations return the same boxes."""
    maps, sizes = heat_maps(), np.tile(np.array(MAP_SHAPE, np.int32), (NUM_MAPS, 1))
    arguments = jax.device_put((maps, sizes, np.array(THRESHOLDS, np.float32)))
    run: dict[str, Callable[[], np.ndarray]] = {}
    for rule in regions.RULES:
        compiled = jax.jit(jax.vmap(functools.partial(regions.boxes, rule=rule), in_axes=(0, 0, None)))
        run[f"{rule}, host"] = functools.partial(regions.host_boxes, maps, sizes, THRESHOLDS, rule)
        run[f"{rule}, compiled"] = lambda compiled=compiled: np.asarray(compiled(*arguments))  # type: ignore[misc]
        if not np.array_equal(run[f"{rule}, host"](), run[f"{rule}, compiled"]()):
            raise AssertionError(f"rule {rule}: the boxes of host and compiled function differ")
    seconds = measuring.take_turns(run, ROUNDS)
    rows = [{"what": name, "seconds": measuring.spread(durations)} for name, durations in seconds.items()]
    setting = {"maps": NUM_MAPS, "shape": MAP_SHAPE, "thresholds": THRESHOLDS, "rounds": ROUNDS}
    measuring.print_and_save({**setting, "machine": measuring.describe_machine(), "rows": rows}, "")


if __name__ == "__main__":
    main()
