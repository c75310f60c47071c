"""Keras's HDF5 weights, of Keras 0.x to 3.

Sources: ``save_weights_to_hdf5_group`` and ``preprocess_weights_for_loading`` of keras/engine/saving.py in Keras 2.3,
``save_weights`` of keras/engine/topology.py in Keras 1, keras/src/saving/saving_lib.py for Keras 3's ``.weights.h5``,
all of https://github.com/keras-team/keras. The HDF5 library reads the file in a child process (`hdf5`).

Kernels. TensorFlow's order is [rows, columns, in, out], Theano's (Keras 0 and 1) [out, in, rows, columns]. TensorFlow
correlates, Theano convolves, that is, its kernels are rotated by 180 degrees; Keras itself rotates them when it loads a
file whose ``backend`` is another than its own. All kernels are returned as TensorFlow has them. Which order a file
has is decided for all its kernels at once, by the size of the biases and by which axes can be rows and columns; a file
that leaves it open is refused until ``--kernel_order`` says it. Kernels of transposed convolutions are [rows, columns,
out, in] in TensorFlow's order and are returned like that.
"""

import importlib.util
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import numpy as np

from cwcf_jax.networks.npz import read_npz
from cwcf_jax.weights.formats.base import DAMAGED, Refusal, WeightsFile, looks_like

ORDERS = ("tensorflow", "tensorflow_rotated", "theano", "theano_unrotated")
LARGEST = 31  # rows or columns of a kernel
TIMEOUT = 60.0
OWN_NAMES = {"alpha", "beta", "bias", "depthwise_kernel", "embeddings", "gamma", "mean", "moving_mean"}
OWN_NAMES |= {"moving_variance", "pointwise_kernel", "recurrent_kernel", "running_mean", "running_std", "std"}
LOOPED = {getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)}  # the child's limit on computing
HDF5 = b"\x89HDF\r\n\x1a\n"
CHILD = pathlib.Path(__file__).with_name("hdf5.py")


def read(path: pathlib.Path, kernel_order: str | None = None) -> WeightsFile:
    """Return a Keras file's weights: ``<layer>/kernel`` (HWIO if 4-D), ``<layer>/bias``, or their own names."""
    if kernel_order is not None and kernel_order not in ORDERS:
        raise Refusal(f"--kernel_order must be one of {', '.join(ORDERS)}, not {kernel_order!r}")
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise Refusal(f"not an HDF5 file: it looks like {looks_like(path)}")
    table, values = describe(path)
    arrays: dict[str, np.ndarray] = {}
    for layer in table["layers"]:
        for kind in _kinds(layer["weights"]):
            key = f"{layer['name']}/{kind}"
            if key in arrays:
                raise Refusal(f"{key} is there twice; models within models are not told apart: save them one by one")
            arrays[key] = values[str(len(arrays))]
    notes = {"layout": table["layout"], **{name: str(value) for name, value in table["notes"].items()}}
    kernels = [key for key, array in arrays.items() if array.ndim == 4 and key.endswith("/kernel")]
    order = kernel_order or (_order(arrays, kernels, notes.get("backend")) if kernels else "tensorflow")
    for key in kernels:
        arrays[key] = _correlation(arrays[key], order)
    return WeightsFile("keras", arrays, {**notes, "kernel_order": order})


def describe(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the child process says of a file, and the arrays under their running number."""
    if importlib.util.find_spec("h5py") is None:
        raise ModuleNotFoundError("reading Keras files needs h5py", name="h5py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_")}
    environment |= {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), str(path.absolute())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refusal(f"the HDF5 library did not finish with it in {TIMEOUT:.0f} s: {DAMAGED}") from None
    return outcome(done.returncode, done.stdout, done.stderr)


def outcome(code: int, output: bytes, errors: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The child's answer; Refusal if it refused or crashed."""
    if -code in LOOPED:
        raise Refusal(f"the HDF5 library does not come to an end with it: {DAMAGED}")
    if code < 0:
        raise Refusal(f"the HDF5 library crashed on it (signal {-code}): {DAMAGED}")
    if code > 0 or not output:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise Refusal(f"the HDF5 library failed on it (exit status {code}; {last}): {DAMAGED}")
    stream = io.BytesIO(output)
    table = json.loads(stream.readline())
    if "refused" in table:
        raise Refusal(str(table["refused"]))
    return table, read_npz(io.BytesIO(stream.read())) if any(layer["weights"] for layer in table["layers"]) else {}


def _kinds(names: list[str]) -> list[str]:
    """What a layer's weights are called: kernel and bias by their order, or by their own names."""
    own = [name.rpartition("/")[2].removesuffix(":0") for name in names]
    if len(names) > 2:
        return own if len(set(own)) == len(own) else [name.removesuffix(":0") for name in names]
    return [kind if kind in OWN_NAMES else ("kernel", "bias")[index] for index, kind in enumerate(own)]


def _order(arrays: dict[str, np.ndarray], kernels: list[str], backend: str | None) -> str:
    """The order of all kernels of a file."""
    left = {"tensorflow", "theano"}
    for key in kernels:
        bias = arrays.get(key.removesuffix("kernel") + "bias")
        left &= _possible(arrays[key].shape, None if bias is None else bias.size)
    if len(left) != 1:
        why = "contradict each other" if not left else "are possible in both"
        raise Refusal(
            f"the shapes of its kernels {why}: [rows, columns, in, out] (TensorFlow's) and [out, in, rows, columns] "
            f"(Theano's); say which it is with --kernel_order, one of {', '.join(ORDERS)}"
        )
    if left == {"tensorflow"}:
        return "tensorflow_rotated" if backend == "theano" else "tensorflow"
    if backend not in (None, "theano"):
        raise Refusal(
            f"its kernels are in Theano's order, but were made with {backend}, so that it is open whether they are "
            "rotated; say it with --kernel_order=theano_unrotated (most likely) or --kernel_order=theano"
        )
    return "theano"


def _possible(shape: tuple[int, ...], outputs: int | None) -> set[str]:
    """The orders that a kernel's shape allows."""
    spatial = {"tensorflow": shape[:2], "theano": shape[2:]}
    channels = {"tensorflow": shape[3], "theano": shape[0]}
    possible = {order for order in spatial if max(spatial[order]) <= LARGEST and outputs in (None, channels[order])}
    square = {order for order in possible if spatial[order][0] == spatial[order][1]}
    return square if len(square) == 1 else possible


def _correlation(kernel: np.ndarray, order: str) -> np.ndarray:
    """A kernel in one of the orders as [rows, columns, in, out] for correlation."""
    if order.startswith("theano"):
        kernel = kernel.transpose(2, 3, 1, 0)
    return kernel[::-1, ::-1] if order in ("theano", "tensorflow_rotated") else kernel
