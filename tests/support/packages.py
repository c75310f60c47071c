"""Packages that only tests use, as oracles and writers; tests that need one say so when it is not there."""

import importlib
import os
import unittest
from types import ModuleType


def package(name: str) -> ModuleType:
    """A package; skips the test loudly if it is missing, fails it if CWCF_REQUIRE_PACKAGES is set."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"DID NOT RUN: needs the package {name}, which is not there ({error})"
        if os.environ.get("CWCF_REQUIRE_PACKAGES"):
            raise AssertionError(message) from error
        raise unittest.SkipTest(message) from error
