"""This module writes files of weights with protobuf, h5py, PyTorch and safetensors, without code of the readers.

A test is skipped with a message where its package is missing. All arrays are float32 unless noted otherwise.
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
    """Writes a ``.caffemodel`` with the protobuf package.

    Args:
        path: the file.
        layers: layers with blobs: convolutions [O, I / group, h, w], inner products [O, I], biases [N]. Layers without
            blobs are written as well.
        form: "new" (LayerParameter, with `shape`), "v1" (V1LayerParameter, with four sizes per blob, padded with ones
            in front, as Caffe wrote until 2014), or "v0" (V0LayerParameter within V1LayerParameter).
        packed: whether all values of a blob have one tag, as Caffe writes them, or each value has its own tag.
    """
    net = messages(packed)["NetParameter"](name="written by a test")
    for name, layer_type, blobs in layers:
        if form == "new":
            layer = target = net.layer.add(name=name, type=layer_type)
        elif form == "v1":
            layer = target = net.layers.add(name=name, type=V1_TYPES[layer_type])
        else:
            layer = net.layers.add()
            target = layer.layer
            target.name, target.type = name, V0_TYPES[layer_type]
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
    """Returns the message classes for weights in caffe.proto, by name."""
    package("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FieldDescriptorProto
    scalar = {
        "string": proto.TYPE_STRING,
        "int64": proto.TYPE_INT64,
        "int32": proto.TYPE_INT32,
        "float": proto.TYPE_FLOAT,
        "double": proto.TYPE_DOUBLE,
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
        for name, number, field_type, repeated in fields:
            field = descriptor.field.add(name=name, number=number)
            field.label = proto.LABEL_REPEATED if repeated else proto.LABEL_OPTIONAL
            field.type = scalar.get(field_type, proto.TYPE_MESSAGE)
            if field_type not in scalar:
                field.type_name = f".{scope}.{field_type}"
            elif repeated and field_type != "string":
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
    """Writes a Keras HDF5 file with h5py.

    Args:
        path: the file.
        layers: weights of each layer, kernels of convolutions [rows, columns, in, out] for correlation. Layers without
            weights, such as pools, are written as well.
        order: order of stored kernels: "tensorflow" (unchanged), "tensorflow_rotated" (by 180 degrees: Keras 2 on
            Theano), "theano" ([out, in, rows, columns], rotated) or "theano_unrotated".
        layout: "keras2", "keras2_model" (within ``model_weights``, as by save()), "keras1" (names ``<layer>_W``, no
            ``backend``), "keras0" (``layer_<i>``/``param_<i>``), "keras3" (``layers/<name>/vars/<i>``).
        names: names of the weights of a layer, instead of kernel and bias; only for keras1 and keras2.
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
            values = [_to_order(np.asarray(array), order) for array in arrays]
            own_names = (names or {}).get(layer)
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
                labels = [pattern.format(label) for label in (own_names or defaults)[: len(values)]]
                group.attrs["weight_names"] = [label.encode() for label in labels]
            for label, value in zip(labels, values, strict=True):
                group.create_dataset(label, data=value)


def _to_order(array: np.ndarray, order: str) -> np.ndarray:
    if array.ndim != 4:
        return array
    if order in ("tensorflow_rotated", "theano"):
        array = array[::-1, ::-1]
    return array.transpose(3, 2, 0, 1) if order.startswith("theano") else array


def write_pth(path: pathlib.Path, state: Mapping[str, Any], legacy: bool = False) -> None:
    """Writes a ``.pth`` file with torch.save.

    Args:
        path: the file.
        state: arrays or tensors by name, with nested dicts; other objects are saved unchanged.
        legacy: whether the file has the format of PyTorch before 1.6 instead of a zip archive.
    """
    torch = package("torch")

    def to_tensors(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return torch.from_numpy(np.array(value))
        if type(value) is dict:
            return {key: to_tensors(item) for key, item in value.items()}
        return value

    torch.save(
        to_tensors(dict(state)) if type(state) is dict else state, path, _use_new_zipfile_serialization=not legacy
    )


def write_safetensors(
    path: pathlib.Path, state: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Writes a ``.safetensors`` file with the safetensors package."""
    package("safetensors")
    from safetensors.numpy import save_file

    save_file({key: np.ascontiguousarray(value).reshape(value.shape) for key, value in state.items()}, path, metadata)
