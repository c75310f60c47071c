"""Real weights and images beside the checkout; tests that need them say so when they are not there."""

import os
import pathlib
import unittest

ROOT = pathlib.Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"


def require(relative: str) -> pathlib.Path:
    """The path below ../shared; skips the test loudly if it is missing, fails it if CWCF_REQUIRE_SHARED is set."""
    path = SHARED / relative
    if path.exists():
        return path
    message = f"DID NOT RUN: needs ../shared/{relative}, which is not there"
    if os.environ.get("CWCF_REQUIRE_SHARED"):
        raise AssertionError(message)
    raise unittest.SkipTest(message)
