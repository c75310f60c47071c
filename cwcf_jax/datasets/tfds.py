"""TensorFlow Datasets, which takes two seconds to import and belongs to the extra ``datasets``."""

import importlib
from typing import Any

from cwcf_jax.images.imagesets import DatasetError


def import_tfds() -> Any:
    """The module `tensorflow_datasets`; raises DatasetError that says how to install it where it is missing."""
    try:
        return importlib.import_module("tensorflow_datasets")
    except ModuleNotFoundError as error:
        raise DatasetError(f"{error.name} is not installed; pip install 'cwcf-jax[datasets]'") from error
