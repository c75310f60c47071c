"""Read pickles of plain data without running anything that they name.

Unpickling calls whatever a file names. `load` looks every name up in a table of the caller's stand-ins and refuses all
others. It extends Python's own unpickler in its pure-Python form and not the one in C, which takes 32 GB for one opcode
(``LONG_BINPUT`` with a large index) and hashes tuples of doubled tuples for ever; neither can be stopped from outside.

Source of the opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py.
"""

import io
import mmap
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_READS = 2_000_000
"""Largest number of reads from one pickle: an opcode takes one to three, an array some sixty."""

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
    """A pickle that is not read; the message says why, without the file's name."""


class UnsafePickleError(PickleError):
    """A pickle that names something that is not allowed, and might run code."""


Stream = io.BytesIO | mmap.mmap
"""A source of bytes whose reads allocate no more than there is."""


def load(
    stream: Stream, names: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Return the object that the pickle at the stream's position describes, and leave the stream behind its end.

    Args:
        stream: where the pickle starts.
        names: what stands in for each allowed ``module.name``. A pickle can call it with any arguments, and can hand
            a state to ``__setstate__`` of what it returns; nothing else of it is reached.
        persistent: what stands in for a persistent id; None: the pickle must not hold any. It and the stand-ins may
            raise PickleError.

    Raises:
        UnsafePickleError: another name, or an opcode that data do not need.
        PickleError: too long, cut off or damaged.
    """
    try:
        return _Unpickler(stream, names, persistent).load()
    except PickleError:
        raise
    except Exception as error:  # a damaged pickle drives the machine into nearly anything
        raise PickleError(f"its pickle is damaged or was cut off ({type(error).__name__}: {error!s:.100})") from error


class _Limited:
    """A stream that ends a pickle of too many opcodes."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self._left = MAX_READS

    def read(self, size: int) -> bytes:
        self._count()
        return self._stream.read(size)

    def readline(self) -> bytes:
        self._count()
        return self._stream.readline()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise PickleError(f"its pickle is longer than the {MAX_READS} reads that data need")


class _Opcodes(dict[int, Any]):
    """The methods of the allowed opcodes by their byte."""

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
        super().__init__(_Limited(stream), encoding="latin-1")  # of Python 2's strings
        self._names = names
        self._persistent = persistent

    def find_class(self, module: str, name: str, /) -> Any:
        full = f"{module}.{name}"
        if full not in self._names:
            printable = ascii(full[:100]).strip("'")
            raise UnsafePickleError(f"refused, because loading it would run {printable}")
        return self._names[full]

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise PickleError("its pickle refers to something outside of it")
        return self._persistent(pid)

    def load_frame(self) -> None:
        self.read(8)  # a frame only says how much could be read at once

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # the inherited one allocates first

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or function not in self._names.values():
            raise PickleError("its pickle calls something that is no function")
        self.append(function(*arguments))

    def load_build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if not isinstance(built, dict):  # which has attributes beside its items in an OrderedDict: they are dropped
            built.__setstate__(state)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(filled({}, items))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        filled(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        filled(self.stack[-1], items)

    for _method in (load_frame, load_bytearray8, load_reduce, load_build, load_dict, load_setitem, load_setitems):
        dispatch[ord(getattr(pickle, _method.__name__.removeprefix("load_").upper()))] = _method


def filled(table: Any, items: list[Any]) -> dict[Any, Any]:
    """Add keys and values, which take turns, to a dict; only keys whose hash takes no time are allowed."""
    if type(table) is not dict or len(items) % 2:
        raise PickleError("its pickle is inconsistent")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not (isinstance(key, str | bytes) or (type(key) is int and key.bit_length() <= 64)) or key in table:
            raise PickleError("its pickle has a table with a key twice or of a strange type")
        table[key] = value
    return table
