"""What a pickle of PyTorch's says, without running it.

Unpickling calls whatever a file names. Here the opcodes are walked with the tables of `pickletools`, and nothing is
called: the few opcodes with which `torch.save` writes dicts of tensors build dicts, lists and tuples; a global is only
ever a name, looked up in a table of this module; everything else is refused by name.

Source: https://github.com/python/cpython/blob/main/Lib/pickletools.py.
"""

import pickletools
import struct
from typing import Any

from cwcf_jax.weights.formats.base import Refusal
from cwcf_jax.weights.formats.tensors import ALLOWED, DAMAGED, Storage, Symbol, put, reduced, storage

MAX_OPCODES = 300_000  # a tensor takes about forty
MAX_LINE = 1024
OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
WAY_OUT = (
    "Pickles can run code, so only dicts of tensors are read. If the file is trusted and holds a whole model or more "
    "than weights, load it where it was made and save model.state_dict() alone"
)


class Window:
    """What `pickletools` reads from: refuses before it allocates.

    Args:
        data: the bytes.
        position: where the pickle starts.
    """

    def __init__(self, data: memoryview, position: int = 0):
        self.data = data
        self.position = position

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        if count < 0 or self.position + count > len(self.data):
            raise Refusal(f"its pickle is incomplete: {DAMAGED}")
        self.position += count
        return bytes(self.data[self.position - count : self.position])

    def readline(self) -> bytes:
        """The next line, with its end."""
        line = bytes(self.data[self.position : self.position + MAX_LINE])
        end = line.find(b"\n") + 1
        if not end:
            raise Refusal(f"a name in its pickle does not end: {DAMAGED}")
        self.position += end
        return line[:end]


class _Mark:
    """Where a tuple, list or dict starts on the stack."""


def parse(window: Window, storages: dict[str, Storage] | None = None) -> Any:
    """The object that the pickle at ``window`` describes; the window is left behind its end.

    Args:
        window: the bytes.
        storages: takes up the storages that the pickle refers to; without it, it must not refer to any.
    """
    return _Machine(window, storages).run()


class _Machine:
    def __init__(self, window: Window, storages: dict[str, Storage] | None):
        self._window = window
        self._storages = storages
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_OPCODES):
            code = self._window.read(1)
            opcode = OPCODES.get(code.decode("latin-1"))
            if opcode is None or (not hasattr(self, f"op_{opcode.name.lower()}") and opcode.name not in CONSTANTS):
                name = opcode.name if opcode else f"0x{code.hex()}"
                raise Refusal(f"its pickle uses {name}, which torch.save does not need for weights. {WAY_OUT}")
            try:
                plain = opcode.arg is not None and opcode.name != "GLOBAL"  # whose reader interprets escapes
                argument = opcode.arg.reader(self._window) if plain else None  # type: ignore[arg-type,union-attr]
            except (ValueError, OverflowError, struct.error, IndexError):
                raise Refusal(f"its pickle has a broken {opcode.name}: {DAMAGED}") from None
            if opcode.name == "STOP":
                return self._pop()
            if opcode.name in CONSTANTS:
                self._stack.append(CONSTANTS[opcode.name] if opcode.arg is None else argument)
            else:
                getattr(self, f"op_{opcode.name.lower()}")(argument)
        raise Refusal("its pickle is longer than any network needs")

    def _pop(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        return self._stack[-1]

    def _marked(self) -> list[Any]:
        items: list[Any] = []
        while self._stack:
            item = self._stack.pop()
            if isinstance(item, _Mark):
                return items[::-1]
            items.append(item)
        raise Refusal(f"its pickle is inconsistent: {DAMAGED}")

    def op_stop(self, _: None) -> None: ...

    def op_proto(self, version: int) -> None:
        if version > 5:
            raise Refusal(f"its pickle is of version {version}: {DAMAGED}")

    def op_frame(self, _: int) -> None: ...

    def op_mark(self, _: None) -> None:
        self._stack.append(_Mark())

    def op_empty_dict(self, _: None) -> None:
        self._stack.append({})

    def op_empty_list(self, _: None) -> None:
        self._stack.append([])

    def op_tuple(self, _: None) -> None:
        self._stack.append(tuple(self._marked()))

    def op_tuple1(self, _: None) -> None:
        self._stack.append((self._pop(),))

    def op_tuple2(self, _: None) -> None:
        second = self._pop()
        self._stack.append((self._pop(), second))

    def op_tuple3(self, _: None) -> None:
        third, second = self._pop(), self._pop()
        self._stack.append((self._pop(), second, third))

    def op_binput(self, index: int) -> None:
        self._memo[index] = self._top(object)

    op_long_binput = op_binput

    def op_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._top(object)

    def op_binget(self, index: int) -> None:
        if index not in self._memo:
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        self._stack.append(self._memo[index])

    op_long_binget = op_binget

    def op_append(self, _: None) -> None:
        item = self._pop()
        self._top(list).append(item)

    def op_appends(self, _: None) -> None:
        items = self._marked()
        self._top(list).extend(items)

    def op_setitem(self, _: None) -> None:
        value, key = self._pop(), self._pop()
        put(self._top(dict), key, value)

    def op_setitems(self, _: None) -> None:
        items = self._marked()
        if len(items) % 2:
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(self._top(dict), key, value)

    def op_global(self, _: None) -> None:
        module, name = (self._window.readline()[:-1].decode("latin-1") for _ in range(2))
        self._symbol(f"{module}.{name}")

    def op_stack_global(self, _: None) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        self._symbol(f"{module}.{name}")

    def _symbol(self, name: str) -> None:
        if name not in ALLOWED:
            printable = ascii(name[:100]).strip("'")
            raise Refusal(f"loading it would run {printable}. {WAY_OUT}")
        self._stack.append(Symbol(name))

    def op_binpersid(self, _: None) -> None:
        found = storage(self._pop())
        if self._storages is None:
            raise Refusal(f"its pickle refers to a storage in the wrong place: {DAMAGED}")
        known = self._storages.setdefault(found.key, found)
        if (known.dtype, known.count) != (found.dtype, found.count):
            raise Refusal(f"a storage is described in two ways: {DAMAGED}")
        self._stack.append(known)

    def op_build(self, _: None) -> None:
        self._pop()  # what an OrderedDict has beside its items: state_dict's _metadata
        self._top(dict)

    def op_reduce(self, _: None) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple) or not isinstance(function, Symbol):
            raise Refusal(f"its pickle is inconsistent: {DAMAGED}")
        self._stack.append(reduced(function.name, arguments))


CONSTANTS: dict[str, Any] = dict.fromkeys(
    (
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
    )
) | {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
