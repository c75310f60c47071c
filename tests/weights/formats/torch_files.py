"""This module writes PyTorch files, valid or not, with any globals, tensors and parts in their pickles."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Reduced:
    """A `Reduced` is pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class Global:
    """A `Global` is pickled as a global of any name, by the text opcode of protocol 2."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """A `Pickler` writes globals and persistent ids as torch.save does; the Python version can write anything."""

    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, PersistentStorage) else None

    def save_named_global(self, obj):
        self.write(f"c{obj.module}\n{obj.name}\n".encode())

    def save_reduced(self, call):
        function, arguments = call._call
        self.save(function)
        self.save(arguments)
        self.write(b"R")

    dispatch = {**pickle._Pickler.dispatch, Global: save_named_global, Reduced: save_reduced}  # noqa: RUF012


class PersistentStorage:
    """A `PersistentStorage` is pickled as the persistent id of a storage."""

    def __init__(self, count, key="0", storage_type="FloatStorage", name="storage", tail=()):
        self.identity = (name, Global("torch", storage_type), key, "cpu", count, *tail)


def pickled(value):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def tensor(offset, shape, strides, count=12, **options):
    function = Global("torch._utils", "_rebuild_tensor_v2")
    return Reduced(function, PersistentStorage(count, **options), offset, shape, strides, False, OrderedDict())


def zipped(pickled, storages=None, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, content in (storages or {"0": np.arange(12, dtype="<f4").tobytes()}).items():
            archive.writestr(f"net/data/{key}", content)
        for name, content in members.items():
            archive.writestr(f"net/{name.replace('_pkl', '.pkl')}", content)
    return buffer.getvalue()


def legacy_file(*, changed=None, tail=None):
    """Returns a legacy file of five pickles, with the pickles in ``changed`` replaced."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    state = OrderedDict(a=tensor(0, (3, 4), (4, 1)))
    parts = [pickle.dumps(value, 2) for value in (MAGIC, 1001, system)] + [pickled({**state}), pickle.dumps(["0"], 2)]
    for index, content in (changed or {}).items():
        parts[index] = content
    return b"".join(parts) + (struct.pack("<q", 12) + np.arange(12, dtype="<f4").tobytes() if tail is None else tail)
