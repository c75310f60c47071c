"""Zarr arrays of class vectors through TensorStore, on a local disk or an object store.

Any reader of Zarr 3 opens them. A shard holds a fragment, all classes of some images, one class after the other. A
class's run is read by itself: uncompressed, from a local disk without a copy; or, where images keep the vectors of
their own classes alone, compressed, so that the zeros between them take next to nothing.
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
"""What TensorStore raises where an array is damaged or gone, or its server does not answer."""

DTYPES: dict[str, np.dtype[Any]] = {"int8": np.dtype("i1"), "float16": np.dtype("<f2")}

COMPRESSED = [{"name": "zstd", "configuration": {"level": 1}}, {"name": "crc32c"}]
"""How what is mostly 0 is compressed, and any change noticed."""

Location = str | pathlib.Path | Mapping[str, Any]
"""A folder; an address such as ``s3://bucket/name`` or ``gs://bucket/name``; or a key-value store as TensorStore
describes it in JSON, where an address does not say enough. Where the S3 API is not Amazon's, ``AWS_ENDPOINT_URL`` and
``AWS_REGION`` say of whom it is, here as in LanceDB."""


@dataclasses.dataclass(frozen=True)
class StoreConfig:
    """What a class-vector store holds of each image.

    Attributes:
        classes: 0-based indices, ascending.
        dim: numbers in a class vector.
        dtype: ``int8``, a quarter of a float32 and a scale for each vector, or ``float16``.
        fragment: images that are written together; a class's run has fragment x dim numbers.
        own: of each image the vectors of this many classes, its most probable ones, are kept, those of others are 0, as
            if there were no evidence for them; 0: all are kept.
    """

    classes: tuple[int, ...]
    dim: int
    dtype: str = "int8"
    fragment: int = 512
    own: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown type of class vectors {self.dtype!r}; known: {', '.join(DTYPES)}")
        if not self.classes or list(self.classes) != sorted(set(self.classes)) or self.classes[0] < 0:
            raise ValueError("the classes of a store are distinct, ascending and not negative, at least one")
        if self.dim < 1 or self.fragment < 1:
            raise ValueError(
                f"a store needs at least 1 dimension and 1 image a fragment, not {self.dim}, {self.fragment}"
            )
        if not 0 <= self.own <= len(self.classes):
            raise ValueError(f"an image keeps vectors of 0 (all) to {len(self.classes)} classes, not {self.own}")

    @property
    def image_bytes(self) -> int:
        """Bytes in memory for each image, and on disk unless zeros are compressed away."""
        scale = 4 if self.dtype == "int8" else 0
        return len(self.classes) * (self.dim * DTYPES[self.dtype].itemsize + scale)


def connect(location: Location) -> tensorstore.KvStore:
    """The key-value store at a location."""
    path = local_folder(location)
    if path is not None:
        return tensorstore.KvStore.open({"driver": "file", "path": f"{path}/"}).result()
    found = tensorstore.KvStore.open(dict(location) if isinstance(location, Mapping) else _spec(str(location))).result()
    return found if found.path.endswith("/") else found / "/"


def _spec(address: str) -> str | dict[str, Any]:
    """The address; with what the AWS variables say of a server that is not Amazon's."""
    endpoint, region = s3_server()
    if not endpoint or not address.startswith("s3://"):
        return address
    bucket, _, path = address.removeprefix("s3://").partition("/")
    return {"driver": "s3", "bucket": bucket, "path": f"{path}/", "endpoint": endpoint, "aws_region": region}


def claim_location(location: Location, owner: str) -> None:
    """Records whose a location is.

    Raises:
        FileExistsError: the location has an owner already.
    """
    kvstore = connect(location)
    record = read_json(kvstore, "owner.json")
    if record is not None:
        raise FileExistsError(f"{location} is in use by {record.get('owner')}; name another folder, or empty this one")
    write_json(kvstore, "owner.json", {"owner": owner})


def remove(location: Location) -> None:
    """Removes all that is at a location."""
    connect(location).delete_range(tensorstore.KvStore.KeyRange()).result()


def local_folder(location: Location) -> pathlib.Path | None:
    """The folder, absolute; None for an address."""
    if isinstance(location, Mapping) or (isinstance(location, str) and "://" in location):
        return None
    return pathlib.Path(location).absolute()


def open_values(kvstore: tensorstore.KvStore, layout: StoreConfig, *, create: bool) -> tensorstore.TensorStore:
    """[classes, images, dim]; the images grow by whole fragments."""
    count, dim = len(layout.classes), layout.dim
    codecs = [_bytes(layout.dtype)]
    sharding = {
        "chunk_shape": [1, layout.fragment, dim],
        "codecs": [*codecs, *(COMPRESSED if layout.own else [])],
        "index_codecs": [_bytes("uint64"), {"name": "crc32c"}],
        "index_location": "end",
    }
    metadata = {
        "shape": [count, 0, dim],
        "data_type": layout.dtype,
        "chunk_grid": _grid([count, layout.fragment, dim]),
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["class", "image", "dim"],
    }
    return _open(kvstore, "values", metadata, create=create)


def open_scales(kvstore: tensorstore.KvStore, layout: StoreConfig, *, create: bool) -> tensorstore.TensorStore:
    """[classes, images], what to multiply int8 vectors by."""
    count = len(layout.classes)
    metadata = {
        "shape": [count, 0],
        "data_type": "float32",
        "chunk_grid": _grid([count, layout.fragment]),
        "codecs": [_bytes("float32"), *(COMPRESSED if layout.own else [])],
        "dimension_names": ["class", "image"],
    }
    return _open(kvstore, "scales", metadata, create=create)


def map_values(file: pathlib.Path, layout: StoreConfig) -> np.ndarray:
    """A fragment [classes, fragment, dim] of the local file that holds it, not read before it is used."""
    shape = len(layout.classes), layout.fragment, layout.dim
    run = layout.fragment * layout.dim * DTYPES[layout.dtype].itemsize
    index = 16 * shape[0] + 4  # of each run where it begins and how long it is, and a checksum
    _check_size(file, shape[0] * run + index)
    found = np.fromfile(file, "<u8", 2 * shape[0], offset=shape[0] * run).reshape(-1, 2)
    if not np.array_equal(found, np.stack([np.arange(shape[0]) * run, np.full(shape[0], run)], axis=1)):
        raise StaleStoreError(f"{file} is damaged: its index does not fit; make the store anew")
    return np.memmap(file, DTYPES[layout.dtype], "r", shape=shape)


def map_scales(file: pathlib.Path, layout: StoreConfig) -> np.ndarray:
    """The scales [classes, fragment] of a fragment."""
    shape = len(layout.classes), layout.fragment
    _check_size(file, 4 * shape[0] * shape[1])
    return np.memmap(file, "<f4", "r", shape=shape)


def read_json(kvstore: tensorstore.KvStore, key: str) -> Any:
    """What `write_json` wrote; None if nothing."""
    found = kvstore.read(key).result()
    if found.state != "value":
        return None
    try:
        return json.loads(found.value)
    except ValueError as error:
        raise StaleStoreError(f"{kvstore.path}{key} is damaged ({error}); make the store anew") from error


def write_json(kvstore: tensorstore.KvStore, key: str, value: Any) -> None:
    """Whole or not at all."""
    kvstore.write(key, json.dumps(value, indent=1) + "\n").result()


def _open(
    kvstore: tensorstore.KvStore, name: str, metadata: dict[str, Any], *, create: bool
) -> tensorstore.TensorStore:
    place = kvstore / f"{name}/"
    spec: dict[str, Any] = {"driver": "zarr3", "store_data_equal_to_fill_value": True}
    if create and place.read("zarr.json").result().state != "value":
        spec["metadata"] = metadata
        return tensorstore.open(spec, kvstore=place, create=True).result()
    spec["metadata"] = {key: value for key, value in metadata.items() if key != "shape"}
    return tensorstore.open(spec, kvstore=place, read=True, write=create).result()


def _bytes(dtype: str) -> dict[str, Any]:
    return {"name": "bytes"} if dtype == "int8" else {"name": "bytes", "configuration": {"endian": "little"}}


def _grid(shape: list[int]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


def _check_size(file: pathlib.Path, expected: int) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise StaleStoreError(f"{file} cannot be read ({error.strerror}); make the store anew") from error
    if size != expected:
        raise StaleStoreError(f"{file} is damaged: {size} bytes instead of {expected}; make the store anew")
