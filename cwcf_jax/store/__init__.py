"""This package stores pooled rows, maps and class vectors on disk or on an object store."""

from cwcf_jax.store.class_vectors import ClassBlock, ClassVectorStore
from cwcf_jax.store.class_writer import ClassVectorWriter, write_images
from cwcf_jax.store.folder import StaleStoreError, StoreBusyError
from cwcf_jax.store.maps import DTYPES as MAP_DTYPES
from cwcf_jax.store.maps import MapStore
from cwcf_jax.store.pooled import PooledRows, PooledScales, PooledStore
from cwcf_jax.store.rows import RowStore
from cwcf_jax.store.zarr import Location, StoreConfig, claim_location, remove

__all__ = [
    "MAP_DTYPES",
    "ClassBlock",
    "ClassVectorStore",
    "ClassVectorWriter",
    "Location",
    "MapStore",
    "PooledRows",
    "PooledScales",
    "PooledStore",
    "RowStore",
    "StaleStoreError",
    "StoreBusyError",
    "StoreConfig",
    "claim_location",
    "remove",
    "write_images",
]
