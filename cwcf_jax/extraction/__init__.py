"""This package passes images through a network into a store; it can be resumed, and skips unreadable pictures."""

from cwcf_jax.extraction.config import EXTRACTION_VERSION, ExtractionConfig, fingerprint, fingerprint_files
from cwcf_jax.extraction.filling import (
    Filler,
    compile_model_maps,
    crop_maps,
    fill_maps,
    fill_rows,
    fill_store,
    model_maps,
    open_store,
)
from cwcf_jax.extraction.precompiler import Precompiler
from cwcf_jax.extraction.streaming import Progress, compute_batches, ignore, pass_pictures, read_pictures

__all__ = [
    "EXTRACTION_VERSION",
    "ExtractionConfig",
    "Filler",
    "Precompiler",
    "Progress",
    "compile_model_maps",
    "compute_batches",
    "crop_maps",
    "fill_maps",
    "fill_rows",
    "fill_store",
    "fingerprint",
    "fingerprint_files",
    "ignore",
    "model_maps",
    "open_store",
    "pass_pictures",
    "read_pictures",
]
