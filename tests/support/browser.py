"""A real browser for tests: found or installed once per run, and profiles that note what must not happen in them.

Nothing outside the server under test is ever reached: requests to any other host are noted and aborted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Route

from tests.support.clusters import RUN_DIRECTORY

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_INSTALL_SECONDS = 240
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  noteViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


def executable() -> str:
    """The path of a Chromium, installed by apt once per run when this is root. Raises LookupError with the reason."""
    directory = Path(os.environ[RUN_DIRECTORY])
    with (directory / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failure = directory / "chromium.failure"
        if found := _installed():
            return found
        if not failure.exists():
            failure.write_text(_install())
        if found := _installed():
            return found
        raise LookupError(f"no chromium on this machine, and {failure.read_text()}")


def _installed() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def _install() -> str:
    """Why there is none afterwards, if there is none."""
    if os.geteuid() != 0:
        return "only root can install one"
    if shutil.which("apt-get") is None:
        return "there is no apt-get to install one"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    said = ""
    for step in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        try:
            done = subprocess.run(
                ["apt-get", "-q", *step],
                env=quiet,
                capture_output=True,
                text=True,
                timeout=_INSTALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"`apt-get {step[0]}` took longer than {_INSTALL_SECONDS} s"
        said = f"`apt-get {step[0]}` ended with {done.returncode}: {done.stderr.strip()[-300:]}"
    return said


async def launch(playwright: Playwright, path: str) -> Browser:
    return await playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)


@dataclass
class Visitor:
    """One person at a browser: a profile of its own, and notes of what happened in it."""

    context: BrowserContext
    page: Page
    origin: str
    requests: list[Request] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        """What was asked of servers; a fragment is never sent."""
        return [request.url.partition("#")[0] for request in self.requests]

    async def cookies(self) -> dict[str, dict[str, object]]:
        """The cookies of the profile, by name and path."""
        return {f"{cookie['name']} {cookie['path']}": dict(cookie) for cookie in await self.context.cookies()}

    async def sign_in(self, email: str, password: str, path: str = "/login") -> None:
        """Through the form, by keyboard alone."""
        await self.page.goto(self.origin + path)
        await self.page.get_by_label("E-mail").wait_for()
        await self.page.keyboard.type(email)
        await self.page.keyboard.press("Tab")
        await self.page.keyboard.type(password)
        await self.page.keyboard.press("Enter")


@asynccontextmanager
async def visiting(browser: Browser, origin: str, *friends: str) -> AsyncIterator[Visitor]:
    """A fresh profile with one page, for which nothing exists but `origin` (and the origins of `friends`)."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    visitor = Visitor(context, await context.new_page(), origin)
    hosts = {urlsplit(url).netloc for url in (origin, *friends)}

    async def only_ours(route: Route) -> None:
        if urlsplit(route.request.url).netloc in hosts:
            await route.continue_()
        else:
            visitor.elsewhere.append(route.request.url)
            await route.abort()

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            visitor.complaints.append(message.text)

    await context.route("**/*", only_ours)
    await context.expose_binding("noteViolation", lambda _, text: visitor.violations.append(text))
    await context.add_init_script(_REPORT_VIOLATIONS)
    context.on("request", lambda request: visitor.requests.append(request))  # noqa: PLW0108 - it marks what it is given
    context.on("console", note_console)
    context.on("weberror", lambda problem: visitor.complaints.append(str(problem.error)))
    visitor.page.on("websocket", lambda socket: visitor.sockets.append(socket.url))
    try:
        yield visitor
    finally:
        await context.close()


class GraphiQLPage:
    """GraphiQL as a person sees it: editors to type into, an answer to read."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def ready(self) -> None:
        """Waits until the schema has arrived."""
        await self.page.locator(".graphiql-query-editor .CodeMirror").wait_for()
        await self.page.locator(".graphiql-spinner").wait_for(state="detached")
        await self.page.wait_for_function(
            "() => document.querySelector('.graphiql-query-editor .CodeMirror')?.CodeMirror?.options?.lint?.schema"
        )

    async def write(self, operation: str) -> None:
        """Replaces the operation, key by key."""
        await self.page.locator(".graphiql-query-editor .CodeMirror-scroll").click()
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.press("Delete")
        await self.page.keyboard.type(operation)
        # GraphiQL looks at what was typed after a pause; until then it would ask for the operation before.
        await self.page.wait_for_function("(text) => localStorage['graphiql:query'] === text", arg=operation)

    async def run(self, operation: str) -> None:
        """Types an operation and runs it, by keyboard."""
        await self.write(operation)
        await self.page.keyboard.press("Escape")
        await self.page.keyboard.press("Control+Enter")

    async def shows(self, text: str) -> None:
        """Waits until the answer contains `text`."""
        await self.page.wait_for_function(
            "(text) => document.querySelector('.graphiql-response .CodeMirror')?.CodeMirror?.getValue().includes(text)",
            arg=text,
        )

    async def answer(self) -> str:
        """The answer's text."""
        script = "document.querySelector('.graphiql-response .CodeMirror').CodeMirror.getValue()"
        return str(await self.page.evaluate(script))
