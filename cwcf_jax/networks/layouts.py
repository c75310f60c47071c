"""Building and applying the tables that lead from foreign checkpoints to a network's parameters."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cwcf_jax.networks.spec import Transform, WeightLayout

Table = dict[str, tuple[str, Transform]]


def same(array: np.ndarray) -> np.ndarray:
    """Vectors, and kernels that are HWIO already."""
    return array


def conv(array: np.ndarray) -> np.ndarray:
    """OIHW to HWIO."""
    return _axes(array, 4).transpose(2, 3, 1, 0)


def dense(array: np.ndarray) -> np.ndarray:
    """Outputs x inputs to inputs x outputs."""
    return _axes(array, 2).T


def dense_on_maps(channels: int, side: int) -> Transform:
    """Of a dense layer on flattened [channels, side, side] maps, outputs x inputs, to HWIO."""

    def transform(array: np.ndarray) -> np.ndarray:
        outputs, inputs = _axes(array, 2).shape
        if inputs != channels * side * side:
            raise ValueError(f"{inputs} inputs instead of {channels * side * side}")
        return array.reshape(outputs, channels, side, side).transpose(2, 3, 1, 0)

    return transform


def rows_on_maps(channels: int, side: int) -> Transform:
    """Of a dense layer on flattened [side, side, channels] maps, inputs x outputs, to HWIO."""

    def transform(array: np.ndarray) -> np.ndarray:
        inputs, outputs = _axes(array, 2).shape
        if inputs != channels * side * side:
            raise ValueError(f"{inputs} inputs instead of {channels * side * side}")
        return array.reshape(side, side, channels, outputs)

    return transform


def _axes(array: np.ndarray, count: int) -> np.ndarray:
    if array.ndim != count:
        raise ValueError(f"{array.ndim} axes instead of {count}")
    return array


def caffe(layers: Mapping[str, str], *, classifiers: Iterable[str] = ()) -> Table:
    """``<layer>/W`` and ``<layer>/b``, kernels OIHW; ``classifiers`` are dense, outputs x inputs."""
    table: Table = {}
    for theirs, ours in layers.items():
        table[f"{theirs}/W"] = (f"{ours}/kernel", dense if theirs in classifiers else conv)
        table[f"{theirs}/b"] = (f"{ours}/bias", same)
    return table


def keras(layers: Mapping[str, str]) -> Table:
    """``<layer>/kernel`` and ``<layer>/bias`` as `weights.formats` reads them: kernels HWIO, dense inputs x outputs."""
    return {f"{theirs}/{part}": (f"{ours}/{part}", same) for theirs, ours in layers.items() for part in _PARTS}


def torch(layers: Mapping[str, str], *, transform: Transform = conv, bias: bool = True) -> Table:
    """``<layer>.weight`` and ``<layer>.bias``."""
    table: Table = {f"{theirs}.weight": (f"{ours}/kernel", transform) for theirs, ours in layers.items()}
    return table | {f"{theirs}.bias": (f"{ours}/bias", same) for theirs, ours in layers.items() if bias}


def torch_norm(layers: Mapping[str, str]) -> Table:
    """Batch normalisations and the layers they are folded into."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    return {
        f"{theirs}.{source}": (f"{ours}/norm/{target}", same)
        for theirs, ours in layers.items()
        for source, target in names.items()
    }


def choose(layouts: Iterable[WeightLayout], keys: Iterable[str]) -> WeightLayout | None:
    """The layout that knows most of the keys; None if none knows any."""
    known = set(keys)
    counted = [(len(known & layout.table.keys()), layout) for layout in layouts]
    count, best = max(counted, key=lambda pair: pair[0], default=(0, None))
    return best if count else None


def translate(
    layout: WeightLayout,
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, Any],
    *,
    only: Iterable[str] | None = None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Foreign arrays under their target keys, batch statistics folded, and every fault of theirs.

    Args:
        layout: whose table is followed.
        arrays: by source key.
        shapes: ``target key -> shape`` of the network's parameters.
        only: target layers (first part of the key) that are wanted; None: all, and then nothing else may be there.
    """
    wanted = {
        source: entry for source, entry in layout.table.items() if only is None or entry[0].split("/")[0] in set(only)
    }
    translated, faults = {}, []
    for source in sorted(wanted.keys() - arrays.keys()):
        faults.append(f"missing {source}, for {wanted[source][0]}")
    if only is None:
        for source in sorted(arrays.keys() - wanted.keys()):
            if not any(fnmatch.fnmatchcase(source, pattern) for pattern in layout.ignored):
                faults.append(f"unmapped {source} {arrays[source].shape}")
    for source in sorted(wanted.keys() & arrays.keys()):
        target, transform = wanted[source]
        try:
            array = transform(arrays[source])
        except ValueError as error:
            faults.append(f"mis-shaped {source} {arrays[source].shape}, for {target}: {error}")
            continue
        expected = shapes[_folded(target)]
        if array.shape != expected:
            faults.append(f"mis-shaped {source} {arrays[source].shape}: {array.shape} for {target} {expected}")
        elif not _is_float(array):
            faults.append(f"not floating point {source}: {array.dtype}")
        elif not finite(array):
            faults.append(f"not finite {source}")
        elif target.endswith("/norm/variance") and (array < 0).any():
            faults.append(f"negative {source}, a variance")
        else:
            translated[target] = array
    return ({} if faults else fold_norms(translated, layout.epsilon)), faults


@np.errstate(over="ignore")  # the folded arrays are checked again
def fold_norms(arrays: Mapping[str, np.ndarray], epsilon: float = WeightLayout.epsilon) -> dict[str, np.ndarray]:
    """``<layer>/norm/{scale,bias,mean,variance}`` folded into the layer, in float64.

    A kernel's outputs are scaled and its bias follows; a layer without a kernel becomes a scale and a bias.
    ``epsilon`` is added to the variances.
    """
    folded = {key: array for key, array in arrays.items() if "/norm/" not in key}
    for layer in dict.fromkeys(key.split("/norm/")[0] for key in arrays if "/norm/" in key):
        parts = {name: arrays[f"{layer}/norm/{name}"].astype(np.float64) for name in _STATISTICS}
        scale = parts["scale"] / np.sqrt(parts["variance"] + epsilon)
        before = folded[f"{layer}/bias"].astype(np.float64) if f"{layer}/bias" in folded else 0.0
        folded[f"{layer}/bias"] = (parts["bias"] + (before - parts["mean"]) * scale).astype(np.float32)
        if f"{layer}/kernel" in folded:
            folded[f"{layer}/kernel"] = (folded[f"{layer}/kernel"] * scale).astype(np.float32)
        else:
            folded[f"{layer}/scale"] = scale.astype(np.float32)
    return folded


def finite(array: np.ndarray) -> bool:
    """Whether all values of a floating point array are, as float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


_PARTS = ("kernel", "bias")
_STATISTICS = ("scale", "bias", "mean", "variance")


def _folded(target: str) -> str:
    """The parameter whose shape a target has."""
    return target.split("/norm/")[0] + "/bias" if "/norm/" in target else target


def _is_float(array: np.ndarray) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16")
