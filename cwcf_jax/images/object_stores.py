"""This module lists and reads pictures on an object store in the way of a folder on a disk."""

import dataclasses
import errno
import functools
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from cwcf_jax.images.imagesets import DatasetError

CONNECT_TIMEOUT_S, ATTEMPTS = 10.0, 3
"""The seconds until a connection fails, and the attempts of each request; pyarrow's defaults would take minutes."""


class ObjectState(NamedTuple):
    """An `ObjectState` gives an object's bytes and the nanoseconds of its last change, as `pathlib.Path.stat` does."""

    st_size: int
    st_mtime_ns: int


@dataclasses.dataclass(frozen=True)
class ObjectFile:
    """An `ObjectFile` is an object that is used like a path.

    Attributes:
        address: address of the object, such as ``s3://bucket/folder/picture.jpg``.
        listed_state: state of the object when its folder was listed, see `ObjectFolder.listed`; None if `stat` is to
            ask the server.
    """

    address: str
    listed_state: ObjectState | None = None

    def open(self, mode: str) -> io.BytesIO:
        """Reads the whole object; ``mode`` must be ``rb``.

        Raises:
            FileNotFoundError: there is no such object.
            OSError: the object cannot be read.
        """
        if mode != "rb":
            raise ValueError(f"an object is opened with 'rb', not {mode!r}")
        file_system, path = _connect(self.address)
        with file_system.open_input_stream(path) as stream:
            return io.BytesIO(stream.read())

    def stat(self) -> ObjectState:
        """Returns the object's state; raises the errors of `open`."""
        if self.listed_state is not None:
            return self.listed_state
        file_system, path = _connect(self.address)
        state = _state(file_system.get_file_info(path))
        if state is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.address)
        return state

    def __str__(self) -> str:
        return self.address


class ObjectFolder:
    """An `ObjectFolder` stands for all objects below an address; it is used like a path.

    Attributes:
        address: address of the folder, such as ``s3://bucket/folder`` or ``gs://bucket/folder``.
        name: last part of the address.
    """

    def __init__(self, address: str, states: Mapping[str, ObjectState] | None = None) -> None:
        """Sets the address, and the states of all objects by their paths, see `listed`."""
        self.address = address.rstrip("/")
        self.name = self.address.rpartition("/")[2]
        self._states = states

    def paths(self) -> list[pathlib.PurePosixPath]:
        """Returns the paths of all objects, relative to the folder; raises the errors of `listed`."""
        return [pathlib.PurePosixPath(path) for path in self.listed()._states or ()]

    def listed(self) -> "ObjectFolder":
        """Returns this folder with the current states of its objects, so that `ObjectFile.stat` asks no server.

        Raises:
            DatasetError: there is no object below the address, or the objects cannot be listed.
        """
        if self._states is not None:
            return self
        file_system, root = _connect(self.address)
        try:
            infos = file_system.get_file_info(_pyarrow_fs().FileSelector(root, recursive=True))
        except OSError as error:
            if isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in str(error):
                raise DatasetError(f"{self.address}: no such folder") from error
            raise DatasetError(f"{self.address}: cannot be read ({error})") from error
        states = {info.path[len(root) :].lstrip("/"): _state(info) for info in infos}
        return ObjectFolder(self.address, {path: state for path, state in states.items() if state is not None})

    def relative(self, path: str) -> str:
        """Returns an object's path relative to the folder.

        Args:
            path: the object's address, or already its relative path.

        Raises:
            ValueError: the address is not below the folder.
        """
        relative_path = path.removeprefix(f"{self.address}/")
        if "://" in relative_path:
            raise ValueError(f"{path} is not below {self.address}")
        return relative_path

    def __truediv__(self, path: str) -> ObjectFile:
        return ObjectFile(f"{self.address}/{path}", (self._states or {}).get(path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectFolder) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return self.address


Root = pathlib.Path | ObjectFolder
"""A folder of pictures, on a disk or on an object store."""


def find_root(location: str | Root) -> Root:
    """Returns the folder at a path or at an address of an object store; ``~`` stands for the home directory."""
    if isinstance(location, str) and "://" in location:
        return ObjectFolder(location)
    return pathlib.Path(location).expanduser() if isinstance(location, str) else location


def find_picture(location: str) -> pathlib.Path | ObjectFile:
    """Returns the picture at a path or at an address of an object store; ``~`` stands for the home directory."""
    return ObjectFile(location) if "://" in location else pathlib.Path(location).expanduser()


def _state(info: Any) -> ObjectState | None:
    """Returns the state that pyarrow's `FileInfo` gives; None for everything but objects."""
    return ObjectState(info.size, info.mtime_ns) if info.is_file else None


def _connect(address: str) -> tuple[Any, str]:
    """Returns pyarrow's file system for an address, and the path in it; ValueError if pyarrow knows no such system."""
    scheme, _, path = address.partition("://")
    return _file_system(scheme, path.partition("/")[0], *s3_server()), path


@functools.cache
def _file_system(scheme: str, bucket: str, endpoint: str, region: str) -> Any:
    module = _pyarrow_fs()
    if scheme == "s3":
        return module.S3FileSystem(
            endpoint_override=endpoint or None,
            region=region or module.resolve_s3_region(bucket),
            connect_timeout=CONNECT_TIMEOUT_S,
            retry_strategy=module.AwsStandardS3RetryStrategy(ATTEMPTS),
        )
    try:
        return module.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except ValueError as error:
        raise ValueError(f"{scheme}://{bucket} is no address of an object store: {error}") from error


def _pyarrow_fs() -> Any:
    try:
        import pyarrow.fs
    except ModuleNotFoundError as error:
        raise ValueError("object stores need pyarrow; pip install 'cwcf-jax[index]'") from error
    return pyarrow.fs


def s3_server() -> tuple[str, str]:
    """Returns the S3 endpoint and region of the environment; an empty string where a variable is not set.

    The endpoint is ``AWS_ENDPOINT_URL``; the region is ``AWS_REGION`` or ``AWS_DEFAULT_REGION``. Servers other than
    Amazon's accept any region, so the region of an endpoint without one is ``us-east-1``.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return endpoint, region or ("us-east-1" if endpoint else "")
