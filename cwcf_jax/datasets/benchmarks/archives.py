"""This module reads the files of an archive or a folder one after the other, without extracting them."""

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
"""The file name suffixes of archives."""

MAX_BYTES = 2**28
"""The size of the largest file that is read from an archive or a folder; photographs have a few MB."""


@dataclasses.dataclass(frozen=True)
class ArchivedFile:
    """An `ArchivedFile` stands for one file in an archive or a folder.

    Attributes:
        name: path of the file inside the archive or the folder, with ``/``.
        location: archive and file, or path of the file, for error messages.
        modified: time of the last modification, seconds since 1970.
        read: function that returns the content. For a file in an archive, call it before the next file is requested.
    """

    name: str
    location: str
    modified: float
    read: Callable[[], bytes]


def read_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    """Yields the files of an archive in stored order, or the files of a folder in order of their paths.

    Hidden files are skipped. An archive is read once, as a stream.

    Raises:
        DatasetError: the archive is damaged, the file is not an archive, or a member could write outside the target
            folder if it were extracted: an absolute path, ``..``, a link, a device.
    """
    if path.is_dir():
        yield from _folder_files(path)
        return
    files = _zip_files(path) if path.suffix == ".zip" else _tar_files(path)
    while True:
        with _as_dataset_errors(path):
            file = next(files, None)
        if file is None:
            return
        yield file


def read_archived_texts(path: pathlib.Path) -> TextFiles:
    """Reads the ``*.txt`` files of an archive or a folder, sub-folders included, by file name.

    Raises:
        DatasetError: two files have the same name, or as `read_files`.
    """
    contents: dict[str, bytes] = {}
    for file in read_files(path):
        name = pathlib.PurePosixPath(file.name).name
        if not name.endswith(".txt"):
            continue
        if name in contents:
            raise DatasetError(f"{file.location}: there is another {name} in the same source; keep one of them")
        contents[name] = file.read()
    return TextFiles(str(path), contents)


@contextlib.contextmanager
def _as_dataset_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns the errors of archive readers into DatasetError."""
    try:
        yield
    except (*_DAMAGE_ERRORS, NotImplementedError, RuntimeError) as error:  # zipfile: method, encryption
        raise DatasetError(f"{path}: cannot be read as an archive ({error})") from error


_DAMAGE_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def _folder_files(folder: pathlib.Path) -> Iterator[ArchivedFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _is_hidden(name):
            yield ArchivedFile(name, str(path), path.stat().st_mtime, _folder_reader(path))


def _folder_reader(path: pathlib.Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return _check_size(file.read(MAX_BYTES + 1), str(path))
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error

    return read


def _tar_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            location = f"{path}: {member.name}"
            _check_name(location, member.name)
            if not (member.isfile() or member.isdir()):
                raise DatasetError(f"{location}: a link or a device in an archive is refused")
            if member.isfile() and not _is_hidden(member.name):

                def read(member: tarfile.TarInfo = member, location: str = location) -> bytes:
                    with _as_dataset_errors(path):
                        stream = archive.extractfile(member)
                        assert stream is not None
                        return _check_size(stream.read(MAX_BYTES + 1), location)

                yield ArchivedFile(member.name, location, float(member.mtime), read)


def _zip_files(path: pathlib.Path) -> Iterator[ArchivedFile]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            location = f"{path}: {member.filename}"
            _check_name(location, member.filename)
            file_type = member.external_attr >> 16 & 0o170000  # Unix file type; 0 in archives from other systems
            if file_type not in (0, 0o100000, 0o040000):
                raise DatasetError(f"{location}: a link or a device in an archive is refused")
            if not member.is_dir() and not _is_hidden(member.filename):

                def read(member: zipfile.ZipInfo = member, location: str = location) -> bytes:
                    with _as_dataset_errors(path), archive.open(member) as stream:
                        return _check_size(stream.read(MAX_BYTES + 1), location)

                yield ArchivedFile(member.filename, location, _timestamp(member), read)


def _timestamp(member: zipfile.ZipInfo) -> float:
    try:
        return datetime.datetime(*member.date_time, tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return 0.0


def _check_size(content: bytes, location: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise DatasetError(f"{location}: larger than {MAX_BYTES} bytes, the limit of a file")
    return content


def _check_name(location: str, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0]:
        raise DatasetError(f"{location}: an absolute path or '..' in an archive is refused")


def _is_hidden(name: str) -> bool:
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in name.split("/"))
