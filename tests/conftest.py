"""A last line that nobody overlooks when tests did not run."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section(f"{skipped} TESTS DID NOT RUN", sep="!", red=True, bold=True)
