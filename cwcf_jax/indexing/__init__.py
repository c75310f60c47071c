"""Images through the network into a store: once, resumably, leaving out what cannot be read."""

from cwcf_jax.indexing.extraction import EXTRACTION, Extraction, fingerprint, fingerprint_files
from cwcf_jax.indexing.filling import Progress, fill_maps, fill_rows, fill_store, model_maps, open_store

__all__ = [
    "EXTRACTION",
    "Extraction",
    "Progress",
    "fill_maps",
    "fill_rows",
    "fill_store",
    "fingerprint",
    "fingerprint_files",
    "model_maps",
    "open_store",
]
