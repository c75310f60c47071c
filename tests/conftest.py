"""What differs where CWCF_SLOW is set, for `.ci/run` to select; and last lines that nobody overlooks."""

import pathlib

import pytest

from tests.support.slow import REASON

TESTS = pathlib.Path(__file__).parent
COMPUTING = ("baselines", "descriptors", "encoder", "networks", "search")
"""Rooms whose numbers XLA makes: they run with its usual optimisations, too."""

DIFFERING = ("any_model", "cases", "slow")
"""Names that a module imports whose tests are left out, or try less, unless CWCF_SLOW is set."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as ``whole`` the tests that find out more where CWCF_SLOW is set."""
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        module = getattr(item, "module", None)
        if room in COMPUTING or any(hasattr(module, name) for name in DIFFERING):
            item.add_marker("whole")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts tests that did not run, and slow tests that were left out."""
    skipped = terminalreporter.stats.get("skipped", [])
    slow = sum(REASON in str(report.longrepr) for report in skipped)
    if slow:
        terminalreporter.section(f"{slow} slow tests were left out; CWCF_SLOW=1 runs them", sep="-")
    if missing := len(skipped) - slow:
        terminalreporter.section(f"{missing} TESTS DID NOT RUN", sep="!", red=True, bold=True)
