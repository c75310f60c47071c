"""Images a second from pixels to descriptor, against PyTorch and ONNX Runtime, and what class activation maps cost.

python -m benchmarks.encode --networks=vgg16_cam,googlenet,resnet50 --sizes=720x960,480x640 --batches=1,4

For each network, size and batch, in turns in one run: the library's raw features and its whole encoding for several
N_C; the peers' forward pass alone, and with maps, pooling and aggregation as `benchmarks.peers` has them. Weights are
random, the same for all. Beside the times a roofline: the operations and bytes that XLA counts in the compiled
encoding, and the machine's own rates of matrix products and of copying, which say how fast it could be at best.

Peers are channels last; on a GPU also bfloat16, theirs through `torch.compile`. Pixels are on the device before the
clock starts, ours and theirs. JAX leaves PyTorch memory there with XLA_PYTHON_CLIENT_MEM_FRACTION=.5.
"""

import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags

import cwcf_jax
from benchmarks import measuring, peers
from cwcf_jax import encoder, networks
from cwcf_jax.encoder import Model

_NETWORKS = flags.DEFINE_list("networks", ["vgg16_cam"], f"Of {', '.join(peers.NETWORKS)}.")
_SIZES = flags.DEFINE_list("sizes", ["720x960"], "Rows and columns.")
_BATCHES = flags.DEFINE_list("batches", ["1", "4"], "Images in a pass.")
_NC = flags.DEFINE_list("nc", ["1", "8", "32", "64", "1000"], "Numbers of CAMs.")
_MINE = flags.DEFINE_integer("mine", 64, "Of --nc, the one that is compared with the peers.")
_WHOLE = flags.DEFINE_bool("whole", True, "Whether the peers are also timed with maps and pooling.")
_DTYPES = flags.DEFINE_list("dtypes", [], "Default: float32, and bfloat16 where there is an accelerator.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds, each with every kind in turn.", lower_bound=1)
_PASSES = flags.DEFINE_integer("passes", 0, "Passes before the results are waited for; 0: 1 on a CPU, elsewhere 20.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

Calls = dict[str, Callable[[], Any]]
FORWARD, RAW, OURS, SUFFIX = "forward pass", "raw", "encode, N_C {}", ", N_C {}"
PAUSE = 0.3
"""Seconds, for threads of the one before that still spin."""

WARM_UP = 3
"""Rounds until memory that was scattered while the peers were built is in one piece again."""


def main(argv: Sequence[str]) -> None:
    """Measures every combination, prints a table and keeps the JSON."""
    del argv
    dtypes = _DTYPES.value or (["float32"] if jax.default_backend() == "cpu" else ["float32", "bfloat16"])
    rates = {dtype: measuring.spread(matrix_products(jnp.dtype(dtype))) for dtype in dtypes}
    copied = measuring.spread(copies())
    result: dict[str, Any] = {
        "what": "images a second, from uint8 pixels (peers: preprocessed pixels) to descriptor or logits",
        "machine": measuring.machine() | peers.versions() | {"allocator": os.environ.get("GLIBC_TUNABLES", "as it is")},
        "operations a second in matrix products": rates,
        "bytes a second in copies": copied,
        "runs": [],
    }
    for name, dtype in itertools.product(_NETWORKS.value, dtypes):
        model = random_model(name, dtype)
        for size, batch in itertools.product(_SIZES.value, map(int, _BATCHES.value)):
            height, width = map(int, size.split("x"))
            run = measure(model, batch, height, width)
            run["roofline"] = roofline(model, run, rates[dtype]["median"], copied["median"])
            result["runs"].append(run)
            print(table(run), flush=True)
            measuring.keep(result, _OUTPUT.value)


def random_model(name: str, dtype: str) -> Model:
    """A network of random weights: speed does not depend on them."""
    network = networks.get(name)
    return Model(network.initialize(0), network, encoder.EncoderConfig(network.spec.feature_layer, dtype=dtype))


def measure(model: Model, batch: int, height: int, width: int) -> dict[str, Any]:
    """Times of one network at one shape."""
    images = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    sizes = np.tile(np.array([[height, width]], np.int32), (batch, 1))
    inputs = np.array(networks.preprocess(jnp.asarray(images), jnp.asarray(sizes), model.network.spec.preprocessing))
    own, mine = ours(model, images), OURS.format(_MINE.value)
    cams = in_turns(own)
    calls = {mine: own[mine], **theirs(model, inputs)}
    seconds = in_turns(calls)
    expected = on_host(calls[mine]())
    alike = [on_host(calls[name]()) for name in calls if name.endswith(SUFFIX.format(_MINE.value))]
    return {
        "network": model.network.spec.name,
        "dtype": model.config.dtype,
        "shape": [batch, height, width],
        "operations": peers.operations(peers.build(model), inputs.shape),
        "alone": {name: measuring.spread(batch / second for second in taken) for name, taken in cams.items()},
        "in_turns": {name: measuring.spread(batch / second for second in taken) for name, taken in seconds.items()},
        "times_as_fast_as": {
            name: measuring.ratio(taken, seconds[mine]) for name, taken in seconds.items() if name != mine
        },
        "times_of_the_forward_pass": {name: measuring.ratio(taken, cams[FORWARD]) for name, taken in cams.items()},
        "largest_difference_of_descriptors": max(float(np.abs(one - expected).max()) for one in alike),
    }


def in_turns(calls: Calls) -> dict[str, list[float]]:
    """Seconds of a pass of each, round by round, until its results are on the host."""
    passes = _passes()
    runs = {name: functools.partial(_in_a_row, call, passes) for name, call in calls.items()}
    taken = measuring.take_turns(runs, _ROUNDS.value, WARM_UP, PAUSE)
    return {name: [second / passes for second in seconds] for name, seconds in taken.items()}


def _passes() -> int:
    return _PASSES.value or (1 if jax.default_backend() == "cpu" else 20)


def _in_a_row(call: Callable[[], Any], passes: int, wait: Callable[[Any], Any] | None = None) -> None:
    for _ in range(passes):
        found = call()
    (wait or on_host)(found)


def on_host(found: Any) -> Any:
    """Results of either library as numpy arrays, once they are there."""
    if isinstance(found, torch.Tensor):
        return found.float().cpu().numpy()
    return jax.tree.map(np.asarray, found)


def roofline(model: Model, run: Mapping[str, Any], products: float, copied: float) -> dict[str, float]:
    """What the compiled encoding does, how long it takes at these rates at least, and the share of that reached.

    Beside it the rate of the network's pass, with its convolutions counted as direct ones, as a share of the rate of
    matrix products.
    """
    shape = jax.ShapeDtypeStruct((*run["shape"], 3), jnp.uint8)  # type: ignore[no-untyped-call]
    compiled = jax.jit(functools.partial(cwcf_jax.encode, num_classes=_MINE.value)).lower(model, shape).compile()
    counted = compiled.cost_analysis()
    assert counted is not None
    least = max(counted["flops"] / products, counted["bytes accessed"] / copied)
    taken = run["shape"][0] / run["alone"][OURS.format(_MINE.value)]["median"]
    return {
        "operations": counted["flops"],
        "bytes": counted["bytes accessed"],
        "seconds_at_least": least,
        "share": least / taken,
        "forward_pass_of_matrix_products": run["operations"]
        / run["shape"][0]
        * run["alone"][FORWARD]["median"]
        / products,
    }


def ours(model: Model, images: np.ndarray) -> Calls:
    """The library's passes as its users call them, an array in, an array out; and the network alone up to its logits.

    Raw features end at the layer that is pooled: what comes after it is no part of that pass. The forward pass gets its
    images' sizes when it runs, as the others do: were they known to XLA, it would leave out what keeps padding zero.
    """
    forward = jax.jit(lambda model, images, sizes: encoder.pool(model, images, sizes=sizes, num_classes=1)[3:])
    images = jax.device_put(images)
    sizes = np.tile(np.array([images.shape[1:3]], np.int32), (len(images), 1))
    raw = jax.jit(encoder.raw_features)
    whole = {
        OURS.format(count): functools.partial(cwcf_jax.encode, model, images, num_classes=int(count))
        for count in _NC.value
    }
    return {FORWARD: lambda: forward(model, images, sizes), RAW: lambda: raw(model, images), **whole}


def theirs(model: Model, inputs: np.ndarray) -> Calls:
    """The peers: forward pass alone and whole."""
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, model.config.dtype)
    calls: Calls = {}
    kinds = [("", None), (SUFFIX.format(_MINE.value), _MINE.value)]
    for end, count in kinds if _WHOLE.value else kinds[:1]:
        if dtype is torch.float32:
            calls["ONNX Runtime" + end] = peers.onnx_call(peers.build(model, count), inputs)
        calls["PyTorch" + end] = peers.torch_call(peers.build(model, count), inputs, device, dtype)
    return calls


def copies(megabytes: int = 512, rounds: int = 5) -> list[float]:
    """Bytes a second, read and written, of adding to a large array."""
    values = jnp.zeros(megabytes * 1_000_000 // 4, jnp.float32)
    return [2 * values.nbytes / second for second in _seconds(lambda a: a + 1.0, values, rounds=rounds)]


def matrix_products(dtype: Any, rounds: int = 5) -> list[float]:
    """Operations a second of products of square matrices of normal numbers."""
    side = 4096 if jax.default_backend() == "cpu" else 8192
    left, right = (jax.random.normal(jax.random.key(i), (side, side), dtype) for i in range(2))
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return [2 * side**3 / second for second in _seconds(product, left, right, rounds=rounds)]


def _seconds(function: Callable[..., jax.Array], *arguments: jax.Array, rounds: int) -> list[float]:
    passes, call = _passes(), functools.partial(jax.jit(function), *arguments)
    run = functools.partial(_in_a_row, call, passes, jax.block_until_ready)
    return [second / passes for second in measuring.take_turns({"": run}, rounds)[""]]


def table(run: Mapping[str, Any]) -> str:
    """One run for people."""
    batch, height, width = run["shape"]
    operations = run["operations"] / batch / 1e9
    lines = [f"{run['network']}, {run['dtype']}, {height} x {width}, batch {batch}, {operations:.0f} GFLOP an image"]
    for name, speed in [*run["alone"].items(), *run["in_turns"].items()]:
        lines.append(f"  {name:28} {_spread(speed)} images/s, {operations * speed['median']:.0f} GFLOP/s")
    lines += [f"  {_spread(times)} times as fast as {name}" for name, times in run["times_as_fast_as"].items()]
    lines += [
        f"  {name}: {_spread(times)} times the forward pass" for name, times in run["times_of_the_forward_pass"].items()
    ]
    lines.append(f"  descriptors differ by at most {run['largest_difference_of_descriptors']:.1e}")
    found = run["roofline"]
    lines.append(
        f"  compiled: {found['operations'] / batch / 1e9:.0f} GFLOP and {found['bytes'] / batch / 1e9:.1f} GB "
        f"an image, {found['share']:.2f} of what the machine can do at best; "
        f"the forward pass runs at {found['forward_pass_of_matrix_products']:.2f} of the rate of matrix products"
    )
    return "\n".join(lines)


def _spread(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3f} ({values['min']:.3f} to {values['max']:.3f})"


if __name__ == "__main__":
    app.run(main)
