"""Tests that take long: they run where CWCF_SLOW is set, as `.ci/run` sets it, under pytest and unittest alike."""

import os
import unittest

REASON = "SLOW: left out; CWCF_SLOW=1 runs it"


def cases(quick, whole):
    """What a test tries: ``quick``, or ``whole`` where CWCF_SLOW is set."""
    return whole if os.environ.get("CWCF_SLOW") else quick


XLA_FLAGS = cases("--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false", "")
"""Of every process of a test run. Compilations are most of what it costs; where CWCF_SLOW is set, they are a user's."""


def slow(test):
    """Leaves out a test, or all tests of a class, unless CWCF_SLOW is set; what it covers needs a quick test, too."""
    return test if os.environ.get("CWCF_SLOW") else unittest.skip(REASON)(test)
