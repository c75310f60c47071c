"""This module opens Zarr arrays of class vectors through TensorStore, on a local disk or an object store.

Any reader of Zarr 3 opens these arrays. A shard holds all classes of some images, one chunk for each class. A chunk is
read by itself. Uncompressed chunks are read from a local disk without a copy. Chunks are compressed where images keep
only the vectors of their own classes, so that the zeros of the other classes need little space.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore

from cwcf_jax.images.object_stores import s3_server
from cwcf_jax.store.folder import StaleStoreError

FAILURES = ValueError, LookupError, RuntimeError
"""The errors that TensorStore raises if an array is damaged or missing, or if the server does not answer."""

DTYPES: dict[str, np.dtype[Any]] = {"int8": np.dtype("i1"), "float16": np.dtype("<f2")}

COMPRESSION_CODECS = [{"name": "zstd", "configuration": {"level": 1}}, {"name": "crc32c"}]
"""The codecs of chunks that are mostly 0: compression, and a checksum."""

Location = str | pathlib.Path | Mapping[str, Any]
"""A folder; an address such as ``s3://bucket/name`` or ``gs://bucket/name``; or the JSON specification of a TensorStore
key-value store, where an address is not enough. ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` name an S3 server other than
Amazon's, as in LanceDB."""

_FIELDS = {"fragment": "shard_images", "own": "own_classes"}
"""The keys of headers that differ from the fields of `StoreConfig`, and these fields."""


@dataclasses.dataclass(frozen=True)
class StoreConfig:
    """A `StoreConfig` says what a class-vector store holds of each image.

    Attributes:
        classes: 0-based indices of the stored classes, ascending.
        dim: dimension of a class vector.
        dtype: number type of class vectors: ``int8`` with a float32 scale for each vector, or ``float16``.
        shard_images: number of images in a shard; the chunk of a class has shard_images x dim numbers.
        own_classes: number of each image's most probable classes with stored vectors; vectors of other classes are 0,
            as of classes without evidence. 0: all classes have stored vectors.
    """

    classes: tuple[int, ...]
    dim: int
    dtype: str = "int8"
    shard_images: int = 512
    own_classes: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown type of class vectors {self.dtype!r}; known: {', '.join(DTYPES)}")
        if not self.classes or list(self.classes) != sorted(set(self.classes)) or self.classes[0] < 0:
            raise ValueError("the classes of a store must be distinct, ascending and not negative, and at least one")
        if self.dim < 1 or self.shard_images < 1:
            raise ValueError(
                f"a store needs at least 1 dimension and 1 image a shard, not {self.dim} and {self.shard_images}"
            )
        if not 0 <= self.own_classes <= len(self.classes):
            raise ValueError(
                f"an image keeps vectors of 0 (all) to {len(self.classes)} classes, not {self.own_classes}"
            )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StoreConfig":
        """Returns the config in a header; raises TypeError, KeyError or ValueError if there is none."""
        fields = {_FIELDS.get(key, key): value for key, value in content.items()}
        return cls(**{**fields, "classes": tuple(fields["classes"])})

    def to_json(self) -> dict[str, Any]:
        """Returns the config as a header has it."""
        keys = {field: key for key, field in _FIELDS.items()}
        return {keys.get(field, field): value for field, value in dataclasses.asdict(self).items()}

    @property
    def image_bytes(self) -> int:
        """Returns the bytes of each image in memory, and on disk if chunks are not compressed."""
        scale = 4 if self.dtype == "int8" else 0
        return len(self.classes) * (self.dim * DTYPES[self.dtype].itemsize + scale)


def connect(location: Location) -> tensorstore.KvStore:
    """Opens the key-value store at a location."""
    path = local_folder(location)
    if path is not None:
        return tensorstore.KvStore.open({"driver": "file", "path": f"{path}/"}).result()
    spec = dict(location) if isinstance(location, Mapping) else _spec(str(location))
    kvstore = tensorstore.KvStore.open(spec).result()
    return kvstore if kvstore.path.endswith("/") else kvstore / "/"


def _spec(address: str) -> str | dict[str, Any]:
    """Returns the address, or a specification with the server that the AWS variables name."""
    endpoint, region = s3_server()
    if not endpoint or not address.startswith("s3://"):
        return address
    bucket, _, path = address.removeprefix("s3://").partition("/")
    return {"driver": "s3", "bucket": bucket, "path": f"{path}/", "endpoint": endpoint, "aws_region": region}


def claim_location(location: Location, owner: str) -> None:
    """Records the owner of a location.

    Raises:
        FileExistsError: the location has an owner already.
    """
    kvstore = connect(location)
    record = read_json(kvstore, "owner.json")
    if record is not None:
        raise FileExistsError(f"{location} is in use by {record.get('owner')}; name another folder, or empty this one")
    write_json(kvstore, "owner.json", {"owner": owner})


def remove(location: Location) -> None:
    """Removes everything at a location."""
    connect(location).delete_range(tensorstore.KvStore.KeyRange()).result()


def local_folder(location: Location) -> pathlib.Path | None:
    """Returns the absolute path of a folder; None for an address."""
    if isinstance(location, Mapping) or (isinstance(location, str) and "://" in location):
        return None
    return pathlib.Path(location).absolute()


def open_values(kvstore: tensorstore.KvStore, layout: StoreConfig, *, create: bool) -> tensorstore.TensorStore:
    """Opens the array of class vectors [classes, images, dim]; the number of images grows by whole shards."""
    count, dim = len(layout.classes), layout.dim
    codecs = [_bytes(layout.dtype)]
    sharding = {
        "chunk_shape": [1, layout.shard_images, dim],
        "codecs": [*codecs, *(COMPRESSION_CODECS if layout.own_classes else [])],
        "index_codecs": [_bytes("uint64"), {"name": "crc32c"}],
        "index_location": "end",
    }
    metadata = {
        "shape": [count, 0, dim],
        "data_type": layout.dtype,
        "chunk_grid": _grid([count, layout.shard_images, dim]),
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["class", "image", "dim"],
    }
    return _open(kvstore, "values", metadata, create=create)


def open_scales(kvstore: tensorstore.KvStore, layout: StoreConfig, *, create: bool) -> tensorstore.TensorStore:
    """Opens the array of scales [classes, images], the factors of int8 vectors."""
    count = len(layout.classes)
    metadata = {
        "shape": [count, 0],
        "data_type": "float32",
        "chunk_grid": _grid([count, layout.shard_images]),
        "codecs": [_bytes("float32"), *(COMPRESSION_CODECS if layout.own_classes else [])],
        "dimension_names": ["class", "image"],
    }
    return _open(kvstore, "scales", metadata, create=create)


def map_values(file: pathlib.Path, layout: StoreConfig) -> np.ndarray:
    """Maps the local file of a shard into memory, as an array [classes, images, dim]."""
    shape = len(layout.classes), layout.shard_images, layout.dim
    chunk_bytes = layout.shard_images * layout.dim * DTYPES[layout.dtype].itemsize
    index_bytes = 16 * shape[0] + 4  # offset and length of each chunk, and a checksum
    _check_size(file, shape[0] * chunk_bytes + index_bytes)
    index = np.fromfile(file, "<u8", 2 * shape[0], offset=shape[0] * chunk_bytes).reshape(-1, 2)
    expected = np.stack([np.arange(shape[0]) * chunk_bytes, np.full(shape[0], chunk_bytes)], axis=1)
    if not np.array_equal(index, expected):
        raise StaleStoreError(f"{file} is damaged: its index does not fit; write the store anew")
    return np.memmap(file, DTYPES[layout.dtype], "r", shape=shape)


def map_scales(file: pathlib.Path, layout: StoreConfig) -> np.ndarray:
    """Maps the local file with the scales of a shard into memory, as an array [classes, images]."""
    shape = len(layout.classes), layout.shard_images
    _check_size(file, 4 * shape[0] * shape[1])
    return np.memmap(file, "<f4", "r", shape=shape)


def read_json(kvstore: tensorstore.KvStore, key: str) -> Any:
    """Reads a value that `write_json` wrote; returns None if the key is missing."""
    answer = kvstore.read(key).result()
    if answer.state != "value":
        return None
    try:
        return json.loads(answer.value)
    except ValueError as error:
        raise StaleStoreError(f"{kvstore.path}{key} is damaged ({error}); write the store anew") from error


def write_json(kvstore: tensorstore.KvStore, key: str, value: Any) -> None:
    """Writes a value as JSON, completely or not at all."""
    kvstore.write(key, json.dumps(value, indent=1) + "\n").result()


def _open(
    kvstore: tensorstore.KvStore, name: str, metadata: dict[str, Any], *, create: bool
) -> tensorstore.TensorStore:
    array = kvstore / f"{name}/"
    spec: dict[str, Any] = {"driver": "zarr3", "store_data_equal_to_fill_value": True}
    if create and array.read("zarr.json").result().state != "value":
        spec["metadata"] = metadata
        return tensorstore.open(spec, kvstore=array, create=True).result()
    spec["metadata"] = {key: value for key, value in metadata.items() if key != "shape"}
    return tensorstore.open(spec, kvstore=array, read=True, write=create).result()


def _bytes(dtype: str) -> dict[str, Any]:
    return {"name": "bytes"} if dtype == "int8" else {"name": "bytes", "configuration": {"endian": "little"}}


def _grid(shape: list[int]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


def _check_size(file: pathlib.Path, expected: int) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise StaleStoreError(f"{file} cannot be read ({error.strerror}); write the store anew") from error
    if size != expected:
        raise StaleStoreError(f"{file} is damaged: {size} bytes instead of {expected}; write the store anew")
