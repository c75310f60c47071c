"""Boxes round heat maps on the host and compiled: ``python -m benchmarks.regions`` prints JSON.

The maps are as large as VGG-16 makes them at 720 x 1024 and as many as half a re-ranking of 1000 images needs. Both
implementations take turns, so that what else the machine does falls on either; maps are on the device beforehand, and
fetching the boxes is part of the time.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import measuring
from cwcf_jax.descriptors import regions

MAPS = 500
SHAPE = 45, 64
THRESHOLDS = 0.01, 0.1, 0.2, 0.3, 0.4
ROUNDS = 7


def heat_maps(seed: int = 0) -> np.ndarray:
    """Maps [n, h, w] in [0, 1] with a few blurred peaks over smooth noise, as class activation maps have them."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])[None, :]
    smooth = np.exp(-150.0 * (rows**2 + columns**2))
    noise: np.ndarray = np.fft.ifft2(np.fft.fft2(random.normal(size=(MAPS, *SHAPE))) * smooth).real
    low, high = noise.min(axis=(1, 2), keepdims=True), noise.max(axis=(1, 2), keepdims=True)
    return np.asarray(((noise - low) / (high - low)) ** 3, np.float32)


def main() -> None:
    """Measures both rules and checks that both implementations agree."""
    maps, sizes = heat_maps(), np.tile(np.array(SHAPE, np.int32), (MAPS, 1))
    arguments = jax.device_put((maps, sizes, np.array(THRESHOLDS, np.float32)))
    run: dict[str, Callable[[], np.ndarray]] = {}
    for rule in regions.RULES:
        compiled = jax.jit(jax.vmap(functools.partial(regions.boxes, rule=rule), in_axes=(0, 0, None)))
        run[f"{rule}, host"] = functools.partial(regions.host_boxes, maps, sizes, THRESHOLDS, rule)
        run[f"{rule}, compiled"] = lambda compiled=compiled: np.asarray(compiled(*arguments))  # type: ignore[misc]
        if not np.array_equal(run[f"{rule}, host"](), run[f"{rule}, compiled"]()):
            raise AssertionError(f"the boxes of rule {rule} differ")
    seconds = measuring.take_turns(run, ROUNDS)
    rows = [{"what": name, "seconds": measuring.spread(taken)} for name, taken in seconds.items()]
    setting = {"maps": MAPS, "shape": SHAPE, "thresholds": THRESHOLDS, "rounds": ROUNDS}
    measuring.write({**setting, "machine": measuring.machine(), "rows": rows}, "")


if __name__ == "__main__":
    main()
