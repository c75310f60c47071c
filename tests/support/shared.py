"""This module finds real weights and images in the folder ``shared`` next to the checkout."""

import os
import pathlib
import unittest

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


def require(relative: str) -> pathlib.Path:
    """Returns a path below ../shared. If it is missing, skips the test, or fails it if CWCF_REQUIRE_SHARED is set."""
    path = SHARED / relative
    if path.exists():
        return path
    message = f"DID NOT RUN: needs ../shared/{relative}, which does not exist"
    if os.environ.get("CWCF_REQUIRE_SHARED"):
        raise AssertionError(message)
    raise unittest.SkipTest(message)
