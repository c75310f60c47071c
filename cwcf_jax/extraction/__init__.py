"""Images through the network into a store: once, resumably, leaving out what cannot be read."""

from cwcf_jax.extraction.class_vectors import fill_class_vectors, fingerprint_class_vectors, fingerprint_whitening
from cwcf_jax.extraction.config import EXTRACTION, Extraction, fingerprint, fingerprint_files
from cwcf_jax.extraction.filling import Filler, fill_maps, fill_rows, fill_store, model_maps, open_store
from cwcf_jax.extraction.precompiler import Precompiler
from cwcf_jax.extraction.streaming import Progress, compute_batches, read_pictures

__all__ = [
    "EXTRACTION",
    "Extraction",
    "Filler",
    "Precompiler",
    "Progress",
    "compute_batches",
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
    "read_pictures",
]
