"""This module reads pickles of plain data without running the functions that a pickle names.

Python's `pickle` calls every function that a file names. `load` looks up each name in a table of the caller's
stand-ins, and refuses all other names. `load` extends the pure-Python unpickler. The unpickler in C allocates 32 GB for
one opcode (``LONG_BINPUT`` with a large index) and hashes nested doubled tuples without end; neither can be
interrupted from outside.

Source of the opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py.
"""

import io
import mmap
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_READS = 2_000_000
"""The largest number of reads from one pickle. An opcode needs one to three reads, an array about sixty."""

_ALLOWED = {
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2"),
    *("LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT"),
    *("MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
}
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_INHERITED = pickle._Unpickler.dispatch


class PickleError(ValueError):
    """Raised for a pickle that cannot be read; the message says why, and leaves out the file's name."""


class UnsafePickleError(PickleError):
    """Raised for a pickle that uses a name or an opcode that is not allowed, and might therefore run code."""


Stream = io.BytesIO | mmap.mmap
"""A stream of bytes where a read never allocates more than the remaining bytes."""


def load(
    stream: Stream, names: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Reads one pickle and returns its object; the stream's position is then right after the pickle.

    Args:
        stream: a stream whose position is the start of the pickle.
        names: the stand-in for each allowed ``module.name``. A pickle can call a stand-in with any arguments, and can
            pass a state to ``__setstate__`` of the result. A pickle cannot do anything else with stand-ins. Stand-ins
            may raise PickleError.
        persistent: a function that turns a persistent id into an object, and may raise PickleError; None: a pickle
            with persistent ids is refused.

    Raises:
        UnsafePickleError: the pickle uses another name, or an opcode that data do not need.
        PickleError: the pickle is too long, cut off or damaged.
    """
    try:
        return _Unpickler(stream, names, persistent).load()
    except PickleError:
        raise
    except Exception as error:  # a damaged pickle makes the unpickler raise nearly any exception
        raise PickleError(f"its pickle is damaged or was cut off ({type(error).__name__}: {error!s:.100})") from error


class _LimitedStream:
    """A `_LimitedStream` raises an error when a pickle needs more than `MAX_READS` reads."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self._remaining_reads = MAX_READS

    def read(self, size: int) -> bytes:
        self._count()
        return self._stream.read(size)

    def readline(self) -> bytes:
        self._count()
        return self._stream.readline()

    def _count(self) -> None:
        self._remaining_reads -= 1
        if self._remaining_reads < 0:
            raise PickleError(f"its pickle is longer than the {MAX_READS} reads that data need")


class _Opcodes(dict[int, Any]):
    """An `_Opcodes` maps the byte of each allowed opcode to its method, and refuses all other opcodes."""

    def __missing__(self, code: int) -> Any:
        raise UnsafePickleError(f"its pickle uses {_NAMES.get(code, f'0x{code:02x}')}, which data do not need")


class _Unpickler(pickle._Unpickler):
    dispatch = _Opcodes({code: method for code, method in _INHERITED.items() if _NAMES[code] in _ALLOWED})
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self, stream: Stream, names: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None
    ):
        super().__init__(_LimitedStream(stream), encoding="latin-1")  # for the byte strings of Python 2
        self._names = names
        self._persistent = persistent

    def find_class(self, module: str, name: str, /) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in self._names:
            printable = ascii(full_name[:100]).strip("'")
            raise UnsafePickleError(f"refused, because loading it would run {printable}")
        return self._names[full_name]

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise PickleError("its pickle refers to something outside of it")
        return self._persistent(pid)

    def load_frame(self) -> None:
        self.read(8)  # the size of a frame only helps to read in large pieces

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # the inherited method allocates before it reads

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or function not in self._names.values():
            raise PickleError("its pickle calls something that is no function")
        self.append(function(*arguments))

    def load_build(self) -> None:
        state, instance = self.stack.pop(), self.stack[-1]
        if not isinstance(instance, dict):  # the state of an OrderedDict, its attributes, is dropped
            instance.__setstate__(state)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(fill_dict({}, items))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        fill_dict(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        fill_dict(self.stack[-1], items)

    for _method in (load_frame, load_bytearray8, load_reduce, load_build, load_dict, load_setitem, load_setitems):
        dispatch[ord(getattr(pickle, _method.__name__.removeprefix("load_").upper()))] = _method


def fill_dict(table: Any, items: list[Any]) -> dict[Any, Any]:
    """Adds items, keys and values in turn, to a dict and returns it; only keys that hash quickly are allowed."""
    if type(table) is not dict or len(items) % 2:
        raise PickleError("its pickle is inconsistent")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (isinstance(key, str | bytes) or (type(key) is int and key.bit_length() <= 64)) or key in table:
            raise PickleError("its pickle has a table with a key twice or of a strange type")
        table[key] = value
    return table
