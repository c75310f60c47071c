"""This module imports packages that only tests need."""

import importlib
import os
import unittest
from types import ModuleType


def package(name: str) -> ModuleType:
    """Imports a package. If it is missing, skips the test, or fails it if CWCF_REQUIRE_PACKAGES is set."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"DID NOT RUN: needs the package {name}, which is not installed ({error})"
        if os.environ.get("CWCF_REQUIRE_PACKAGES"):
            raise AssertionError(message) from error
        raise unittest.SkipTest(message) from error
