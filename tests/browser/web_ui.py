"""The Temporal Web UI as a person uses it: open a run, read its current details, send a signal, look around.

Every wait is for something a person would see. The quirks are those of the Web UI 2.54, each told where it is met.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.async_api import Browser, Locator, Page, async_playwright, expect
from playwright.async_api import TimeoutError as NotInTime

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOOK_MS = 60_000
"""Milliseconds for the Web UI to show something: while other tests use both cores it may take half a minute."""
FRESH_MS = 1_000
"""Milliseconds until a person who waits for news presses R again: the current details do not refresh themselves."""
RELOAD_EACH = 5
TRIES = 6
"""Times that a page is loaded again."""
SCREENFULS = 20
"""More than the timeline of a whole failover has."""
_HINT = re.compile(r"^(?P<signal>[a-z]+) – [^{]*?(?P<json>\{[^{}]*\})", re.MULTILINE)
"""The signal's name stands at the beginning of a line, and the JSON is the next thing in braces."""


def chromium() -> str | None:
    """Where a Chromium is: `CHROMIUM`, or the first one in the path; None: there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@dataclass(frozen=True)
class Shown:
    """A signal as the current details tell it."""

    signal: str
    payload: dict[str, str | bool]

    def signed(self, by: str) -> str:
        """The JSON with the name filled in, as a person would before sending it."""
        return json.dumps({**self.payload, "by": by})


class WebUi:
    """One browser window."""

    def __init__(self, page: Page, address: str, screens: Path | None) -> None:
        self._page = page
        self._address = address
        self._screens = screens
        page.set_default_timeout(LOOK_MS)

    # --- ways --------------------------------------------------------------------------------------------------------

    async def open(self, workflow_id: str) -> None:
        """From the list of workflows into the run, by a click on its id."""
        await self.list()
        await self._page.get_by_role("link", name=workflow_id).first.click()
        await self._see_run()

    async def _see_run(self) -> None:
        """Until the run is shown. While many of its steps end at once the page may say 429; a person loads it again.

        On a busy machine the button is seen twice for a while: the page puts a new one beside the old one.
        """
        actions = self._page.get_by_role("button", name="More Actions")
        for _ in range(TRIES):
            try:
                return await expect(actions).to_have_count(1, timeout=LOOK_MS / TRIES)
            except AssertionError:
                await self._page.reload()
        raise AssertionError("the run never showed its button More Actions")

    async def _reload(self) -> None:
        await self._page.reload()
        await self._see_run()

    async def list(self, query: str = "") -> None:
        """The list of workflows, narrowed by a query, as soon as one is in it: the index lags a little behind."""
        row = self._page.locator("tbody tr a").first
        for _ in range(TRIES):
            await self._page.goto(f"{self._address}/namespaces/default/workflows?query={quote(query)}")
            try:
                await row.wait_for(timeout=LOOK_MS / TRIES)
            except NotInTime:
                continue
            return
        raise AssertionError(f"no workflow in the list for {query!r}")

    async def show_columns(self, *names: str) -> None:
        """Add search attributes to the columns of the list, and remove what nobody reads."""
        await self._page.get_by_role("button", name="Configure Columns").click()
        for name in names:
            await self._page.get_by_role("button", name=f"Add {name} column").click()
        for name in ("Run ID", "Type", "End"):
            await self._page.get_by_role("button", name=f"Remove {name} column").click()
        await self._page.get_by_role("button", name="Close Workflows Table configuration").click()

    async def tab(self, name: str) -> None:
        """One of the run's tabs."""
        tab = self._page.get_by_role("tab", name=re.compile(rf"^{name}")).first
        await tab.click()
        await expect(tab).to_have_attribute("aria-selected", "true")

    # --- reading -----------------------------------------------------------------------------------------------------

    async def details(self, expected: str | re.Pattern[str]) -> str:
        """The current details, as soon as they show what is expected. A person presses R for news, and so do we.

        Raises:
            AssertionError: they do not show it; with what they show.
        """
        await self.tab("User Metadata")
        body = self._details()
        for asked in range(1, int(LOOK_MS / FRESH_MS)):
            try:
                await expect(body).to_contain_text(expected, timeout=FRESH_MS)
                break
            except AssertionError:
                # Where no worker answered the page says "No Current Details", and R does not always ask again.
                await (self._page.keyboard.press("r") if asked % RELOAD_EACH else self._reload())
        try:
            # On a busy machine a page that was just asked for anew takes longer than one look.
            await expect(body).to_contain_text(expected, timeout=LOOK_MS / TRIES)
        except AssertionError as error:
            raise AssertionError(f"never showed {expected!r}: {error}") from None
        return await body.inner_text()

    def _details(self) -> Locator:
        # Summary, details and current details are frames of their own, in this order.
        return self._page.locator("iframe").last.content_frame.locator("body")

    async def text(self, expected: str) -> str:
        """The text of the page, as soon as it holds what is expected."""
        await expect(self._page.locator("body")).to_contain_text(expected)
        return await self._page.locator("body").inner_text()

    async def scroll_to(self, text: str) -> None:
        """Scroll down until a text is drawn: the timeline draws only the rows near those that are seen.

        Raises:
            AssertionError: it never is.
        """
        await self._page.mouse.move(750, 800)
        for _ in range(SCREENFULS):
            try:
                await self._page.get_by_text(text).first.wait_for(timeout=FRESH_MS)
            except NotInTime:
                await self._page.mouse.wheel(0, 500)
            else:
                return
        raise AssertionError(f"{text!r} is nowhere on the page")

    # --- sending -----------------------------------------------------------------------------------------------------

    async def signal(self, name: str, text: str, *, screen: str = "") -> str:
        """More Actions, Send a Signal; returns what the drop-down says about that signal."""
        dialog = await self._dialog()
        await dialog.get_by_test_id("signal-select-button").click()
        option = dialog.get_by_role("option").filter(has_text=re.compile(rf"^\s*{name}"))
        told = await option.inner_text()
        if screen:
            await self.shoot(f"{screen}-choose")
        await option.click()
        await self._type(dialog, text)
        if screen:
            await self.shoot(screen)
        await self._submit(dialog)
        return told

    async def _dialog(self) -> Locator:
        # What was typed before is still in the editor unless the page is loaded anew.
        await self._reload()
        await self._page.get_by_role("button", name="More Actions").click()
        await self._page.get_by_role("menuitem", name="Send a Signal").first.click()
        dialog = self._page.get_by_role("dialog", name="Send a Signal")
        await dialog.wait_for()
        return dialog

    async def _type(self, dialog: Locator, text: str) -> None:
        editor = dialog.get_by_role("textbox", name="Data")
        await editor.click()
        # Pasted and not typed: the editor closes brackets by itself.
        await self._page.keyboard.insert_text(text)
        await expect(editor).to_contain_text(text[:20])

    async def _submit(self, dialog: Locator) -> None:
        """Leaving the editor re-formats the JSON, and what is clicked meanwhile moves away from under the mouse.

        So the editor is left first. Where the click misses all the same it is repeated, as a person would.
        """
        submit, said = dialog.get_by_role("button", name="Submit"), self._page.locator("#workflow-signal-success-toast")
        await dialog.get_by_role("textbox", name="Data").blur()
        await submit.click()
        try:
            await said.wait_for(timeout=2 * FRESH_MS)
        except NotInTime:
            if await submit.is_visible():
                await submit.click()
            await said.wait_for()

    # --- showing -----------------------------------------------------------------------------------------------------

    async def shoot(self, name: str) -> None:
        """A picture of what is seen now, where pictures are wanted."""
        if self._screens is None:
            return
        await self._page.evaluate("document.fonts.ready")
        await self._page.screenshot(path=self._screens / f"{name}.png", animations="disabled")


def shown_signals(details: str) -> list[Shown]:
    """The signals that the current details tell, with the JSON to paste."""
    found = _HINT.finditer(details)
    return [Shown(match["signal"], json.loads(match["json"])) for match in found]


@asynccontextmanager
async def browser_window(executable: str, address: str, screens: Path | None = None) -> AsyncIterator[WebUi]:
    """A window of a new browser, which has never been anywhere."""
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=executable, headless=True, args=list(QUIET))
        try:
            window = WebUi(await browser.new_page(viewport={"width": 1400, "height": 1500}), address, screens)
            yield window
        finally:
            await window.shoot("0-last")
            await browser.close()
