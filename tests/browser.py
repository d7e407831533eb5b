"""Headless Chromium, driven over its debugging pipe: what a reader sees, does and prints. No driver program,
no network."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab. Use it as a context manager.

    ``errors``: what the page complained of since it was opened.
    """

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="browser-")
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads commands from 3 and answers on 4; the pipe's own ends may have these numbers.
        given = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
        options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe --no-first-run"
        command = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{given[0]} 4>&{given[1]}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, str(program()), self._profile.name],
            pass_fds=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out, *given):
            os.close(end)
        self._in, self._out, self._rest, self._calls = ours_in, ours_out, b"", 0
        self._events: list[dict[str, Any]] = []
        tab = self._send("Target.createTarget", None, url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", None, targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._send("Browser.close", None)
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol to the tab."""
        return self._send(method, self._session, **parameters)

    def _send(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 20)
            if not data:
                raise RuntimeError("the browser ended")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def look(self, width: int, scheme: str = "light", media: str = "", height: int = 900) -> None:
        """The size of the window (a phone's below 500), the system's colour scheme, ``media``:
        ``print`` or the screen."""
        phone = width < 500
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=wanted)
        self.js("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")  # until the page has heard of it

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a page and wait until it stands, its figures included."""
        self._load("about:blank")  # else a fragment alone would load nothing
        self._load(path.resolve().as_uri() + fragment)
        self.js("window.drawn")

    def _load(self, url: str) -> None:
        self._events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._read())

    @property
    def errors(self) -> list[str]:
        self.js("0")
        found = [
            event for event in self._events if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]
        said = [
            event
            for event in self._events
            if event.get("method") == "Runtime.consoleAPICalled" and event["params"]["type"] == "error"
        ]
        return [json.dumps(event["params"])[:600] for event in found + said]

    def js(self, expression: str) -> Any:
        """The value of an expression in the page, a promise's when it is kept."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:600])
        return answer["result"].get("value")

    def picture(self, path: Path, scale: float = 1.0, whole: bool = True, height: int | None = None) -> None:
        """What stands in the window, or the whole page, as PNG."""
        area = self.js("({width: innerWidth, height: document.documentElement.scrollHeight})")
        tall = height or min(area["height"], 16000)
        clip = {"x": 0, "y": 0, "width": area["width"], "height": tall, "scale": scale}
        shown = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole, clip=clip)
        path.write_bytes(base64.b64decode(shown["data"]))

    def pdf(self, path: Path) -> None:
        """The page as its print style wants it."""
        made = self.call("Page.printToPDF", preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(made["data"]))


def violations(tab: Browser) -> list[str]:
    """What axe finds on the page that is open, with all that is folded away opened, on a large screen and on a phone,
    in light and in dark."""
    tab.js("document.querySelectorAll('details').forEach(it => { it.open = true })")
    tab.js(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8") + ";0")
    said = []
    for width in (1440, 390):
        for scheme in ("light", "dark"):
            tab.look(width, scheme)
            tab.js(  # the page hears of another scheme when the browser comes to it
                "new Promise(done => { const look = () => document.documentElement.dataset.theme === "
                f"'{scheme}' ? done() : setTimeout(look, 20); look(); }})"
            )
            tab.js("window.drawn")
            run = "axe.run(document, {resultTypes: ['violations']}).then(it => JSON.stringify(it.violations))"
            for found in json.loads(tab.js(run)):
                said += [f"{width} {scheme} {found['id']}: {node['html'][:200]}" for node in found["nodes"]]
    return said


def smallest_letters_px(tab: Browser) -> float:
    """Of the figures, as they stand: size of the font by how far the drawing is scaled."""
    size: float = tab.js(
        "Math.min(...[...document.querySelectorAll('.chart svg')].flatMap(svg => [...svg.querySelectorAll('text')]"
        ".filter(it => it.textContent.trim()).map(it => parseFloat(getComputedStyle(it).fontSize) * "
        "svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)))"
    )
    return size
