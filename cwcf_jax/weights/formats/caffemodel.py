"""Caffe's ``.caffemodel``: a binary NetParameter, read from the protobuf wire format.

Sources: https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto for the field numbers,
https://protobuf.dev/programming-guides/encoding/ for the wire format, ``Blob::FromProto`` and ``Blob::ShapeEquals``
of Caffe for shapes. The fields are walked here, over the mapped file, and not with the protobuf package: the package
parses a model into objects that take two to three times its size, needs a schema compiled from a file of Caffe's, and
leaves the limits on what a hostile file may declare to its caller. Here the weights are views of the file.

Shapes. Until 2014 a blob had four numbers (num, channels, height, width), and smaller arrays were padded with ones in
front. By the type of its layer, never by its looks, the first blob of an inner product that is stored as 1 x 1 x O x I
becomes [O, I], and the second blob of an inner product or (de)convolution stored as 1 x 1 x 1 x N becomes [N]; anything
else of four dimensions in these places is refused, but for a convolution's weights: they stay [O, I / group, h, w].
Blobs of other types keep the shape they are stored with.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator

import numpy as np

from cwcf_jax.weights.formats.base import MAX_RANK, Refusal, Source, looks_like, mapped, text, view

VARINT, WIDE, BYTES, SHORT = 0, 1, 2, 5  # wire types
MAX_FIELDS = 1_000_000  # networks in circulation have some 10,000
MAX_BLOBS = 50_000
INNER_PRODUCT = {"InnerProduct", "innerproduct", "14"}
CONVOLUTION = {"Convolution", "Deconvolution", "conv", "4", "39"}
DAMAGED = "the file is damaged or was cut off; fetch it again"

Span = tuple[int, int]
Field = tuple[int, int, int, Span]  # number, wire type, value if it is a varint, where the content is


@dataclasses.dataclass
class Layer:
    """A layer as it stands in the file: ``type`` is a name, or in files of version 1 the number of an enum."""

    name: bytes
    type: str
    blobs: list[Span]
    form: str


class Walker:
    """Walks over the fields of messages.

    Args:
        data: the file.
    """

    def __init__(self, data: memoryview):
        self.data = data
        self._fields = 0

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The number at ``position`` and where it ends."""
        value = 0
        for index in range(10):
            if position + index >= end:
                break
            byte = self.data[position + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & (1 << 64) - 1, position + index + 1
        raise Refusal(f"a number in it does not end: {DAMAGED}")

    def fields(self, span: Span) -> Iterator[Field]:
        """The fields of the message in ``span``."""
        position, end = span
        while position < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise Refusal("it has more fields than any network: this is no .caffemodel, or a damaged one")
            tag, position = self.varint(position, end)
            number, wire = tag >> 3, tag & 7
            value, start = 0, position
            if wire == VARINT:
                value, position = self.varint(position, end)
            elif wire in (WIDE, SHORT):
                position += 8 if wire == WIDE else 4
            elif wire == BYTES:
                length, start = self.varint(position, end)
                position = start + length
            if wire not in (VARINT, WIDE, BYTES, SHORT) or not 0 < number < 1 << 29 or position > end:
                raise Refusal(f"no message of Caffe's: {DAMAGED} (it looks like {looks_like(self.data)})")
            yield number, wire, value, (start, position)


def read(path: pathlib.Path) -> Source:
    """The blobs of a ``.caffemodel``: ``<layer>/W``, ``<layer>/b``, and ``<layer>/<i>`` for further ones."""
    data = mapped(path)
    walker = Walker(data)
    arrays: dict[str, np.ndarray] = {}
    notes = {"form": ""}
    seen = set()
    for layer in _layers(walker, notes):
        name = text(layer.name, "the name of a layer")
        if name in seen:
            raise Refusal(f"two layers {name} have weights; it cannot be told which are meant")
        seen.add(name)
        notes["form"] = layer.form
        for index, span in enumerate(layer.blobs):
            key = f"{name}/{('W', 'b')[index] if index < 2 else index}"
            arrays[key] = _blob(walker, span, layer.type, index, key)
            if len(arrays) > MAX_BLOBS:
                raise Refusal("it has more arrays than any network: the file is damaged")
    if not arrays:
        raise Refusal(f"it holds no weights: it looks like {looks_like(data)}")
    return Source("caffe", arrays, notes)


def _layers(walker: Walker, notes: dict[str, str]) -> Iterator[Layer]:
    """The layers that have blobs; the network's name goes to ``notes``."""
    for number, wire, _, span in walker.fields((0, len(walker.data))):
        if wire != BYTES:
            continue
        if number == 1:
            notes["name"] = text(walker.data[slice(*span)], "the network's name") if span[0] < span[1] else ""
        elif number in (2, 100):
            layer = _layer(walker, span, "new" if number == 100 else "v1")
            if layer.blobs:
                yield layer


def _layer(walker: Walker, span: Span, form: str) -> Layer:
    """A LayerParameter, V1LayerParameter, or the V0LayerParameter within one."""
    name_field, type_field, blobs_field = {"new": (1, 2, 7), "v1": (4, 5, 6), "v0": (1, 2, 50)}[form]
    layer = Layer(b"", "", [], form)
    for number, wire, value, part in walker.fields(span):
        if number == name_field and wire == BYTES:
            layer.name = _short(walker, part)
        elif number == type_field and wire == (VARINT if form == "v1" else BYTES):
            layer.type = str(value) if form == "v1" else _short(walker, part).decode("latin-1")
        elif number == blobs_field and wire == BYTES:
            layer.blobs.append(part)
            if len(layer.blobs) > MAX_BLOBS:
                raise Refusal("a layer has more arrays than any network: the file is damaged")
        elif number == 1 and wire == BYTES and form == "v1":
            inner = _layer(walker, part, "v0")
            if inner.blobs:
                layer = dataclasses.replace(inner, blobs=inner.blobs + layer.blobs)
    return layer


def _short(walker: Walker, span: Span) -> bytes:
    if span[1] - span[0] > 4096:
        raise Refusal(f"a name in it is {span[1] - span[0]} bytes long: {DAMAGED}")
    return bytes(walker.data[slice(*span)])


class Values:
    """The numbers of a repeated field: one piece of the file, or a copy if they come in several."""

    def __init__(self, data: memoryview):
        self._data = data
        self._first: Span | None = None
        self._joined = bytearray()

    def add(self, span: Span) -> None:
        """Adds a packed piece."""
        if self._first is None and not self._joined:
            self._first = span
            return
        self._join()
        self._joined += self._data[slice(*span)]

    def add_run(self, start: int, end: int, size: int) -> int:
        """Adds unpacked numbers of ``size`` bytes, each behind the tag at ``start``; returns where they end."""
        self._join()
        step, tag, chunk = size + 1, self._data[start], 64
        while start + step <= end:
            count = min(chunk, (end - start) // step)
            records = np.frombuffer(self._data, np.uint8, count * step, start).reshape(count, step)
            other = np.flatnonzero(records[:, 0] != tag)
            same = int(other[0]) if len(other) else count
            self._joined += records[:same, 1:].tobytes()
            start += same * step
            if same < count:
                break
            chunk = min(2 * chunk, 1 << 16)
        return start

    def content(self) -> memoryview:
        """All of the numbers' bytes."""
        if self._first is not None:
            return self._data[slice(*self._first)]
        return memoryview(self._joined)

    def _join(self) -> None:
        if self._first is not None:
            self._joined += self._data[slice(*self._first)]
            self._first = None


def _blob(walker: Walker, span: Span, kind: str, index: int, key: str) -> np.ndarray:
    singles, doubles = Values(walker.data), Values(walker.data)
    old: dict[int, int] = {}
    shape: list[int] | None = None
    position = span[0]
    while position < span[1]:
        number, wire, value, part = next(walker.fields((position, span[1])))
        start, position = position, part[1]
        if number in (5, 8):
            values, size, lone = (singles, 4, SHORT) if number == 5 else (doubles, 8, WIDE)
            if wire == BYTES:
                values.add(part)
            elif wire == lone and part[0] == start + 1:
                position = values.add_run(start, span[1], size)
            else:
                raise Refusal(f"the values of {key} are not of Caffe's type: {DAMAGED}")
        elif 1 <= number <= 4 and wire == VARINT:
            old[number] = value
        elif number == 7 and wire == BYTES:
            shape = _shape(walker, part, shape or [])
    dims = _dims(old, shape, key)
    single, double = singles.content(), doubles.content()
    if len(single) and len(double):
        raise Refusal(f"{key} is there twice, in single and double precision: {DAMAGED}")
    dtype, content = (np.dtype("<f8"), double) if len(double) else (np.dtype("<f4"), single)
    if not len(content) or math.prod(dims) * dtype.itemsize != len(content):
        raise Refusal(f"{key} has {len(content) // dtype.itemsize} values, not as many as its shape says: {DAMAGED}")
    return view(content, 0, dtype, _squeezed(dims, kind, index, key), key)


def _shape(walker: Walker, span: Span, shape: list[int]) -> list[int]:
    for number, wire, value, part in walker.fields(span):
        if number != 1 or wire not in (VARINT, BYTES):
            continue
        position = part[0]
        while wire == BYTES and position < part[1] and len(shape) <= MAX_RANK:
            value, position = walker.varint(position, part[1])
            shape.append(value)
        if wire == VARINT:
            shape.append(value)
        if len(shape) > MAX_RANK:
            raise Refusal(f"a shape in it has more than {MAX_RANK} dimensions: {DAMAGED}")
    return shape


def _dims(old: dict[int, int], shape: list[int] | None, key: str) -> list[int]:
    """The stored shape: without any of its fields a single number, as Caffe has it."""
    legacy = [old.get(number, 0) for number in (1, 2, 3, 4)]
    if shape is None:
        return legacy if old else []
    if old and [size for size in shape if size != 1] != [size for size in legacy if size != 1]:
        raise Refusal(f"{key} has two shapes that contradict each other: {DAMAGED}")
    return shape


def _squeezed(dims: list[int], kind: str, index: int, key: str) -> list[int]:
    if len(dims) != 4 or kind not in INNER_PRODUCT | CONVOLUTION or index > 1:
        return dims
    if index == 0 and kind in CONVOLUTION:
        return dims
    keep = 2 - index
    if any(size != 1 for size in dims[: 4 - keep]):
        raise Refusal(f"{key} is {'x'.join(map(str, dims))}, no shape that Caffe gives it: {DAMAGED}")
    return dims[4 - keep :]
