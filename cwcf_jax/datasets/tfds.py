"""This module imports TensorFlow Datasets on demand; the import takes two seconds and needs the extra ``datasets``."""

import importlib
from typing import Any

from cwcf_jax.images.imagesets import DatasetError


def import_tfds() -> Any:
    """Imports and returns the module `tensorflow_datasets`.

    Raises:
        DatasetError: the package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module("tensorflow_datasets")
    except ModuleNotFoundError as error:
        raise DatasetError(f"{error.name} is not installed; pip install 'cwcf-jax[datasets]'") from error
