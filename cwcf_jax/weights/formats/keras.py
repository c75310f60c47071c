"""This module reads weights in HDF5 files of Keras 0.x to 3.

Sources: ``save_weights_to_hdf5_group`` and ``preprocess_weights_for_loading`` of keras/engine/saving.py in Keras 2.3,
``save_weights`` of keras/engine/topology.py in Keras 1, keras/src/saving/saving_lib.py for Keras 3's ``.weights.h5``,
all of https://github.com/keras-team/keras. The HDF5 library reads the file in a child process (`hdf5`).

Kernels. TensorFlow's order is [rows, columns, in, out], Theano's (Keras 0 and 1) is [out, in, rows, columns].
TensorFlow correlates and Theano convolves, so that Theano's kernels are rotated by 180 degrees. Keras rotates kernels
when it loads a file with another ``backend`` than its own. This module returns all kernels as TensorFlow stores them.
One order is detected for all kernels of a file, from the sizes of the biases and from the axes that can be rows and
columns. A file with an ambiguous order is refused until ``--kernel_order`` names the order. Kernels of transposed
convolutions are [rows, columns, out, in] in TensorFlow's order and are returned in this order.
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
from cwcf_jax.weights.formats.base import DAMAGED, Refusal, WeightsFile, identify

KERNEL_ORDERS = ("tensorflow", "tensorflow_rotated", "theano", "theano_unrotated")
MAX_KERNEL_SIDE = 31  # rows or columns
TIMEOUT_S = 60.0
STANDARD_NAMES = {"alpha", "beta", "bias", "depthwise_kernel", "embeddings", "gamma", "mean", "moving_mean"}
STANDARD_NAMES |= {"moving_variance", "pointwise_kernel", "recurrent_kernel", "running_mean", "running_std", "std"}
CPU_LIMIT_SIGNALS = {getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)}  # see `hdf5.CPU_LIMIT_S`
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CHILD_PROGRAM = pathlib.Path(__file__).with_name("hdf5.py")


def read(path: pathlib.Path, kernel_order: str | None = None) -> WeightsFile:
    """Reads a Keras file's weights as ``<layer>/kernel`` (HWIO if 4-D), ``<layer>/bias``, or under their own names."""
    if kernel_order is not None and kernel_order not in KERNEL_ORDERS:
        raise Refusal(f"--kernel_order must be one of {', '.join(KERNEL_ORDERS)}, not {kernel_order!r}")
    with path.open("rb") as file:
        if file.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            raise Refusal(f"not an HDF5 file: it looks like {identify(path)}")
    table, values = run_child(path)
    arrays: dict[str, np.ndarray] = {}
    for layer in table["layers"]:
        for name in _parameter_names(layer["weights"]):
            key = f"{layer['name']}/{name}"
            if key in arrays:
                raise Refusal(f"{key} occurs twice, as in models within models; save each model in a file of its own")
            arrays[key] = values[str(len(arrays))]
    notes = {"layout": table["layout"], **{name: str(value) for name, value in table["notes"].items()}}
    kernels = [key for key, array in arrays.items() if array.ndim == 4 and key.endswith("/kernel")]
    order = kernel_order or (_detect_order(arrays, kernels, notes.get("backend")) if kernels else "tensorflow")
    for key in kernels:
        arrays[key] = _to_hwio(arrays[key], order)
    return WeightsFile("keras", arrays, {**notes, "kernel_order": order})


def run_child(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the table that the child process makes of a file, and the arrays by number."""
    if importlib.util.find_spec("h5py") is None:
        raise ModuleNotFoundError("reading Keras files needs h5py", name="h5py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_")}
    environment |= {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}
    try:
        process = subprocess.run(
            [sys.executable, "-P", str(CHILD_PROGRAM), str(path.absolute())],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refusal(f"the HDF5 library did not finish with it in {TIMEOUT_S:.0f} s: {DAMAGED}") from None
    return parse_answer(process.returncode, process.stdout, process.stderr)


def parse_answer(code: int, output: bytes, errors: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Parses the child's answer; raises Refusal if the child refused the file, crashed or exceeded its limits."""
    if -code in CPU_LIMIT_SIGNALS:
        raise Refusal(f"the HDF5 library reached its limit of computing time on it: {DAMAGED}")
    if code < 0:
        raise Refusal(f"the HDF5 library crashed on it (signal {-code}): {DAMAGED}")
    if code > 0 or not output:
        last_line = errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise Refusal(f"the HDF5 library failed on it (exit status {code}; {last_line}): {DAMAGED}")
    stream = io.BytesIO(output)
    table = json.loads(stream.readline())
    if "refused" in table:
        raise Refusal(str(table["refused"]))
    return table, read_npz(io.BytesIO(stream.read())) if any(layer["weights"] for layer in table["layers"]) else {}


def _parameter_names(names: list[str]) -> list[str]:
    """Returns the names of a layer's weights: kernel and bias by position, or their own names."""
    own_names = [name.rpartition("/")[2].removesuffix(":0") for name in names]
    if len(names) > 2:
        return own_names if len(set(own_names)) == len(own_names) else [name.removesuffix(":0") for name in names]
    return [name if name in STANDARD_NAMES else ("kernel", "bias")[index] for index, name in enumerate(own_names)]


def _detect_order(arrays: dict[str, np.ndarray], kernels: list[str], backend: str | None) -> str:
    """Detects the order of a file's kernels from their shapes and biases; raises Refusal if the order is ambiguous."""
    orders = {"tensorflow", "theano"}
    for key in kernels:
        bias = arrays.get(key.removesuffix("kernel") + "bias")
        orders &= _possible_orders(arrays[key].shape, None if bias is None else bias.size)
    if len(orders) != 1:
        problem = "contradict each other" if not orders else "are possible in both"
        raise Refusal(
            f"the shapes of its kernels {problem}: [rows, columns, in, out] (TensorFlow's) and [out, in, rows, "
            f"columns] (Theano's); name the order with --kernel_order, one of {', '.join(KERNEL_ORDERS)}"
        )
    if orders == {"tensorflow"}:
        return "tensorflow_rotated" if backend == "theano" else "tensorflow"
    if backend not in (None, "theano"):
        raise Refusal(
            f"its kernels are in Theano's order, but were made with {backend}, so that their rotation is unknown; "
            "name it with --kernel_order=theano_unrotated (most likely) or --kernel_order=theano"
        )
    return "theano"


def _possible_orders(shape: tuple[int, ...], outputs: int | None) -> set[str]:
    """Returns the orders that a kernel's shape allows."""
    spatial = {"tensorflow": shape[:2], "theano": shape[2:]}
    channels = {"tensorflow": shape[3], "theano": shape[0]}
    small = {order for order in spatial if max(spatial[order]) <= MAX_KERNEL_SIDE}
    possible = {order for order in small if outputs in (None, channels[order])}
    square = {order for order in possible if spatial[order][0] == spatial[order][1]}
    return square if len(square) == 1 else possible


def _to_hwio(kernel: np.ndarray, order: str) -> np.ndarray:
    """Converts a kernel from ``order`` to [rows, columns, in, out] for correlation."""
    if order.startswith("theano"):
        kernel = kernel.transpose(2, 3, 1, 0)
    return kernel[::-1, ::-1] if order in ("theano", "tensorflow_rotated") else kernel
