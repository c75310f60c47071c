"""This module reports how many tests did not run."""

import pytest

from tests.support.slow import SKIP_REASON


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reports the number of slow tests that were left out, and of other tests that did not run."""
    skipped = terminalreporter.stats.get("skipped", [])
    slow = sum(SKIP_REASON in str(report.longrepr) for report in skipped)
    if slow:
        terminalreporter.section(f"{slow} slow tests were left out; CWCF_SLOW=1 runs them", sep="-")
    if missing := len(skipped) - slow:
        terminalreporter.section(f"{missing} TESTS DID NOT RUN", sep="!", red=True, bold=True)
