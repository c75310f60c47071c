"""This module reads tensors from PyTorch's ``.pth`` and ``.pt`` files, without PyTorch and without running pickles.

Source: torch/serialization.py and torch/_utils.py of https://github.com/pytorch/pytorch. Since 1.6 a file is a zip
archive with a pickle ``<name>/data.pkl`` and a member ``<name>/data/<key>`` for each storage. An older file has five
pickles (a magic number, a version, facts about the machine, the object, the storages' keys), followed by length and
bytes of each storage.
"""

import dataclasses
import io
import math
import mmap
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from cwcf_jax import safe_pickle
from cwcf_jax.networks.npz import check_members
from cwcf_jax.safe_pickle import PickleError, UnsafePickleError
from cwcf_jax.weights.formats.base import DAMAGED, MAX_NAME_CHARS, Refusal, WeightsFile, identify

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
MAX_PICKLE_BYTES = 64 << 20
MAX_RANK = 16
MAX_EXPANSION = 4  # bytes of all tensors per byte of the file; tied weights share storages
ADVICE = (
    "Pickles can run code, so only dicts of tensors are read. If the file is trusted and holds a whole model or more "
    "than weights, load it with the program that made it and save model.state_dict() alone"
)
DTYPES: dict[str, Any] = {
    "Float": "<f4",
    "Double": "<f8",
    "Half": "<f2",
    "BFloat16": ml_dtypes.bfloat16,
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A `Storage` is a piece of memory that tensors may share; its bytes are outside the pickle."""

    dtype: np.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A `Tensor` has offset, shape and strides within a storage, in elements; `_tensor` checks the bounds."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: pathlib.Path) -> WeightsFile:
    """Reads the tensors of a state dict; wrappers such as ``{"state_dict": ...}`` are removed."""
    with path.open("rb") as file:
        head = file.read(262)
    notes: dict[str, str] = {}
    try:
        if head[:4] == b"PK\x03\x04":
            notes["layout"] = "zip"
            state, buffers = _read_zip(path, notes)
        elif head[:1] == b"\x80":
            notes["layout"] = "legacy"
            state, buffers = _read_legacy(path, notes)
        else:
            advice = "; load it with PyTorch 0.1 and save it again" if head[257:262] == b"ustar" else ""
            raise Refusal(f"not a file of torch.save: it looks like {identify(path)}{advice}")
    except PickleError as error:
        raise Refusal(f"{error}. {ADVICE}" if isinstance(error, UnsafePickleError) else str(error)) from error
    total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in state.values())
    if total > MAX_EXPANSION * max(path.stat().st_size, sum(buffer.nbytes for buffer in buffers.values())):
        raise Refusal(f"its tensors repeat each other and would fill {total} bytes; save them after .clone()")
    return WeightsFile(
        "torch", {key: _array(tensor, buffers[tensor.storage.key]) for key, tensor in state.items()}, notes
    )


def _array(tensor: Tensor, buffer: memoryview) -> np.ndarray:
    flat = np.frombuffer(buffer, tensor.storage.dtype)
    strides = [stride * flat.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _read_zip(path: pathlib.Path, notes: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, memoryview]]:
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive)
            prefix = _check_archive(archive)
            storages: dict[str, Storage] = {}
            stream = io.BytesIO(archive.read(f"{prefix}data.pkl"))
            state = _find_state_dict(_load(stream, storages), notes)
            if stream.read(1):
                raise Refusal(f"there is data after its pickle: {DAMAGED}")
            used = sorted({tensor.storage.key for tensor in state.values()})
            return state, {key: _zip_storage(archive, f"{prefix}data/{key}", storages[key]) for key in used}
    except (Refusal, PickleError):
        raise
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        raise Refusal(f"its archive cannot be read ({error}): {DAMAGED}") from error


def _check_archive(archive: zipfile.ZipFile) -> str:
    """Checks the members of an archive and returns the prefix of their names, a folder."""
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refusal("a zip archive, but not one of torch.save: it has no data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in names:
        raise Refusal("a TorchScript program (torch.jit.save), which is code; save model.state_dict() instead")
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise Refusal("its members are compressed, which torch.save does not do: they could expand without end")
    order = f"{prefix}byteorder"
    if order in names and archive.read(order) != b"little":
        raise Refusal("it was written on a big-endian machine; load it there and save it as safetensors")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        raise Refusal("its pickle is longer than any network needs")
    return prefix


def _zip_storage(archive: zipfile.ZipFile, name: str, storage: Storage) -> memoryview:
    if name not in archive.namelist():
        raise Refusal(f"a storage is missing in the archive: {DAMAGED}")
    if archive.getinfo(name).file_size != storage.count * storage.dtype.itemsize:
        raise Refusal(f"{name} is not as long as its tensors say: {DAMAGED}")
    return memoryview(archive.read(name))


def _read_legacy(path: pathlib.Path, notes: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, memoryview]]:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for number in (MAGIC, VERSION):
        if _load(mapped) != number:
            raise Refusal("a pickle, but not one of torch.save: it does not start with PyTorch's magic and version")
    system = _load(mapped)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refusal("it was written on a big-endian machine; load it there and save it as safetensors")
    storages: dict[str, Storage] = {}
    state = _find_state_dict(_load(mapped, storages), notes)
    keys = _load(mapped)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise Refusal(f"its list of storages does not fit its tensors: {DAMAGED}")
    data, position = memoryview(mapped), mapped.tell()
    buffers = {}
    for key in keys:
        count, start = int.from_bytes(data[position : position + 8], "little", signed=True), position + 8
        position = start + storages[key].count * storages[key].dtype.itemsize
        if count != storages[key].count or position > len(data):
            raise Refusal(f"a storage is not as long as its tensors say: {DAMAGED}")
        buffers[key] = data[start:position]
    if position != len(data):
        raise Refusal(f"there is data after its storages: {DAMAGED}")
    return state, buffers


def _load(stream: safe_pickle.Stream, storages: dict[str, Storage] | None = None) -> Any:
    """Reads one pickle and adds its storages to ``storages``; if that is None, the pickle must not name storages."""
    persistent = None if storages is None else lambda identity: _storage(identity, storages)
    return safe_pickle.load(stream, STAND_INS, persistent)


def _find_state_dict(tree: Any, notes: dict[str, str]) -> dict[str, Tensor]:
    """Returns the tensors of ``tree`` by name; adds the names of wrappers and ignored entries to ``notes``."""
    for _ in range(4):
        if isinstance(tree, dict) and any(isinstance(value, Tensor) for value in tree.values()):
            return _tensors_by_name(tree, notes)
        wrapped = [key for key in WRAPPERS if isinstance(tree, dict) and isinstance(tree.get(key), dict)]
        if len(wrapped) != 1:
            break
        notes["unwrapped"] = ".".join(filter(None, (notes.get("unwrapped"), wrapped[0])))
        tree = tree[wrapped[0]]
    content = f"a table of {[str(key)[:30] for key in list(tree)[:10]]!a}" if isinstance(tree, dict) else "no table"
    raise Refusal(f"it holds {content}, and not the tensors of one network; save model.state_dict() alone")


def _tensors_by_name(table: dict[Any, Any], notes: dict[str, str]) -> dict[str, Tensor]:
    state = {str(key): value for key, value in table.items() if isinstance(value, Tensor)}
    others = [str(key) for key, value in table.items() if not isinstance(value, Tensor)]
    if len(state) + len(others) < len(table):
        raise Refusal(f"two of its tensors have the same name: {DAMAGED}")
    if others:
        notes["ignored"] = "".join(filter(str.isprintable, ", ".join(others[:20])))[:MAX_NAME_CHARS]
    if all(name.startswith("module.") and name != "module." for name in state):
        notes["stripped"] = "module."
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _are_sizes(*numbers: Any) -> bool:
    """Returns whether the numbers can be sizes or strides of a tensor."""
    return len(numbers) <= MAX_RANK and all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)


def _storage(identity: Any, storages: dict[str, Storage]) -> Storage:
    """Returns the storage of a persistent id ``("storage", type, key, location, count[, view])``."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise PickleError(f"its pickle refers to something that is no storage: {DAMAGED}")
    storage_type, key, count = identity[1], identity[2], identity[4]
    if len(identity) == 6 and identity[5] is not None:
        raise PickleError("its storages are views of each other (PyTorch 0.1); load it there and save it again")
    if not isinstance(storage_type, _StorageType) or not isinstance(key, str) or not _are_sizes(count):
        raise PickleError(f"its pickle refers to a storage of an unknown kind: {DAMAGED}")
    storage = storages.setdefault(key, Storage(storage_type.dtype, key, count))
    if (storage.dtype, storage.count) != (storage_type.dtype, count):
        raise PickleError(f"a storage is described in two ways: {DAMAGED}")
    return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    has_types = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    if not (has_types and _are_sizes(offset) and _are_sizes(*shape) and _are_sizes(*strides)):
        raise PickleError(f"a tensor in it is not described as torch.save does: {DAMAGED}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=False))
    count = math.prod(shape)
    if len(shape) != len(strides) or offset > storage.count or (count and last >= storage.count):
        raise PickleError(f"a tensor in it reaches beyond its storage: {DAMAGED}")
    if count > storage.count:
        raise PickleError("a tensor in it repeats its values (torch.expand); save it after .contiguous()")
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise PickleError(f"a parameter in it is no tensor: {DAMAGED}")
    return tensor


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Makes a dict of the list of pairs that Python 2 writes for an OrderedDict."""
    return safe_pickle.fill_dict({}, [item for key, value in pairs for item in (key, value)])


def _size(sizes: Any) -> tuple[Any, ...]:
    return tuple(sizes) if isinstance(sizes, tuple | list) else ()


@dataclasses.dataclass(frozen=True, eq=False)
class _StorageType:
    """A `_StorageType` stands in for a type of storage, such as ``torch.FloatStorage``."""

    dtype: np.dtype

    def __call__(self, *_: Any) -> None:
        raise PickleError(f"its pickle calls a type of storage: {DAMAGED}")


STAND_INS: dict[str, Callable[..., Any]] = {
    **{f"torch.{name}Storage": _StorageType(np.dtype(dtype)) for name, dtype in DTYPES.items()},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
}
