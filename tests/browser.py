"""A real browser for tests of pages: what it complains about, and what it asks for.

It is Chromium, as a distribution or Playwright installs it. Where there is none the tests skip.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT = 30_000  # milliseconds that anything may take

SIZES = ((1280, 900), (390, 844))
SCHEMES = ("light", "dark")


@dataclass
class Watched:
    """A page in a browser, and what happened in it.

    Attributes:
        page: of Playwright.
        faults: errors that its console told.
        asked: addresses that it asked for.
    """

    page: Any
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> list[str]:
        """Addresses that are neither local files nor those of the server of the page."""
        own = self.page.evaluate("location.origin")
        inside = ("data:", "blob:", "file:" if own == "null" else own)
        if own.startswith("file:"):
            inside = ("data:", "blob:", "file:")
        return [address for address in self.asked if not address.startswith(inside)]

    def pressed(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)


def _lacks(what: str) -> NoReturn:
    """Skip; fail where everything must be there, as in the project's own CI."""
    message = f"needs {what}"
    if os.environ.get("EMOTAILOR_REQUIRE_SHARED"):
        pytest.fail(message)
    pytest.skip(message)


def _program(playwright: Any) -> str:
    """The program of a browser: that of the machine, or what Playwright has fetched before."""
    own = Path(playwright.chromium.executable_path)
    named = [shutil.which(name) for name in PROGRAMS]
    found = [name for name in named if name is not None]
    if not found and not own.exists():
        _lacks(f"a browser: none of {', '.join(PROGRAMS)}, and none of Playwright")
    return found[0] if found else str(own)


@contextmanager
def browser() -> Iterator[Any]:
    """Start a browser without windows, and end it; where there is none, the test skips."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _lacks("playwright")

    with sync_playwright() as playwright:
        program = _program(playwright)
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


def opened(started: Any, address: str | Path, **more: Any) -> Watched:
    """Open a page in a new profile, which remembers nothing."""
    page = started.new_context(**{"viewport": {"width": 1280, "height": 900}, **more}).new_page()
    page.set_default_timeout(WAIT)
    found = Watched(page)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("pageerror", lambda error: found.faults.append(str(error)))

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            found.faults.append(message.text)

    page.on("console", on_console)
    page.goto(address.as_uri() if isinstance(address, Path) else address)
    return found


def serious_faults(page: Any) -> list[str]:
    """Return what axe calls serious or critical, at two widths, light and dark.

    Beside, a page must not be wider than its window.
    """
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        _lacks("axe-playwright-python")

    axe = Axe()
    faults = []
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            response = axe.run(page, options=None).response
            assert len(response["passes"]) > 10  # it has looked
            for found in response["violations"]:
                if found["impact"] in ("serious", "critical"):
                    place = found["nodes"][0]["html"][:120]
                    faults.append(f"{found['id']} at {width} {scheme}: {place}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            faults.append(f"{wide} wide at {width}")
    return faults
