"""Zip archives, read strictly over a mapped file: stored members are views, compressed ones are bounded.

Source: APPNOTE.TXT 6.3 of PKWARE (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), of which NumPy and
PyTorch write the simplest part. The `zipfile` module is not used because it copies stored members, builds a large
object per entry before any limit can be applied, and answers damaged files with a dozen kinds of exception.
"""

import dataclasses
import struct
import zlib
from typing import Any

from cwcf_jax.weights.formats.base import Refusal, disjoint, looks_like, text

STORED, DEFLATED = 0, 8
MAX_MEMBERS = 100_000
SLACK = 64 << 20  # compressed members may expand to this much, and beyond it to EXPANSION times the file
EXPANSION = 4
DAMAGED = "the archive is damaged or was cut off; fetch it again"


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of an archive: ``size`` bytes, kept from ``start`` to ``end`` of the file with ``method``."""

    name: str
    method: int
    start: int
    end: int
    size: int
    crc: int


class Archive:
    """The members of a zip archive by name.

    Args:
        data: the archive's bytes.

    Attributes:
        members: the directory of the archive.
    """

    def __init__(self, data: memoryview):
        if bytes(data[:4]) != b"PK\x03\x04":
            raise Refusal(f"not a zip archive: it looks like {looks_like(data)}")
        self._data = data
        self.members: dict[str, Member] = {}
        for member in _directory(data):
            if member.name in self.members:
                raise Refusal(f"it holds {member.name} twice: {DAMAGED}")
            self.members[member.name] = member
        disjoint((member.start, member.end, member.name) for member in self.members.values())
        expanded = sum(member.size for member in self.members.values() if member.method == DEFLATED)
        if expanded > SLACK + EXPANSION * len(data):
            raise Refusal(f"its compressed members would fill {expanded} bytes: no trained network compresses so well")

    def read(self, name: str) -> memoryview:
        """The bytes of a member, checked against its checksum; a view of the file if it is stored."""
        member = self.members[name]
        content = self._data[member.start : member.end]
        if member.method == DEFLATED:
            content = memoryview(_inflate(content, member))
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise Refusal(f"{name} does not have the size and checksum that the archive states: {DAMAGED}")
        return content


def _inflate(content: memoryview, member: Member) -> bytes:
    inflater = zlib.decompressobj(-15)
    try:
        expanded = inflater.decompress(content, member.size + 1)
    except zlib.error:
        raise Refusal(f"{member.name} cannot be decompressed: {DAMAGED}") from None
    if not inflater.eof or inflater.unused_data:
        raise Refusal(f"{member.name} is not of the size that the archive states: {DAMAGED}")
    return expanded


def _unpack(layout: str, data: memoryview, offset: int) -> tuple[Any, ...]:
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise Refusal(f"a part of its directory is beyond the end: {DAMAGED}")
    return struct.unpack_from(layout, data, offset)


def _directory(data: memoryview) -> list[Member]:
    tail = max(0, len(data) - 22 - 65535)
    found = bytes(data[tail:]).rfind(b"PK\x05\x06")
    if found < 0:
        raise Refusal(f"it has no directory: {DAMAGED}")
    end = tail + found
    *_, count, size, start, comment = _unpack("<4s4H2LH", data, end)
    if end + 22 + comment != len(data):
        raise Refusal(f"something follows its end: {DAMAGED}")
    if 0xFFFF in (count,) or 0xFFFFFFFF in (size, start):
        magic, _, _, record = _unpack("<4sLQL", data, end - 20)
        fields = _unpack("<4sQ2H2L4Q", data, record)
        if magic != b"PK\x06\x07" or fields[0] != b"PK\x06\x06":
            raise Refusal(f"its 64-bit directory is missing: {DAMAGED}")
        count, size, start, end = fields[7], fields[8], fields[9], record
    if count > MAX_MEMBERS or start + size > end:
        raise Refusal(f"its directory is too long or in the wrong place: {DAMAGED}")
    members, offset = [], start
    for _ in range(count):
        member, offset = _entry(data, offset)
        members.append(member)
    if offset != start + size:
        raise Refusal(f"its directory does not end where it should: {DAMAGED}")
    return members


def _entry(data: memoryview, offset: int) -> tuple[Member, int]:
    """One entry of the central directory, and where the next one starts."""
    fields = _unpack("<4s6H3L5H2L", data, offset)
    magic, flags, method, crc = fields[0], fields[3], fields[4], fields[7]
    packed, size, lengths, local = fields[8], fields[9], fields[10:13], fields[16]
    if magic != b"PK\x01\x02":
        raise Refusal(f"its directory is broken: {DAMAGED}")
    begin = offset + 46
    following = begin + sum(lengths)
    raw = data[begin : begin + lengths[0]]
    name = text(raw, "a member's name")
    if flags & 0x41:
        raise Refusal(f"{name} is encrypted; decrypt the archive first")
    if method not in (STORED, DEFLATED):
        raise Refusal(f"{name} is compressed in a way that is not read here; make the archive with plain zip")
    size, packed, local = _wide(data[begin + lengths[0] : begin + lengths[0] + lengths[1]], size, packed, local)
    start = _local(data, local, bytes(raw), method)
    if start + packed > len(data) or (method == STORED and packed != size):
        raise Refusal(f"{name} does not lie within the file: {DAMAGED}")
    return Member(name, method, start, start + packed, size, crc), following


def _wide(extra: memoryview, *values: int) -> list[int]:
    """Sizes and place of a member, from the 64-bit extra field where the short ones say so."""
    wide: list[int] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length <= len(extra) - 4:
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            break
        extra = extra[4 + length :]
    result = []
    for value in values:
        if value == 0xFFFFFFFF and not wide:
            raise Refusal(f"the size of a member is missing: {DAMAGED}")
        result.append(wide.pop(0) if value == 0xFFFFFFFF else value)
    return result


def _local(data: memoryview, offset: int, name: bytes, method: int) -> int:
    """Where the content of the member starts whose local header is at ``offset``."""
    fields = _unpack("<4s5H3L2H", data, offset)
    start = offset + 30 + fields[9]
    if fields[0] != b"PK\x03\x04" or fields[3] != method or bytes(data[offset + 30 : start]) != name:
        raise Refusal(f"its members are not where its directory says: {DAMAGED}")
    return start + fields[10]
