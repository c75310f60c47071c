"""This module marks slow tests, which run only if CWCF_SLOW is set, as in `.ci/run`."""

import os
import unittest

SKIP_REASON = "SLOW: left out; CWCF_SLOW=1 runs it"


def cases(quick, whole):
    """Returns the cases of a test: ``quick``, or ``whole`` if CWCF_SLOW is set."""
    return whole if os.environ.get("CWCF_SLOW") else quick


XLA_FLAGS = cases("--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false", "")
"""The XLA flags of all test processes. They save compile time; if CWCF_SLOW is set, compilations are as for a user."""


def slow(test):
    """Skips a test, or all tests of a class, unless CWCF_SLOW is set. A quick test must cover the same code."""
    return test if os.environ.get("CWCF_SLOW") else unittest.skip(SKIP_REASON)(test)
