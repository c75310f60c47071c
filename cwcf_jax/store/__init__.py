"""Descriptors and class vectors on disk."""

from cwcf_jax.store.pooled import PooledStore, StaleStoreError, StoreBusyError

__all__ = ["PooledStore", "StaleStoreError", "StoreBusyError"]
