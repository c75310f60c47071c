"""Images through the network into a store: once, resumably, leaving out what cannot be read."""

from cwcf_jax.indexing.ahead import Ahead
from cwcf_jax.indexing.class_vectors import fill_class_vectors, fingerprint_class_vectors, fingerprint_whitening
from cwcf_jax.indexing.extraction import EXTRACTION, Extraction, fingerprint, fingerprint_files
from cwcf_jax.indexing.filling import Filler, fill_maps, fill_rows, fill_store, model_maps, open_store
from cwcf_jax.indexing.passes import Progress, passes, read_pictures

__all__ = [
    "EXTRACTION",
    "Ahead",
    "Extraction",
    "Filler",
    "Progress",
    "fill_class_vectors",
    "fill_maps",
    "fill_rows",
    "fill_store",
    "fingerprint",
    "fingerprint_class_vectors",
    "fingerprint_files",
    "fingerprint_whitening",
    "model_maps",
    "open_store",
    "passes",
    "read_pictures",
]
