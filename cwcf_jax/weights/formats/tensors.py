"""What PyTorch's pickles speak of: storages, tensors in them, and the few functions by which they are made.

Nothing here imports or calls PyTorch; a function is a name and what it would do is done to inert descriptions.

Source: torch/_utils.py and torch/serialization.py of https://github.com/pytorch/pytorch.
"""

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from cwcf_jax.weights.formats.base import MAX_RANK, Refusal

DAMAGED = "the file is damaged or was cut off; fetch it again"
STORAGES = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
REBUILDS = {  # function: how many of its arguments say where the tensor lies
    "torch._utils._rebuild_tensor": range(4, 5),
    "torch._utils._rebuild_tensor_v2": range(6, 8),
}
PARAMETERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
ORDERED = "collections.OrderedDict"
SIZE = "torch.Size"
ALLOWED = {ORDERED, SIZE, *STORAGES, *REBUILDS, *PARAMETERS}


@dataclasses.dataclass(frozen=True, eq=False)
class Symbol:
    """A global's name; nothing is imported."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A piece of memory that tensors share, named in the pickle and kept elsewhere in the file."""

    dtype: np.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor's place within a storage, in elements; checked to lie within it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def put(table: dict[Any, Any], key: object, value: object) -> None:
    """Adds an item to a table."""
    if not isinstance(key, str | int) or key in table:
        raise Refusal(f"its pickle has a table with a key twice or of a strange type: {DAMAGED}")
    table[key] = value


def reduced(function: str, arguments: tuple[Any, ...]) -> Any:
    """What calling the function would give."""
    if function == ORDERED and len(arguments) <= 1:
        table: dict[Any, Any] = {}
        for pair in arguments[0] if arguments and isinstance(arguments[0], list) else ():
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
            put(table, *pair)
        return table
    if function == SIZE and len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        return tuple(arguments[0])
    if function in PARAMETERS and len(arguments) in (3, 4) and isinstance(arguments[0], Tensor):
        return arguments[0]
    if len(arguments) in REBUILDS.get(function, ()):
        return _tensor(*arguments[:4])
    raise Refusal(f"its pickle calls {function} with the wrong arguments: {DAMAGED}")


def _sizes(numbers: object) -> bool:
    """Whether these are a tensor's sizes or strides."""
    return (
        isinstance(numbers, tuple)
        and len(numbers) <= MAX_RANK
        and all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)
    )


def _tensor(storage: object, offset: object, shape: Any, strides: Any) -> Tensor:
    if not (isinstance(storage, Storage) and _sizes((offset,)) and _sizes(shape) and _sizes(strides)):
        raise Refusal(f"a tensor in it is not described as torch.save does: {DAMAGED}")
    assert isinstance(offset, int)
    count, last = 1, offset
    for size, stride in zip(shape, strides, strict=False):
        count *= size
        last += (size - 1) * stride
    if len(shape) != len(strides) or offset > storage.count or (count and last >= storage.count):
        raise Refusal(f"a tensor in it reaches beyond its storage: {DAMAGED}")
    if count > storage.count:
        raise Refusal("a tensor in it repeats its values (torch.expand); save it after .contiguous()")
    return Tensor(storage, offset, shape, strides)


def storage(identity: object) -> Storage:
    """The storage of a persistent id ``("storage", type, key, location, count[, view])``."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Refusal(f"its pickle refers to something that is no storage: {DAMAGED}")
    kind, key, count = identity[1], identity[2], identity[4]
    if len(identity) == 6 and identity[5] is not None:
        raise Refusal("its storages are views of each other (PyTorch 0.1); load it there and save it again")
    if not (isinstance(kind, Symbol) and kind.name in STORAGES and isinstance(key, str) and _sizes((count,))):
        raise Refusal(f"its pickle refers to a storage of an unknown kind: {DAMAGED}")
    return Storage(STORAGES[kind.name], key, count)
