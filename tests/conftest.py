"""This module marks the tests that CWCF_SLOW changes, for `.ci/run`, and reports the tests that did not run."""

import pathlib

import pytest

from tests.support.slow import REASON

TESTS = pathlib.Path(__file__).parent
NUMERICAL_FOLDERS = ("baselines", "descriptors", "encoder", "networks", "search")
"""Folders of tests whose numbers XLA computes; such tests also run with XLA's default optimisations."""

SLOW_HELPERS = ("any_model", "cases", "slow")
"""Names of helpers that leave out tests or cases unless CWCF_SLOW is set."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that check more if CWCF_SLOW is set as ``whole``."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        module = getattr(item, "module", None)
        if folder in NUMERICAL_FOLDERS or any(hasattr(module, name) for name in SLOW_HELPERS):
            item.add_marker("whole")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reports the number of slow tests that were left out, and of other tests that did not run."""
    skipped = terminalreporter.stats.get("skipped", [])
    slow = sum(REASON in str(report.longrepr) for report in skipped)
    if slow:
        terminalreporter.section(f"{slow} slow tests were left out; CWCF_SLOW=1 runs them", sep="-")
    if missing := len(skipped) - slow:
        terminalreporter.section(f"{missing} TESTS DID NOT RUN", sep="!", red=True, bold=True)
