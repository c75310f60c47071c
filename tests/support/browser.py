"""This module starts a Chromium for tests of the page."""

import contextlib
import os
import shutil
import unittest

from tests.support import packages

PROGRAMS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"


@contextlib.contextmanager
def open_browser():
    """Yields a headless browser. Without a Chromium, skips the test, or fails it if CWCF_REQUIRE_BROWSER is set."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        message = f"DID NOT RUN: needs a Chromium, by one of the names {', '.join(PROGRAMS)}"
        if os.environ.get("CWCF_REQUIRE_BROWSER"):
            raise AssertionError(message)
        raise unittest.SkipTest(message)
    with packages.package("playwright.sync_api").sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            browser.close()
