"""Weights files as their own tools write them: protobuf, h5py, PyTorch, safetensors; no code of the readers.

Where a package is missing, the test that wants it is skipped and says so. All arrays are float32 unless said otherwise.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.support.packages import package

Layer = tuple[str, str, Sequence[np.ndarray]]  # name, type ("Convolution", "InnerProduct", ...), blobs
V1_TYPES = {"Convolution": 4, "Deconvolution": 39, "InnerProduct": 14, "ReLU": 18, "Pooling": 17, "Data": 5}
V0_TYPES = {"Convolution": "conv", "InnerProduct": "innerproduct", "ReLU": "relu"}


def write_caffemodel(path: pathlib.Path, layers: Sequence[Layer], form: str = "new", packed: bool = True) -> None:
    """A ``.caffemodel``, written with the protobuf package.

    Args:
        path: the file.
        layers: with blobs as they are used: convolutions [O, I / group, h, w], inner products [O, I], biases [N]; a
            layer without blobs is written as well.
        form: "new" (LayerParameter, with `shape`), "v1" (V1LayerParameter, with four numbers per blob, padded with ones
            in front, as Caffe wrote until 2014), or "v0" (V0LayerParameter within that).
        packed: whether the values stand behind one tag, as Caffe writes them, or each behind its own.
    """
    net = messages(packed)["NetParameter"](name="written by a test")
    for name, kind, blobs in layers:
        if form == "new":
            layer = target = net.layer.add(name=name, type=kind)
        elif form == "v1":
            layer = target = net.layers.add(name=name, type=V1_TYPES[kind])
        else:
            layer = net.layers.add()
            target = layer.layer
            target.name, target.type = name, V0_TYPES[kind]
        for array in blobs:
            _blob(target.blobs.add(), np.asarray(array), legacy=form != "new")
    path.write_bytes(net.SerializeToString())


def _blob(blob: Any, array: np.ndarray, legacy: bool) -> None:
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
    else:
        blob.shape.dim.extend(array.shape)
    values = blob.double_data if array.dtype == np.float64 else blob.data
    values.extend(array.ravel().tolist())


@functools.cache
def messages(packed: bool = True) -> dict[str, Any]:
    """The message classes of the part of caffe.proto that holds weights, by name."""
    package("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    scalar = {
        "string": kinds.TYPE_STRING,
        "int64": kinds.TYPE_INT64,
        "int32": kinds.TYPE_INT32,
        "float": kinds.TYPE_FLOAT,
        "double": kinds.TYPE_DOUBLE,
    }
    blob = (("num", 1, "int64", 0), ("channels", 2, "int64", 0), ("height", 3, "int64", 0), ("width", 4, "int64", 0))
    blob += (("data", 5, "float", 1), ("diff", 6, "float", 1), ("shape", 7, "BlobShape", 0))
    blob += (("double_data", 8, "double", 1),)
    tables = {
        "BlobShape": (("dim", 1, "int64", 1),),
        "BlobProto": blob,
        "V0LayerParameter": (("name", 1, "string", 0), ("type", 2, "string", 0), ("blobs", 50, "BlobProto", 1)),
        "V1LayerParameter": (
            ("layer", 1, "V0LayerParameter", 0),
            ("bottom", 2, "string", 1),
            ("top", 3, "string", 1),
            ("name", 4, "string", 0),
            ("type", 5, "int32", 0),
            ("blobs", 6, "BlobProto", 1),
        ),
        "LayerParameter": (
            ("name", 1, "string", 0),
            ("type", 2, "string", 0),
            ("bottom", 3, "string", 1),
            ("top", 4, "string", 1),
            ("loss_weight", 5, "float", 1),
            ("blobs", 7, "BlobProto", 1),
            ("phase", 10, "int32", 0),
        ),
        "NetParameter": (
            ("name", 1, "string", 0),
            ("layers", 2, "V1LayerParameter", 1),
            ("input", 3, "string", 1),
            ("layer", 100, "LayerParameter", 1),
        ),
    }
    scope = f"caffe_{'packed' if packed else 'unpacked'}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{scope}.proto", package=scope, syntax="proto2")
    for message, fields in tables.items():
        descriptor = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = descriptor.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field.type = scalar.get(kind, kinds.TYPE_MESSAGE)
            if kind not in scalar:
                field.type_name = f".{scope}.{kind}"
            elif repeated and kind != "string":
                field.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{scope}.{name}")) for name in tables}


def write_keras(
    path: pathlib.Path,
    layers: Mapping[str, Sequence[np.ndarray]],
    order: str = "tensorflow",
    layout: str = "keras2",
    names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """A Keras HDF5 file, written with h5py.

    Args:
        path: the file.
        layers: the weights of each layer, kernels of convolutions [rows, columns, in, out] for correlation; a layer
            without weights (a pool) is written as well.
        order: how kernels are kept: "tensorflow" (as they are), "tensorflow_rotated" (by 180 degrees: Keras 2 on
            Theano), "theano" ([out, in, rows, columns], rotated) or "theano_unrotated".
        layout: "keras2", "keras2_model" (within ``model_weights``, as save() does), "keras1" (names ``<layer>_W``, no
            ``backend``), "keras0" (``layer_<i>``/``param_<i>``), "keras3" (``layers/<name>/vars/<i>``).
        names: the names of the weights of a layer, instead of kernel and bias; keras1 and keras2 only.
    """
    h5py = package("h5py")
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if layout == "keras2_model" else file
        if layout.startswith("keras2"):
            root.attrs["backend"] = b"theano" if order == "tensorflow_rotated" else b"tensorflow"
            root.attrs["keras_version"] = b"2.0.0"
        if layout in ("keras1", "keras2", "keras2_model"):
            root.attrs["layer_names"] = [layer.encode() for layer in layers]
        if layout == "keras0":
            root.attrs["nb_layers"] = len(layers)
        for index, (layer, arrays) in enumerate(layers.items()):
            values = [_ordered(np.asarray(array), order) for array in arrays]
            own = (names or {}).get(layer)
            if layout == "keras0":
                group = root.create_group(f"layer_{index}")
                group.attrs["nb_params"] = len(values)
                labels = [f"param_{number}" for number in range(len(values))]
            elif layout == "keras3":
                group = root.create_group(f"layers/{layer}/vars")
                labels = [str(number) for number in range(len(values))]
            else:
                group = root.create_group(layer)
                pattern = f"{layer}_{{}}" if layout == "keras1" else f"{layer}_1/{{}}:0"
                defaults = ("W", "b", "c") if layout == "keras1" else ("kernel", "bias", "third")
                labels = [pattern.format(label) for label in (own or defaults)[: len(values)]]
                group.attrs["weight_names"] = [label.encode() for label in labels]
            for label, value in zip(labels, values, strict=True):
                group.create_dataset(label, data=value)


def _ordered(array: np.ndarray, order: str) -> np.ndarray:
    if array.ndim != 4:
        return array
    if order in ("tensorflow_rotated", "theano"):
        array = array[::-1, ::-1]
    return array.transpose(3, 2, 0, 1) if order.startswith("theano") else array


def write_pth(path: pathlib.Path, state: Mapping[str, Any], legacy: bool = False) -> None:
    """A ``.pth`` file, written by torch.save.

    Args:
        path: the file.
        state: arrays or tensors by name; dicts within it stay dicts, anything else is saved as it is.
        legacy: as PyTorch wrote before 1.6, and not as a zip archive.
    """
    torch = package("torch")

    def tensors(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return torch.from_numpy(np.array(value))
        if type(value) is dict:
            return {key: tensors(item) for key, item in value.items()}
        return value

    torch.save(tensors(dict(state)) if type(state) is dict else state, path, _use_new_zipfile_serialization=not legacy)


def write_safetensors(
    path: pathlib.Path, state: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """A ``.safetensors`` file, written by the safetensors package."""
    package("safetensors")
    from safetensors.numpy import save_file

    save_file({key: np.ascontiguousarray(value).reshape(value.shape) for key, value in state.items()}, path, metadata)
