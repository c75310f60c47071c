"""Descriptors and class vectors on disk."""

from cwcf_jax.store.folder import StaleStoreError, StoreBusyError
from cwcf_jax.store.maps import MapStore
from cwcf_jax.store.pooled import PooledStore
from cwcf_jax.store.rows import RowStore

__all__ = ["MapStore", "PooledStore", "RowStore", "StaleStoreError", "StoreBusyError"]
