"""Damage of the kinds that happen to files, and of the kinds that are done to them; seeded, and so repeatable."""

import dataclasses
import os
import pathlib
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """``count`` damaged copies of ``data``, none equal to it.

    The kinds take turns; half of the places are in the first or last kilobytes, where the formats keep their sizes.

    Args:
        data: a whole file; at least 16 bytes.
        count: how many copies.
        seed: the same seed gives the same copies.
    """
    generator = np.random.default_rng(seed)
    done = 0
    for turn in range(100 * count):
        damaged = KINDS[turn % len(KINDS)](data, generator)
        if damaged != data:
            yield damaged
            done += 1
        if done == count:
            return
    raise AssertionError("these data cannot be damaged")


def _place(data: bytes, generator: np.random.Generator) -> int:
    where = generator.integers(4)
    edge = min(len(data), 2048)
    if where == 0:
        return int(generator.integers(edge))
    if where == 1:
        return len(data) - 1 - int(generator.integers(edge))
    return int(generator.integers(len(data)))


def _length(data: bytes, generator: np.random.Generator) -> int:
    """A length, short ones as likely as long ones."""
    return int(min(len(data), 2 ** generator.uniform(0, np.log2(len(data)))))


def flip_bit(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    copy[_place(data, generator)] ^= 1 << int(generator.integers(8))
    return bytes(copy)


def flip_bits(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    for _ in range(int(generator.integers(2, 40))):
        copy[_place(data, generator)] ^= 1 << int(generator.integers(8))
    return bytes(copy)


def set_byte(data: bytes, generator: np.random.Generator) -> bytes:
    copy = bytearray(data)
    copy[_place(data, generator)] = int(generator.integers(256))
    return bytes(copy)


def truncate(data: bytes, generator: np.random.Generator) -> bytes:
    return data[: _place(data, generator)]


def insert(data: bytes, generator: np.random.Generator) -> bytes:
    place = _place(data, generator)
    return data[:place] + generator.bytes(min(_length(data, generator), 4096)) + data[place:]


def delete(data: bytes, generator: np.random.Generator) -> bytes:
    place = _place(data, generator)
    return data[:place] + data[place + _length(data, generator) :]


def edit_number(data: bytes, generator: np.random.Generator) -> bytes:
    """One of the numbers at which programs stumble, or one more or less than what is there, in 1, 2, 4 or 8 bytes."""
    width = 2 ** int(generator.integers(4))
    place = min(_place(data, generator), len(data) - width)
    order = ("little", "little", "big")[generator.integers(3)]
    old = int.from_bytes(data[place : place + width], order)
    number = (*NUMBERS, old + 1, old - 1, 2 * old, len(data))[generator.integers(len(NUMBERS) + 4)]
    return data[:place] + (number % (1 << 8 * width)).to_bytes(width, order) + data[place + width :]


def _run(data: bytes, generator: np.random.Generator, byte: bytes) -> bytes:
    place = _place(data, generator)
    end = min(len(data), place + _length(data, generator))
    return data[:place] + byte * (end - place) + data[end:]


def zeros(data: bytes, generator: np.random.Generator) -> bytes:
    return _run(data, generator, b"\0")


def ones(data: bytes, generator: np.random.Generator) -> bytes:
    return _run(data, generator, b"\xff")


def splice(data: bytes, generator: np.random.Generator) -> bytes:
    """A part of the file over another part of it."""
    source, target = _place(data, generator), _place(data, generator)
    part = data[source : source + _length(data, generator)]
    return data[:target] + part + data[target + len(part) :]


def repeat(data: bytes, generator: np.random.Generator) -> bytes:
    """A part of the file twice."""
    place = _place(data, generator)
    end = place + min(_length(data, generator), 4096)
    return data[:end] + data[place:end] + data[end:]


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
    """What became of damaged files.

    Attributes:
        read: how many were read all the same.
        refused: how many were refused.
        seconds: the longest that one took of a processor, processes that it started included.
        peak: the most memory that one took, in bytes, as far as Python and NumPy know.
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
    """Reads damaged files one after the other: each gives arrays, or ``refusal``, whose message starts with
    the path.

    Anything else, warnings included, is an AssertionError that shows where the file is.

    Args:
        read: the reader.
        file: where to put them; its suffix counts.
        copies: their content.
        refusal: what the reader may raise.
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
            kept = file.with_name(f"damaged_{number}_{file.name}")
            kept.write_bytes(content)
            raise AssertionError(f"{error!r} at {kept}") from error
        finally:
            survey.seconds = max(survey.seconds, sum(os.times()[:4]) - started)
            survey.peak = max(survey.peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    print(f"{file.suffix}: {survey}")
    return survey
