"""Photographs on an object store, found and read as those of a folder are."""

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
"""Seconds until a server counts as not there, and how often a request is made; pyarrow itself would try for minutes."""


class ObjectState(NamedTuple):
    """Of an object what `pathlib.Path.stat` says of a file: bytes, and nanoseconds of the last change."""

    st_size: int
    st_mtime_ns: int


@dataclasses.dataclass(frozen=True)
class ObjectFile:
    """An object, used like a path.

    Attributes:
        address: such as ``s3://bucket/folder/picture.jpg``.
        listed: its state when its folder was listed, see `ObjectFolder.listed`; None: it is asked for.
    """

    address: str
    listed: ObjectState | None = None

    def open(self, mode: str) -> io.BytesIO:
        """The whole object; only ``rb``. FileNotFoundError if there is none, OSError if it cannot be had."""
        if mode != "rb":
            raise ValueError(f"an object is opened with 'rb', not {mode!r}")
        files, path = _connect(self.address)
        with files.open_input_stream(path) as stream:
            return io.BytesIO(stream.read())

    def stat(self) -> ObjectState:
        """Its state; errors as in `open`."""
        if self.listed is not None:
            return self.listed
        files, path = _connect(self.address)
        found = _state(files.get_file_info(path))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.address)
        return found

    def __str__(self) -> str:
        return self.address


class ObjectFolder:
    """All objects whose addresses begin with that of a folder, used like a path.

    Attributes:
        address: such as ``s3://bucket/folder`` or ``gs://bucket/folder``.
        name: the last part of it.
    """

    def __init__(self, address: str, states: Mapping[str, ObjectState] | None = None) -> None:
        """``states``: of all objects by path, see `listed`."""
        self.address = address.rstrip("/")
        self.name = self.address.rpartition("/")[2]
        self._states = states

    def paths(self) -> list[pathlib.PurePosixPath]:
        """Of all objects, relative to the folder; errors as in `listed`."""
        return [pathlib.PurePosixPath(name) for name in self.listed()._states or ()]

    def listed(self) -> "ObjectFolder":
        """The folder with the states of its objects as they are now, none of which is asked for again.

        Raises:
            DatasetError: there are none, or they cannot be listed.
        """
        if self._states is not None:
            return self
        files, path = _connect(self.address)
        try:
            found = files.get_file_info(_pyarrow_fs().FileSelector(path, recursive=True))
        except OSError as error:
            if isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in str(error):
                raise DatasetError(f"{self.address}: no such folder") from error
            raise DatasetError(f"{self.address}: cannot be read ({error})") from error
        states = {one.path[len(path) :].lstrip("/"): _state(one) for one in found}
        return ObjectFolder(self.address, {name: state for name, state in states.items() if state is not None})

    def relative(self, path: str) -> str:
        """A path as `paths` has it, of an address or of such a path; ValueError for an address elsewhere."""
        below = path.removeprefix(f"{self.address}/")
        if "://" in below:
            raise ValueError(f"{path} is not below {self.address}")
        return below

    def __truediv__(self, path: str) -> ObjectFile:
        return ObjectFile(f"{self.address}/{path}", (self._states or {}).get(path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectFolder) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return self.address


Root = pathlib.Path | ObjectFolder
"""Where a collection's photographs are."""


def find_root(place: str | Root) -> Root:
    """A folder's path, ``~`` being one's home, or an address."""
    if isinstance(place, str) and "://" in place:
        return ObjectFolder(place)
    return pathlib.Path(place).expanduser() if isinstance(place, str) else place


def find_picture(place: str) -> pathlib.Path | ObjectFile:
    """A picture's path, ``~`` being one's home, or an address."""
    return ObjectFile(place) if "://" in place else pathlib.Path(place).expanduser()


def _state(found: Any) -> ObjectState | None:
    """Of what pyarrow says of a path; None of what is no object."""
    return ObjectState(found.size, found.mtime_ns) if found.is_file else None


def _connect(address: str) -> tuple[Any, str]:
    """The file system of an address and the path there; ValueError if no file system knows such addresses."""
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
    """Endpoint and region by ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` or ``AWS_DEFAULT_REGION``; empty: not said.

    A server that is not Amazon's takes any region, so one that is named without is ``us-east-1``.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return endpoint, region or ("us-east-1" if endpoint else "")
