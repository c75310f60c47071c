"""This module builds and applies weight layouts, which map a foreign file's arrays to a network's parameters."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cwcf_jax.networks.spec import Transform, WeightLayout

Table = dict[str, tuple[str, Transform]]
"""The table of a weight layout: ``source key -> (target key, transform)``."""


def same(array: np.ndarray) -> np.ndarray:
    """Returns the array unchanged: a vector, or a kernel that is already HWIO."""
    return array


def conv(array: np.ndarray) -> np.ndarray:
    """Transposes a convolution's kernel from OIHW to HWIO."""
    return _check_axes(array, 4).transpose(2, 3, 1, 0)


def dense(array: np.ndarray) -> np.ndarray:
    """Transposes a dense layer's kernel from [outputs, inputs] to [inputs, outputs]."""
    return _check_axes(array, 2).T


def dense_on_maps(channels: int, side: int) -> Transform:
    """Returns a transform to HWIO for the [outputs, inputs] kernel of a dense layer on maps.

    The inputs are flattened maps of shape [channels, side, side].
    """

    def transform(array: np.ndarray) -> np.ndarray:
        outputs, inputs = _check_axes(array, 2).shape
        if inputs != channels * side * side:
            raise ValueError(f"{inputs} inputs instead of {channels * side * side}")
        return array.reshape(outputs, channels, side, side).transpose(2, 3, 1, 0)

    return transform


def rows_on_maps(channels: int, side: int) -> Transform:
    """Returns a transform to HWIO for the [inputs, outputs] kernel of a dense layer on maps.

    The inputs are flattened maps of shape [side, side, channels].
    """

    def transform(array: np.ndarray) -> np.ndarray:
        inputs, outputs = _check_axes(array, 2).shape
        if inputs != channels * side * side:
            raise ValueError(f"{inputs} inputs instead of {channels * side * side}")
        return array.reshape(side, side, channels, outputs)

    return transform


def _check_axes(array: np.ndarray, count: int) -> np.ndarray:
    if array.ndim != count:
        raise ValueError(f"{array.ndim} axes instead of {count}")
    return array


def caffe(layers: Mapping[str, str], *, classifiers: Iterable[str] = ()) -> Table:
    """Returns the table of a Caffe file with keys ``<layer>/W`` and ``<layer>/b``.

    Args:
        layers: the network's layer for each layer of the file.
        classifiers: the dense layers of the file, with [outputs, inputs] kernels; all other kernels are OIHW.
    """
    table: Table = {}
    for source, target in layers.items():
        table[f"{source}/W"] = (f"{target}/kernel", dense if source in classifiers else conv)
        table[f"{source}/b"] = (f"{target}/bias", same)
    return table


def keras(layers: Mapping[str, str]) -> Table:
    """Returns the table of `weights.formats` for Keras files, with keys ``<layer>/kernel`` and ``<layer>/bias``.

    Kernels are HWIO; those of dense layers are [inputs, outputs].
    """
    return {f"{source}/{part}": (f"{target}/{part}", same) for source, target in layers.items() for part in _PARTS}


def torch(layers: Mapping[str, str], *, transform: Transform = conv, bias: bool = True) -> Table:
    """Returns the table of a torch file with keys ``<layer>.weight`` and, if ``bias`` is True, ``<layer>.bias``."""
    table: Table = {f"{source}.weight": (f"{target}/kernel", transform) for source, target in layers.items()}
    return table | {f"{source}.bias": (f"{target}/bias", same) for source, target in layers.items() if bias}


def torch_norm(layers: Mapping[str, str]) -> Table:
    """Returns the table of torch's batch normalisations, each with the network's layer that absorbs it."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    return {
        f"{source}.{part}": (f"{target}/norm/{statistic}", same)
        for source, target in layers.items()
        for part, statistic in names.items()
    }


def choose(layouts: Iterable[WeightLayout], keys: Iterable[str]) -> WeightLayout | None:
    """Returns the layout with most of the keys, the first of equals; None if no layout has any of the keys."""
    key_set = set(keys)
    counts = [(len(key_set & layout.table.keys()), layout) for layout in layouts]
    count, best = max(counts, key=lambda pair: pair[0], default=(0, None))
    return best if count else None


def translate(
    layout: WeightLayout,
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, Any],
    *,
    layers: Iterable[str] | None = None,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Translates foreign arrays to the network's keys and shapes, and folds batch normalisations.

    Args:
        layout: the weight layout of the arrays.
        arrays: foreign arrays by source key.
        shapes: ``target key -> shape`` of the network's parameters.
        layers: target layers (first part of the target key) to translate; None: all layers, and then an array without
            an entry in the table is a fault.

    Returns:
        The arrays by target key, and a description of every fault; no arrays if there is any fault.
    """
    entries = {
        source: entry
        for source, entry in layout.table.items()
        if layers is None or entry[0].split("/")[0] in set(layers)
    }
    translated, faults = {}, []
    for source in sorted(entries.keys() - arrays.keys()):
        faults.append(f"missing {source}, for {entries[source][0]}")
    if layers is None:
        for source in sorted(arrays.keys() - entries.keys()):
            if not any(fnmatch.fnmatchcase(source, pattern) for pattern in layout.ignored):
                faults.append(f"unmapped {source} {arrays[source].shape}")
    for source in sorted(entries.keys() & arrays.keys()):
        target, transform = entries[source]
        try:
            array = transform(arrays[source])
        except ValueError as error:
            faults.append(f"mis-shaped {source} {arrays[source].shape}, for {target}: {error}")
            continue
        expected_shape = shapes[_parameter_of_same_shape(target)]
        if array.shape != expected_shape:
            faults.append(f"mis-shaped {source} {arrays[source].shape}: {array.shape} for {target} {expected_shape}")
        elif not _is_float(array):
            faults.append(f"not floating point {source}: {array.dtype}")
        elif not is_finite(array):
            faults.append(f"not finite {source}")
        elif target.endswith("/norm/variance") and (array < 0).any():
            faults.append(f"negative {source}, a variance")
        else:
            translated[target] = array
    return ({} if faults else fold_norms(translated, layout.epsilon)), faults


@np.errstate(over="ignore")  # callers check that the folded arrays are finite
def fold_norms(arrays: Mapping[str, np.ndarray], epsilon: float = WeightLayout.epsilon) -> dict[str, np.ndarray]:
    """Folds each batch normalisation ``<layer>/norm/{scale,bias,mean,variance}`` into its layer, in float64.

    The outputs of a layer with a kernel are scaled, and its bias is adapted. A layer without a kernel becomes a scale
    and a bias. ``epsilon`` is added to the variances.
    """
    folded = {key: array for key, array in arrays.items() if "/norm/" not in key}
    for layer in dict.fromkeys(key.split("/norm/")[0] for key in arrays if "/norm/" in key):
        parts = {name: arrays[f"{layer}/norm/{name}"].astype(np.float64) for name in _STATISTICS}
        scale = parts["scale"] / np.sqrt(parts["variance"] + epsilon)
        layer_bias = folded[f"{layer}/bias"].astype(np.float64) if f"{layer}/bias" in folded else 0.0
        folded[f"{layer}/bias"] = (parts["bias"] + (layer_bias - parts["mean"]) * scale).astype(np.float32)
        if f"{layer}/kernel" in folded:
            folded[f"{layer}/kernel"] = (folded[f"{layer}/kernel"] * scale).astype(np.float32)
        else:
            folded[f"{layer}/scale"] = scale.astype(np.float32)
    return folded


def is_finite(array: np.ndarray) -> bool:
    """Tells whether all values of a floating point array are finite as float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


_PARTS = ("kernel", "bias")
_STATISTICS = ("scale", "bias", "mean", "variance")


def _parameter_of_same_shape(target: str) -> str:
    """Returns the key of the parameter that has the shape of ``target``: a layer's bias for batch statistics."""
    return target.split("/norm/")[0] + "/bias" if "/norm/" in target else target


def _is_float(array: np.ndarray) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16")
