"""PyTorch's ``.pth`` and ``.pt`` files of tensors, read without PyTorch and without running their pickles.

Source: torch/serialization.py of https://github.com/pytorch/pytorch. Since 1.6 a file is a zip archive with a pickle
``<name>/data.pkl`` and a member ``<name>/data/<key>`` per storage; before, it was five pickles (a magic number, a
version, facts about the machine, the object, the storages' keys), then each storage's length and bytes.
"""

import math
import pathlib
from typing import Any

import numpy as np

from cwcf_jax.weights.formats.archives import Archive
from cwcf_jax.weights.formats.base import Refusal, Source, looks_like, mapped, text, view
from cwcf_jax.weights.formats.pickles import Window, parse
from cwcf_jax.weights.formats.tensors import DAMAGED, Storage, Tensor

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
MAX_PICKLE = 64 << 20
REPEATED = 4  # tensors may share storages (tied weights), but not fill more than this many times the file


def read(path: pathlib.Path) -> Source:
    """The tensors of a state dict; those of ``{"state_dict": ...}`` and the like without the wrapper."""
    data = mapped(path)
    if bytes(data[:4]) == b"PK\x03\x04":
        notes = {"layout": "zip"}
        archive, prefix = _archive(data)
        window = Window(archive.read(f"{prefix}data.pkl"))
        storages: dict[str, Storage] = {}
        state = _state(parse(window, storages), notes)
        if window.position != len(window.data):
            raise Refusal(f"something follows its pickle: {DAMAGED}")
        used = {tensor.storage.key for tensor in state.values()}
        buffers = {key: _zip_storage(archive, prefix, storages[key]) for key in sorted(used)}
    elif bytes(data[:1]) == b"\x80":
        notes = {"layout": "legacy"}
        window = Window(data)
        _legacy_header(window)
        storages = {}
        state = _state(parse(window, storages), notes)
        buffers = _legacy_storages(window, storages)
    else:
        way = "; load it with PyTorch 0.1 and save it again" if bytes(data[257:262]) == b"ustar" else ""
        raise Refusal(f"not a file of torch.save: it looks like {looks_like(data)}{way}")
    total = sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in state.values())
    if total > REPEATED * max(len(data), sum(len(buffer) for buffer in buffers.values())):
        raise Refusal(f"its tensors repeat each other and would fill {total} bytes; save them after .clone()")
    return Source("torch", {key: _array(tensor, buffers, key) for key, tensor in state.items()}, notes)


def _array(tensor: Tensor, buffers: dict[str, memoryview], key: str) -> np.ndarray:
    storage = tensor.storage
    flat = view(buffers[storage.key], 0, storage.dtype, (storage.count,), f"the storage of {key}")
    strides = [stride * storage.dtype.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)


def _state(tree: Any, notes: dict[str, str]) -> dict[str, Tensor]:
    """The tensors of ``tree`` by name; what was unwrapped or left out goes to ``notes``."""
    for _ in range(4):
        if isinstance(tree, dict) and any(isinstance(value, Tensor) for value in tree.values()):
            return _named(tree, notes)
        wrapped = [key for key in WRAPPERS if isinstance(tree, dict) and isinstance(tree.get(key), dict)]
        if len(wrapped) != 1:
            break
        notes["unwrapped"] = ".".join(filter(None, (notes.get("unwrapped"), wrapped[0])))
        tree = tree[wrapped[0]]
    found = f"a table of {[str(key)[:30] for key in list(tree)[:10]]!a}" if isinstance(tree, dict) else "no table"
    raise Refusal(f"it holds {found}, and not the tensors of one network; save model.state_dict() alone")


def _named(table: dict[Any, Any], notes: dict[str, str]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    others = []
    for key, value in table.items():
        name = text(str(key), "a tensor's name")
        if isinstance(value, Tensor):
            state[name] = value
        else:
            others.append(name)
    if len(state) + len(others) < len(table):
        raise Refusal(f"two of its tensors have the same name: {DAMAGED}")
    if others:
        notes["ignored"] = ", ".join(others[:20])
    if all(name.startswith("module.") and name != "module." for name in state):
        notes["stripped"] = "module."
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _archive(data: memoryview) -> tuple[Archive, str]:
    """The archive, and the folder within that holds everything."""
    archive = Archive(data)
    pickles = [name for name in archive.members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refusal("a zip archive, but not one of torch.save: it has no data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in archive.members:
        raise Refusal("a TorchScript program (torch.jit.save), which is code; save model.state_dict() instead")
    order = f"{prefix}byteorder"
    if order in archive.members and bytes(archive.read(order)) != b"little":
        raise Refusal("it was written on a big-endian machine; load it there and save it as safetensors")
    if archive.members[pickles[0]].size > MAX_PICKLE:
        raise Refusal("its pickle is longer than any network needs")
    return archive, prefix


def _zip_storage(archive: Archive, prefix: str, storage: Storage) -> memoryview:
    name = f"{prefix}data/{storage.key}"
    if name not in archive.members:
        raise Refusal(f"a storage is missing in the archive: {DAMAGED}")
    buffer = archive.read(name)
    if len(buffer) != storage.count * storage.dtype.itemsize:
        raise Refusal(f"{name} is not as long as its tensors say: {DAMAGED}")
    return buffer


def _legacy_header(window: Window) -> None:
    for number in (MAGIC, VERSION):
        found = parse(window)
        if not isinstance(found, int) or found != number:
            raise Refusal("a pickle, but not one of torch.save: it does not start with PyTorch's magic and version")
    system = parse(window)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refusal("it was written on a big-endian machine; load it there and save it as safetensors")


def _legacy_storages(window: Window, storages: dict[str, Storage]) -> dict[str, memoryview]:
    """The storages, one behind the other, in the order of the fifth pickle."""
    keys = parse(window)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise Refusal(f"its list of storages is not that of its tensors: {DAMAGED}")
    buffers = {}
    for key in keys:
        count = int.from_bytes(window.read(8), "little", signed=True)
        length = count * storages[key].dtype.itemsize
        if count != storages[key].count or length > len(window.data) - window.position:
            raise Refusal(f"a storage is not as long as its tensors say: {DAMAGED}")
        buffers[key] = window.data[window.position : window.position + length]
        window.position += length
    if window.position != len(window.data):
        raise Refusal(f"something follows its storages: {DAMAGED}")
    return buffers
