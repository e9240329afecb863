"""A page in headless Chromium, driven through its debugging pipe: no driver, no port, nothing from the network.

with Browser() as browser:
    page = browser.open(Path("view.html"))
    page.wait("document.body.dataset.ready", 20)
    page.picture(Path("view.png"))
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip
SIZE = (1400, 900)


def found() -> str | None:
    """The path of a browser, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Lives in a `with`, and ends with it."""

    def __init__(self, size: tuple[int, int] = SIZE):
        program = found()
        if program is None:
            raise SystemExit("there is no browser: apt-get install chromium")
        self._profile = tempfile.TemporaryDirectory(prefix="mlc-browser-", ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [
            program,
            *FLAGS,
            f"--user-data-dir={self._profile.name}",
            f"--window-size={size[0]},{size[1]}",
            "about:blank",
        ]
        # It wants the numbers 3 and 4; sh dups no number of two digits.
        plumbed = ["sh", "-c", f'exec "$@" 3</dev/fd/{to_browser} 4>/dev/fd/{from_browser}', "sh", *command]
        self._process = subprocess.Popen(
            plumbed, pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers, self._buffer = count(1), b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def open(self, path: Path, query: str = "") -> "Page":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.call("Page.enable")
        page.call("Page.navigate", url=f"{path.resolve().as_uri()}{query}")
        return page

    def call(self, method: str, session: str | None = None, seconds: float = 60, **params: Any) -> dict[str, Any]:
        """One command and its result. Raises RuntimeError for what the browser refuses, TimeoutError where it does not answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            while b"\0" in self._buffer:
                text, _, self._buffer = self._buffer.partition(b"\0")
                answer = json.loads(text)
                if answer.get("id") == number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']['message']}")
                    return answer["result"]
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError(f"{method}: no answer in {seconds:.0f} s")
            if not (read := os.read(self._in, 1 << 20)):
                raise RuntimeError(f"{method}: the browser has ended")
            self._buffer += read


class Page:
    def __init__(self, browser: Browser, session: str):
        self.browser, self.session = browser, session

    def call(self, method: str, seconds: float = 60, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, seconds, **params)

    def value(self, expression: str, seconds: float = 60) -> Any:
        """What an expression of JavaScript comes to."""
        found = self.call("Runtime.evaluate", seconds, expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"])[:2000])
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float) -> Any:
        """Its value as soon as there is one."""
        end = time.monotonic() + seconds
        while (value := self.value(expression, seconds)) is None:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{expression} has no value after {seconds:.0f} s: {self.value('document.body.innerText.slice(0, 500)')}"
                )
            time.sleep(0.05)
        return value

    def picture(self, path: Path | None = None, dark: bool = False) -> bytes:
        """A PNG of what is seen."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(content)
        return content
