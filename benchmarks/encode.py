"""This benchmark measures images encoded a second, by the library and by peers in PyTorch and ONNX Runtime.

python -m benchmarks.encode --networks=vgg16_cam,googlenet,resnet50 --sizes=720x960,480x640 --batches=1,4

For each network, size and batch these calls take turns: the library's raw features and whole encoding for several N_C;
the peers' forward pass alone, and their whole encoding as `benchmarks.peers` implements it. The weights are random and
the same for all. A roofline gives the least possible time: the operations and bytes that XLA counts in the compiled
encoding, divided by the machine's own rates of matrix products and of copies.

Peers keep channels last; on a GPU bfloat16 is measured too, and the peers use `torch.compile`. All pixels are on the
device before the clock starts. XLA_PYTHON_CLIENT_MEM_FRACTION=.5 makes JAX leave half of the GPU's memory to PyTorch.
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

_NETWORKS = flags.DEFINE_list("networks", ["vgg16_cam"], f"Some of {', '.join(peers.NETWORKS)}.")
_SIZES = flags.DEFINE_list("sizes", ["720x960"], "Rows and columns of the images.")
_BATCHES = flags.DEFINE_list("batches", ["1", "4"], "Numbers of images in a pass.")
_NC = flags.DEFINE_list("nc", ["1", "8", "32", "64", "1000"], "Values of N_C.")
_COMPARED_NC = flags.DEFINE_integer("mine", 64, "The N_C that is compared with the peers, one of --nc.")
_WHOLE = flags.DEFINE_bool("whole", True, "Whether to time the peers' whole encoding too.")
_DTYPES = flags.DEFINE_list("dtypes", [], "Number formats; by default float32, and on an accelerator bfloat16 too.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 7, "Number of rounds; every round times each implementation once.", lower_bound=1
)
_PASSES = flags.DEFINE_integer(
    "passes", 0, "Passes before the benchmark waits for results; 0 chooses 1 on a CPU and 20 elsewhere."
)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

Calls = dict[str, Callable[[], Any]]
FORWARD, RAW, OURS, SUFFIX = "forward pass", "raw", "encode, N_C {}", ", N_C {}"
PAUSE_S = 0.3
"""Pause before each measurement, while threads of the previous implementation may still spin."""

WARM_UP_ROUNDS = 3
"""Rounds until memory that became fragmented while the peers were built is contiguous again."""


def main(argv: Sequence[str]) -> None:
    """Measures every combination, prints its table and saves the results so far."""
    del argv
    if str(_COMPARED_NC.value) not in _NC.value:
        raise app.UsageError(f"--mine={_COMPARED_NC.value} is not among --nc={','.join(_NC.value)}; add it to --nc")
    dtypes = _DTYPES.value or (["float32"] if jax.default_backend() == "cpu" else ["float32", "bfloat16"])
    product_rates = {dtype: measuring.spread(measure_matrix_products(jnp.dtype(dtype))) for dtype in dtypes}
    copy_rate = measuring.spread(measure_copies())
    result: dict[str, Any] = {
        "what": "images a second, from uint8 pixels (peers: preprocessed pixels) to descriptor or logits",
        "machine": measuring.describe_machine()
        | peers.versions()
        | {"allocator": os.environ.get("GLIBC_TUNABLES", "as it is")},
        "operations a second in matrix products": product_rates,
        "bytes a second in copies": copy_rate,
        "runs": [],
    }
    for name, dtype in itertools.product(_NETWORKS.value, dtypes):
        model = random_model(name, dtype)
        for size, batch in itertools.product(_SIZES.value, map(int, _BATCHES.value)):
            height, width = map(int, size.split("x"))
            run = measure(model, batch, height, width)
            run["roofline"] = roofline(model, run, product_rates[dtype]["median"], copy_rate["median"])
            result["runs"].append(run)
            print(format_run(run), flush=True)
            measuring.save(result, _OUTPUT.value)


def random_model(name: str, dtype: str) -> Model:
    """Returns a model with random weights, which do not influence speed."""
    network = networks.get(name)
    return Model(network.initialize(0), network, encoder.EncoderConfig(network.spec.feature_layer, dtype=dtype))


def measure(model: Model, batch: int, height: int, width: int) -> dict[str, Any]:
    """Measures a model and its peers at a shape of images."""
    images = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    sizes = np.tile(np.array([[height, width]], np.int32), (batch, 1))
    inputs = np.array(networks.preprocess(jnp.asarray(images), jnp.asarray(sizes), model.network.spec.preprocessing))
    own_calls, compared = make_own_calls(model, images), OURS.format(_COMPARED_NC.value)
    own_seconds = time_in_turns(own_calls)
    calls = {compared: own_calls[compared], **make_peer_calls(model, inputs)}
    seconds = time_in_turns(calls)
    expected = on_host(calls[compared]())
    peer_descriptors = [on_host(calls[name]()) for name in calls if name.endswith(SUFFIX.format(_COMPARED_NC.value))]
    return {
        "network": model.network.spec.name,
        "dtype": model.config.dtype,
        "shape": [batch, height, width],
        "operations": peers.operations(peers.build(model), inputs.shape),
        "alone": {
            name: measuring.spread(batch / duration for duration in durations)
            for name, durations in own_seconds.items()
        },
        "in_turns": {
            name: measuring.spread(batch / duration for duration in durations) for name, durations in seconds.items()
        },
        "times_as_fast_as": {
            name: measuring.ratio(durations, seconds[compared])
            for name, durations in seconds.items()
            if name != compared
        },
        "times_of_the_forward_pass": {
            name: measuring.ratio(durations, own_seconds[FORWARD]) for name, durations in own_seconds.items()
        },
        "largest_difference_of_descriptors": max(
            float(np.abs(descriptors - expected).max()) for descriptors in peer_descriptors
        ),
    }


def time_in_turns(calls: Calls) -> dict[str, list[float]]:
    """Measures the seconds of a pass of each call in turns, round by round, until the results are on the host."""
    passes = _num_passes()
    runs = {name: functools.partial(_call_repeatedly, call, passes) for name, call in calls.items()}
    durations = measuring.take_turns(runs, _ROUNDS.value, WARM_UP_ROUNDS, PAUSE_S)
    return {name: [duration / passes for duration in seconds] for name, seconds in durations.items()}


def _num_passes() -> int:
    """Returns the number of passes of a measurement."""
    return _PASSES.value or (1 if jax.default_backend() == "cpu" else 20)


def _call_repeatedly(call: Callable[[], Any], passes: int, wait: Callable[[Any], Any] | None = None) -> None:
    """Calls a function several times and waits for the last results."""
    for _ in range(passes):
        results = call()
    (wait or on_host)(results)


def on_host(results: Any) -> Any:
    """Returns results of JAX or PyTorch as numpy arrays; waits for their computation."""
    if isinstance(results, torch.Tensor):
        return results.float().cpu().numpy()
    return jax.tree.map(np.asarray, results)


def roofline(model: Model, run: Mapping[str, Any], product_rate: float, copy_rate: float) -> dict[str, float]:
    """Returns the roofline of the compiled encoding.

    The entries are the operations and bytes of the encoding, its least seconds at the given rates, these seconds as a
    share of the measured seconds, and the rate of the forward pass as a share of the rate of matrix products. The rate
    of the forward pass counts the operations of direct convolutions.
    """
    shape = jax.ShapeDtypeStruct((*run["shape"], 3), jnp.uint8)  # type: ignore[no-untyped-call]
    compiled = jax.jit(functools.partial(cwcf_jax.encode, num_classes=_COMPARED_NC.value)).lower(model, shape).compile()
    cost = compiled.cost_analysis()
    assert cost is not None
    min_seconds = max(cost["flops"] / product_rate, cost["bytes accessed"] / copy_rate)
    seconds = run["shape"][0] / run["alone"][OURS.format(_COMPARED_NC.value)]["median"]
    return {
        "operations": cost["flops"],
        "bytes": cost["bytes accessed"],
        "seconds_at_least": min_seconds,
        "share": min_seconds / seconds,
        "forward_pass_of_matrix_products": run["operations"]
        / run["shape"][0]
        * run["alone"][FORWARD]["median"]
        / product_rate,
    }


def make_own_calls(model: Model, images: np.ndarray) -> Calls:
    """Returns the library's calls: the network up to its logits, raw features, and the whole encoding for each N_C.

    The pass of raw features ends at the feature layer. The forward pass receives the sizes of the images when it runs:
    if XLA knew the sizes at compilation, it would leave out the operations that keep the padding zero.
    """
    forward = jax.jit(lambda model, images, sizes: encoder.pool(model, images, sizes=sizes, num_classes=1)[3:])
    images = jax.device_put(images)
    sizes = np.tile(np.array([images.shape[1:3]], np.int32), (len(images), 1))
    raw_features = jax.jit(encoder.raw_features)
    encodings = {
        OURS.format(count): functools.partial(cwcf_jax.encode, model, images, num_classes=int(count))
        for count in _NC.value
    }
    return {FORWARD: lambda: forward(model, images, sizes), RAW: lambda: raw_features(model, images), **encodings}


def make_peer_calls(model: Model, inputs: np.ndarray) -> Calls:
    """Returns the peers' calls: the forward pass alone, and the whole encoding."""
    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, model.config.dtype)
    calls: Calls = {}
    kinds = [("", None), (SUFFIX.format(_COMPARED_NC.value), _COMPARED_NC.value)]
    for suffix, count in kinds if _WHOLE.value else kinds[:1]:
        if dtype is torch.float32:
            calls["ONNX Runtime" + suffix] = peers.onnx_call(peers.build(model, count), inputs)
        calls["PyTorch" + suffix] = peers.torch_call(peers.build(model, count), inputs, device, dtype)
    return calls


def measure_copies(megabytes: int = 512, rounds: int = 5) -> list[float]:
    """Measures bytes a second, read and written, of an addition to a large array."""
    values = jnp.zeros(megabytes * 1_000_000 // 4, jnp.float32)
    return [2 * values.nbytes / duration for duration in _measure_seconds(lambda a: a + 1.0, values, rounds=rounds)]


def measure_matrix_products(dtype: Any, rounds: int = 5) -> list[float]:
    """Measures operations a second of products of square matrices of normal random numbers."""
    side = 4096 if jax.default_backend() == "cpu" else 8192
    left, right = (jax.random.normal(jax.random.key(i), (side, side), dtype) for i in range(2))
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return [2 * side**3 / duration for duration in _measure_seconds(product, left, right, rounds=rounds)]


def _measure_seconds(function: Callable[..., jax.Array], *arguments: jax.Array, rounds: int) -> list[float]:
    """Measures the seconds of a call of the compiled function, round by round."""
    passes, call = _num_passes(), functools.partial(jax.jit(function), *arguments)
    run = functools.partial(_call_repeatedly, call, passes, jax.block_until_ready)
    return [duration / passes for duration in measuring.take_turns({"": run}, rounds)[""]]


def format_run(run: Mapping[str, Any]) -> str:
    """Formats a run as text."""
    batch, height, width = run["shape"]
    operations = run["operations"] / batch / 1e9
    lines = [f"{run['network']}, {run['dtype']}, {height} x {width}, batch {batch}, {operations:.0f} GFLOP an image"]
    for name, speed in [*run["alone"].items(), *run["in_turns"].items()]:
        lines.append(f"  {name:28} {_format_spread(speed)} images/s, {operations * speed['median']:.0f} GFLOP/s")
    lines += [f"  {_format_spread(times)} times as fast as {name}" for name, times in run["times_as_fast_as"].items()]
    lines += [
        f"  {name}: {_format_spread(times)} times the forward pass"
        for name, times in run["times_of_the_forward_pass"].items()
    ]
    lines.append(f"  descriptors differ by at most {run['largest_difference_of_descriptors']:.1e}")
    roof = run["roofline"]
    lines.append(
        f"  compiled: {roof['operations'] / batch / 1e9:.0f} GFLOP and {roof['bytes'] / batch / 1e9:.1f} GB "
        f"an image, {roof['share']:.2f} of what the machine can do at best; "
        f"the forward pass runs at {roof['forward_pass_of_matrix_products']:.2f} of the rate of matrix products"
    )
    return "\n".join(lines)


def _format_spread(values: Mapping[str, float]) -> str:
    """Formats a median with its minimum and maximum."""
    return f"{values['median']:.3f} ({values['min']:.3f} to {values['max']:.3f})"


if __name__ == "__main__":
    app.run(main)
