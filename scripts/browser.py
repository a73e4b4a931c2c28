"""The Chromium that this machine has."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NONE = f"needs Chromium: none of {', '.join(BROWSERS)} is installed"


def find_browser() -> str | None:
    """Its path, None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)
