"""This module damages files at random, as transfers and attackers do; a seed makes the damage repeatable."""

import dataclasses
import os
import pathlib
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yields ``count`` damaged copies of ``data``, all different from ``data``.

    The functions in `KINDS` take turns. Half of the positions are in the first or last kilobytes, where formats store
    sizes.

    Args:
        data: content of a complete file, at least 16 bytes.
        count: number of copies.
        seed: seed of the damage; equal seeds give equal copies.
    """
    generator = np.random.default_rng(seed)
    yielded = 0
    for turn in range(100 * count):
        damaged = KINDS[turn % len(KINDS)](data, generator)
        if damaged != data:
            yield damaged
            yielded += 1
        if yielded == count:
            return
    raise AssertionError("no damaged copy differs from the data")


def _position(data: bytes, generator: np.random.Generator) -> int:
    part = generator.integers(4)
    edge = min(len(data), 2048)
    if part == 0:
        return int(generator.integers(edge))
    if part == 1:
        return len(data) - 1 - int(generator.integers(edge))
    return int(generator.integers(len(data)))


def _length(data: bytes, generator: np.random.Generator) -> int:
    """Returns a random length, uniform on a logarithmic scale."""
    return int(min(len(data), 2 ** generator.uniform(0, np.log2(len(data)))))


def flip_bit(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    copy[_position(data, generator)] ^= 1 << int(generator.integers(8))
    return bytes(copy)


def flip_bits(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    for _ in range(int(generator.integers(2, 40))):
        copy[_position(data, generator)] ^= 1 << int(generator.integers(8))
    return bytes(copy)


def set_byte(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    copy[_position(data, generator)] = int(generator.integers(256))
    return bytes(copy)


def truncate(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: _position(data, generator)]


def insert(data: bytes, generator: np.random.Generator) -> bytes:
    position = _position(data, generator)
    return data[:position] + generator.bytes(min(_length(data, generator), 4096)) + data[position:]


def delete(data: bytes, generator: np.random.Generator) -> bytes:
    position = _position(data, generator)
    return data[:position] + data[position + _length(data, generator) :]


def edit_number(data: bytes, generator: np.random.Generator) -> bytes:
    """Replaces a number of 1, 2, 4 or 8 bytes by an edge case, or by a value close to the old one."""
    width = 2 ** int(generator.integers(4))
    position = min(_position(data, generator), len(data) - width)
    order = ("little", "little", "big")[generator.integers(3)]
    old = int.from_bytes(data[position : position + width], order)
    number = (*NUMBERS, old + 1, old - 1, 2 * old, len(data))[generator.integers(len(NUMBERS) + 4)]
    return data[:position] + (number % (1 << 8 * width)).to_bytes(width, order) + data[position + width :]


def _run(data: bytes, generator: np.random.Generator, byte: bytes) -> bytes:
    position = _position(data, generator)
    end = min(len(data), position + _length(data, generator))
    return data[:position] + byte * (end - position) + data[end:]


def zeros(data: bytes, generator: np.random.Generator) -> bytes:
    return _run(data, generator, b"\0")


def ones(data: bytes, generator: np.random.Generator) -> bytes:
    return _run(data, generator, b"\xff")


def splice(data: bytes, generator: np.random.Generator) -> bytes:
    """Copies a part of the file over another part."""
    source, target = _position(data, generator), _position(data, generator)
    part = data[source : source + _length(data, generator)]
    return data[:target] + part + data[target + len(part) :]


def repeat(data: bytes, generator: np.random.Generator) -> bytes:
    """Repeats a part of the file."""
    position = _position(data, generator)
    end = position + min(_length(data, generator), 4096)
    return data[:end] + data[position:end] + data[end:]


def append(data: bytes, generator: np.random.Generator) -> bytes:
    return data + generator.bytes(int(generator.integers(1, 300)))


KINDS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    edit_number,
    flip_bit,
    truncate,
    edit_number,
    insert,
    splice,
    flip_bits,
    delete,
    set_byte,
    edit_number,
    zeros,
    ones,
    repeat,
    append,
)


@dataclasses.dataclass
class Survey:
    """A `Survey` summarises how a reader treated damaged files.

    Attributes:
        read: number of files that were read despite the damage.
        refused: number of files that were refused.
        seconds: largest processor time for a file, in seconds, with child processes.
        peak: largest memory for a file, in bytes, as allocated by Python and NumPy.
    """

    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    peak: int = 0


def survive(
    read: Callable[[pathlib.Path], Mapping[str, np.ndarray]],
    file: pathlib.Path,
    copies: Iterable[bytes],
    refusal: type[Exception],
) -> Survey:
    """Checks that a reader returns arrays for each damaged file, or refuses the file with its path in the message.

    Any other exception or warning raises an AssertionError with the path of a copy of the file.

    Args:
        read: the reader.
        file: path for the damaged files; the suffix selects the format.
        copies: contents of the damaged files.
        refusal: exception that the reader may raise.
    """
    survey = Survey()
    for number, content in enumerate(copies):
        file.write_bytes(content)
        tracemalloc.start()
        started = sum(os.times()[:4])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                arrays = read(file)
            for key, array in arrays.items():
                assert isinstance(key, str), key
                assert array.size == np.ascontiguousarray(array).size == np.prod(array.shape), array.shape
            survey.read += 1
        except refusal as error:
            assert str(error).startswith(str(file)), error
            survey.refused += 1
        except BaseException as error:
            saved = file.with_name(f"damaged_{number}_{file.name}")
            saved.write_bytes(content)
            raise AssertionError(f"{error!r} at {saved}") from error
        finally:
            survey.seconds = max(survey.seconds, sum(os.times()[:4]) - started)
            survey.peak = max(survey.peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    print(f"{file.suffix}: {survey}")
    return survey
