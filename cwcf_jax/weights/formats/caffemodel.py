"""This module reads Caffe's ``.caffemodel``, a binary NetParameter, with the protobuf package.

Sources: https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto for the field numbers,
``Blob::FromProto`` and ``Blob::ShapeEquals`` of Caffe for shapes. This module builds flat descriptors: a message
within another is declared as bytes and parsed later. A hostile file can therefore not create millions of objects, and
weights are copied as bytes instead of number by number.

Shapes. Until 2014 a blob had four sizes (num, channels, height, width), and smaller shapes were padded with ones in
front. The type of the layer decides how the padding is removed. The first blob of an inner product, stored as
1 x 1 x O x I, becomes [O, I]. The second blob of an inner product or a (de)convolution, stored as 1 x 1 x 1 x N,
becomes [N]. Other shapes of four dimensions are refused for these blobs. The weights of a convolution stay
[O, I / group, h, w]. Blobs of other layers keep their stored shape.
"""

import functools
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cwcf_jax.weights.formats.base import DAMAGED, Refusal, WeightsFile, decode_name, identify

MAX_LAYERS = 50_000  # also the largest number of blobs of all layers together
MAX_RANK = 16
INNER_PRODUCT = {"InnerProduct", "innerproduct", "14"}
CONVOLUTION = {"Convolution", "Deconvolution", "conv", "4", "39"}
MESSAGES = {  # fields as (name, number, type, whether repeated)
    "Net": (("name", 1, "bytes", 0), ("layers", 2, "bytes", 1), ("layer", 100, "bytes", 1)),
    "Layer": (("name", 1, "bytes", 0), ("type", 2, "bytes", 0), ("blobs", 7, "bytes", 1)),
    "V1Layer": (("v0", 1, "bytes", 0), ("name", 4, "bytes", 0), ("type", 5, "int32", 0), ("blobs", 6, "bytes", 1)),
    "V0Layer": (("name", 1, "bytes", 0), ("type", 2, "bytes", 0), ("blobs", 50, "bytes", 1)),
    "Blob": (
        *((name, number, "int64", 0) for number, name in enumerate(("num", "channels", "height", "width"), start=1)),
        ("data", 5, "bytes", 1),
        ("shape", 7, "bytes", 1),
        ("double_data", 8, "bytes", 1),
    ),
    "Shape": (("dim", 1, "int64", 1),),
    "Unpacked": (("data", 5, "float", 1), ("double_data", 8, "double", 1)),  # a Blob with a tag before each number
}


@functools.cache
def _message_class(name: str) -> Any:
    """Returns the protobuf class of one of `MESSAGES`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # imported late

    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"cwcf_{name}.proto", package="cwcf", syntax="proto2")
    message = file.message_type.add(name=name)
    for field, number, field_type, repeated in MESSAGES[name]:
        label = proto.LABEL_REPEATED if repeated else proto.LABEL_OPTIONAL
        message.field.add(name=field, number=number, label=label, type=getattr(proto, f"TYPE_{field_type.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"cwcf.{name}"))


def _parse(name: str, content: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _message_class(name).FromString(content)
    except DecodeError as error:
        raise Refusal(f"no message of Caffe's ({error}): {DAMAGED}") from error


def read(path: pathlib.Path) -> WeightsFile:
    """Reads the blobs of a ``.caffemodel`` as ``<layer>/W``, ``<layer>/b``, and ``<layer>/<i>`` for further blobs."""
    try:
        net = _parse("Net", path.read_bytes())
    except Refusal as refusal:
        raise Refusal(f"{refusal} (it looks like {identify(path)})") from refusal
    arrays: dict[str, np.ndarray] = {}
    notes = {"form": "", "name": decode_name(net.name, "the network's name") if net.name else ""}
    layers = set()
    for raw, layer_type, blobs, form in _layers(net):
        name = decode_name(raw, "the name of a layer")
        if name in layers:
            raise Refusal(f"two layers {name} have weights; the right one cannot be determined")
        layers.add(name)
        notes["form"] = form
        if len(blobs) + len(arrays) > MAX_LAYERS:
            raise Refusal("it has more arrays than any network: the file is damaged")
        for index, blob in enumerate(blobs):
            key = f"{name}/{('W', 'b')[index] if index < 2 else index}"
            arrays[key] = _parse_blob(blob, layer_type, index, key)
    return WeightsFile("caffe", arrays, notes)


def _layers(net: Any) -> Iterator[tuple[bytes, str, Sequence[bytes], str]]:
    """Yields name, type, blobs and form of each layer with blobs; in form v1 the type is a number."""
    if len(net.layers) + len(net.layer) > MAX_LAYERS:
        raise Refusal("it has more layers than any network: this is no .caffemodel, or a damaged one")
    for content in net.layers:
        layer, form = _parse("V1Layer", content), "v1"
        name, layer_type, blobs = layer.name, str(layer.type), list(layer.blobs)
        v0_layer = _parse("V0Layer", layer.v0)
        if v0_layer.blobs:
            name, layer_type, form = v0_layer.name, v0_layer.type.decode("latin-1"), "v0"
            blobs = list(v0_layer.blobs) + blobs
        if blobs:
            yield name, layer_type, blobs, form
    for content in net.layer:
        layer = _parse("Layer", content)
        if layer.blobs:
            yield layer.name, layer.type.decode("latin-1"), layer.blobs, "new"


def _parse_blob(content: bytes, layer_type: str, index: int, key: str) -> np.ndarray:
    blob = _parse("Blob", content)
    dims = _stored_shape(blob, key)
    singles, doubles = b"".join(blob.data), b"".join(blob.double_data)
    count = math.prod(dims)
    if not count or (len(singles) != 4 * count and len(doubles) != 8 * count):  # each number may have its own tag
        unpacked = _parse("Unpacked", content)
        singles = np.fromiter(unpacked.data, "<f4", len(unpacked.data)).tobytes()
        doubles = np.fromiter(unpacked.double_data, "<f8", len(unpacked.double_data)).tobytes()
    if singles and doubles:
        raise Refusal(f"{key} is stored twice, in single and double precision: {DAMAGED}")
    dtype, values = (np.dtype("<f8"), doubles) if doubles else (np.dtype("<f4"), singles)
    if not values or count * dtype.itemsize != len(values):
        raise Refusal(f"{key} has {len(values) // dtype.itemsize} values, not as many as its shape says: {DAMAGED}")
    return np.frombuffer(values, dtype).reshape(_squeeze(dims, layer_type, index, key))


def _stored_shape(blob: Any, key: str) -> list[int]:
    """Returns the stored shape; a blob without any shape is a single number, as in Caffe."""
    fields = ("num", "channels", "height", "width")
    legacy_shape = [getattr(blob, field) for field in fields] if any(map(blob.HasField, fields)) else []
    if not blob.shape:
        shape = legacy_shape
    else:
        shape = list(_parse("Shape", b"".join(blob.shape)).dim)
        if legacy_shape and [n for n in shape if n != 1] != [n for n in legacy_shape if n != 1]:
            raise Refusal(f"{key} has two shapes that contradict each other: {DAMAGED}")
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise Refusal(f"{key} has a negative dimension or more than {MAX_RANK}: {DAMAGED}")
    return shape


def _squeeze(dims: list[int], layer_type: str, index: int, key: str) -> list[int]:
    if len(dims) != 4 or layer_type not in INNER_PRODUCT | CONVOLUTION or index > 1:
        return dims
    if index == 0 and layer_type in CONVOLUTION:
        return dims
    rank = 2 - index
    if any(size != 1 for size in dims[: 4 - rank]):
        raise Refusal(f"{key} is {'x'.join(map(str, dims))}, no shape that Caffe gives it: {DAMAGED}")
    return dims[4 - rank :]
