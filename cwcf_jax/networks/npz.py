"""NumPy's ``.npz`` archives of arrays of numbers, read without pickles and without memory on a file's word."""

import io
import math
import pathlib
import zipfile

import numpy as np

SLACK = 64 << 20
"""Bytes to which compressed arrays may expand, whatever the size of the file; beyond, `EXPANSION` times the file."""

EXPANSION = 4


def read_npz(file: pathlib.Path | io.BytesIO, *, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the arrays of an archive by name.

    Args:
        file: a path, or the content of an archive.
        skip: names of arrays that are not read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: damaged, no archive, anything but arrays of numbers and booleans, or arrays that are not as long as
            the file says; the message says why, without the file's name.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            check_members(archive)
            if other := [name for name in archive.namelist() if not name.endswith(".npy")]:
                raise ValueError(f"it holds {other[0][:100]!a}, which is no array of numpy.savez")
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {key: _read_array(archive, name, key) for key, name in members.items() if key not in skip}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged archive drives zipfile and numpy into nearly anything
        raise ValueError(str(error) or type(error).__name__) from error


def read_string(file: pathlib.Path, key: str) -> str | None:
    """Return a string that an archive keeps beside its arrays; None where there is no archive or no such entry.

    Raises:
        ValueError: the entry is no string, or is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if f"{key}.npy" not in archive.namelist():
                return None
            try:
                check_members(archive)
                return str(_read_array(archive, f"{key}.npy", key, kinds="U"))
            except Exception as error:
                raise ValueError(str(error) or type(error).__name__) from error
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return None


def check_members(archive: zipfile.ZipFile) -> None:
    """ValueError unless the directory of an archive is possible: `zipfile` allocates what it says.

    Names come once, members are kept plainly or deflated, lie within the file, and expand to no more than 64 MiB and
    four times the file.
    """
    members = archive.infolist()
    assert archive.fp is not None  # it is open
    size = archive.fp.seek(0, 2)
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it holds a member twice")
    for member in members:
        # Other kinds than these two declare how much memory they need.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is compressed in a way that is not read here; use numpy.savez")
        if member.header_offset + member.compress_size > size:
            raise ValueError(f"{member.filename} does not lie within the file")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ValueError(f"{member.filename} is not as long as the archive says")
    expanded = sum(member.file_size for member in members)
    if expanded > SLACK + EXPANSION * size:
        raise ValueError(f"its arrays would fill {expanded} bytes: no trained network compresses so well")


def _read_array(archive: zipfile.ZipFile, name: str, key: str, kinds: str = "fiub") -> np.ndarray:
    """One array, after its header has been compared with the size of its member."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        claimed = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{key} holds pickled Python objects, which are never loaded; save arrays of numbers")
        if dtype.kind not in kinds:
            raise ValueError(
                f"{key} is of type {dtype.str!r}, no type of numbers that is read here; save it as float32"
            )
        if any(size < 0 for size in shape):
            raise ValueError(f"{key} has an impossible shape, {shape}")
        if claimed != archive.getinfo(name).file_size - stream.tell():
            raise ValueError(f"{key} is not as long as its header says, {claimed} bytes")
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
