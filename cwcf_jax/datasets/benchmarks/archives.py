"""The files in an archive or below a folder, one after the other; nothing is extracted."""

import contextlib
import dataclasses
import datetime
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from cwcf_jax.datasets.oxford import TextFiles
from cwcf_jax.images.imagesets import DatasetError

SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")
"""What counts as an archive."""

MAX_BYTES = 2**28
"""Largest file that is read out of an archive or a folder; photographs have a few MB."""


@dataclasses.dataclass(frozen=True)
class ArchivedFile:
    """A file in an archive or a folder.

    Attributes:
        name: its path inside, with ``/``.
        where: what messages call it.
        modified: its date, seconds since 1970.
        read: its content; of an archive only until the next file is taken.
    """

    name: str
    where: str
    modified: float
    read: Callable[[], bytes]


def read_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    """Every file of an archive in the order in which it lies there, or of a folder in the order of paths.

    Hidden files are left out. The archive is read as a stream, once.

    Raises:
        DatasetError: damaged, not an archive, or with a member that could write elsewhere if it were extracted: an
            absolute path, ``..``, a link, a device.
    """
    if path.is_dir():
        yield from _folder_files(path)
        return
    files = _zip_files(path) if path.suffix == ".zip" else _tar_files(path)
    while True:
        with _explained(path):
            file = next(files, None)
        if file is None:
            return
        yield file


def read_archived_texts(path: pathlib.Path) -> TextFiles:
    """The ``*.txt`` of an archive, whatever folders they lie in there, or below a folder, by their file names."""
    contents: dict[str, bytes] = {}
    for file in read_files(path):
        name = pathlib.PurePosixPath(file.name).name
        if not name.endswith(".txt"):
            continue
        if name in contents:
            raise DatasetError(f"{file.where}: there is another {name}")
        contents[name] = file.read()
    return TextFiles(str(path), contents)


@contextlib.contextmanager
def _explained(path: pathlib.Path) -> Iterator[None]:
    """Errors of a damaged archive, or of one that is none, as DatasetError."""
    try:
        yield
    except (*_DAMAGES, NotImplementedError, RuntimeError) as error:  # the last two of kinds that zipfile does not know
        raise DatasetError(f"{path}: cannot be read as an archive ({error})") from error


_DAMAGES = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def _folder_files(folder: pathlib.Path) -> Iterator[ArchivedFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _hidden(name):
            yield ArchivedFile(name, str(path), path.stat().st_mtime, _reader(path))


def _reader(path: pathlib.Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return _bounded(file.read(MAX_BYTES + 1), str(path))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error

    return read


def _tar_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            where = f"{path}: {member.name}"
            _check_name(where, member.name)
            if not (member.isfile() or member.isdir()):
                raise DatasetError(f"{where}: a link or a device in an archive is refused")
            if member.isfile() and not _hidden(member.name):

                def read(member: tarfile.TarInfo = member, where: str = where) -> bytes:
                    with _explained(path):
                        stream = archive.extractfile(member)
                        assert stream is not None
                        return _bounded(stream.read(MAX_BYTES + 1), where)

                yield ArchivedFile(member.name, where, float(member.mtime), read)


def _zip_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            where = f"{path}: {member.filename}"
            _check_name(where, member.filename)
            kind = member.external_attr >> 16 & 0o170000  # of Unix, 0 where the archive comes from elsewhere
            if kind not in (0, 0o100000, 0o040000):
                raise DatasetError(f"{where}: a link or a device in an archive is refused")
            if not member.is_dir() and not _hidden(member.filename):

                def read(member: zipfile.ZipInfo = member, where: str = where) -> bytes:
                    with _explained(path), archive.open(member) as stream:
                        return _bounded(stream.read(MAX_BYTES + 1), where)

                yield ArchivedFile(member.filename, where, _timestamp(member), read)


def _timestamp(member: zipfile.ZipInfo) -> float:
    try:
        return datetime.datetime(*member.date_time, tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return 0.0


def _bounded(content: bytes, where: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise DatasetError(f"{where}: larger than the {MAX_BYTES} bytes that are read")
    return content


def _check_name(where: str, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0]:
        raise DatasetError(f"{where}: an absolute path or '..' in an archive is refused")


def _hidden(name: str) -> bool:
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in name.split("/"))
