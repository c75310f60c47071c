"""This module reads NumPy's ``.npz`` archives of numbers; it loads no pickles and checks sizes before it allocates."""

import io
import math
import pathlib
import zipfile

import numpy as np

EXPANSION_BYTES = 64 << 20
"""The bytes to which the arrays of a file of any size may expand, in addition to `EXPANSION_FACTOR` times the file."""

EXPANSION_FACTOR = 4
"""The factor by which large files may expand."""


def read_npz(file: pathlib.Path | io.BytesIO, *, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Returns the arrays of an archive by their names.

    Args:
        file: path or content of the archive.
        skip: names of arrays that are not read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no archive, holds anything but arrays of numbers and booleans, or declares
            wrong lengths. The message gives the reason without the file's name.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            check_members(archive)
            if others := [name for name in archive.namelist() if not name.endswith(".npy")]:
                raise ValueError(f"it holds {others[0][:100]!a}, which is no array of numpy.savez")
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            return {key: _read_array(archive, name, key) for key, name in members.items() if key not in skip}
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # damaged archives make zipfile and numpy raise errors of many types
        raise ValueError(str(error) or type(error).__name__) from error


def read_string(file: pathlib.Path, key: str) -> str | None:
    """Returns a string that is stored in an archive of arrays; None if there is no archive or no such entry.

    Raises:
        ValueError: the entry is damaged or not a string.
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
    """Checks the directory of an archive, since `zipfile` allocates as much memory as the directory declares.

    Raises:
        ValueError: a name occurs twice, or a member is neither stored nor deflated or does not lie within the file; or
            all members together expand to more than 64 MiB plus four times the size of the file.
    """
    members = archive.infolist()
    assert archive.fp is not None  # it is open
    size = archive.fp.seek(0, 2)
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it holds a member twice")
    for member in members:
        # Members of other kinds declare how much memory their decompression needs.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename} is compressed in a way that is not read here; use numpy.savez")
        if member.header_offset + member.compress_size > size:
            raise ValueError(f"{member.filename} does not lie within the file")
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            raise ValueError(f"{member.filename} is not as long as the archive says")
    expanded = sum(member.file_size for member in members)
    if expanded > EXPANSION_BYTES + EXPANSION_FACTOR * size:
        raise ValueError(f"its arrays would fill {expanded} bytes: no trained network compresses so well")


def _read_array(archive: zipfile.ZipFile, name: str, key: str, kinds: str = "fiub") -> np.ndarray:
    """Reads one array after a check of its header against the size of its member."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        declared_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{key} holds pickled Python objects, which are never loaded; save arrays of numbers")
        if dtype.kind not in kinds:
            raise ValueError(
                f"{key} is of type {dtype.str!r}, no type of numbers that is read here; save it as float32"
            )
        if any(size < 0 for size in shape):
            raise ValueError(f"{key} has an impossible shape, {shape}")
        if declared_bytes != archive.getinfo(name).file_size - stream.tell():
            raise ValueError(f"{key} is not as long as its header says, {declared_bytes} bytes")
    with archive.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
