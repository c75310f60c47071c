"""A real Chromium for tests of the page; they say so loudly where there is none."""

import contextlib
import os
import shutil
import unittest

from tests.support import packages

NAMES = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"


@contextlib.contextmanager
def opened():
    """A headless browser; skips the test if there is none, fails it if CWCF_REQUIRE_BROWSER is set."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        message = f"DID NOT RUN: needs a Chromium, by one of the names {', '.join(NAMES)}"
        if os.environ.get("CWCF_REQUIRE_BROWSER"):
            raise AssertionError(message)
        raise unittest.SkipTest(message)
    with packages.package("playwright.sync_api").sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        try:
            yield browser
        finally:
            browser.close()
