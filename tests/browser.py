"""A headless Chromium, driven over two pipes by the DevTools protocol: JSON, each with a NUL."""

import json
import os
import subprocess
from itertools import count

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    "--disable-dev-shm-usage",  # a chroot has none
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)


class Browser:
    """One tab. Its methods wait until the browser has answered."""

    def __init__(self, program, profile):
        reads, self._writes = os.pipe()
        self._reads, writes = os.pipe()

        # Chromium takes commands from descriptor 3 and answers on 4.
        def connect():
            from_us, to_us = os.dup(reads), os.dup(writes)
            os.dup2(from_us, 3)
            os.dup2(to_us, 4)

        words = [program, *FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            words, preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL
        )
        os.close(reads)
        os.close(writes)
        self._numbers, self._rest, self._session, self.seen = count(1), b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._reads)
        os.close(self._writes)

    def call(self, method, **params):
        """Return the result of a method of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.seen.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            piece = os.read(self._reads, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        first, self._rest = self._rest.split(b"\0", 1)
        return json.loads(first)

    def open(self, path, width=1440, dark=False):
        """Load a file in a window of a width (pixels)."""
        self.resize(width, dark)
        self.seen = []
        self.call("Page.navigate", url=f"file://{path}")
        while not any(one.get("method") == "Page.loadEventFired" for one in self.seen):
            self.seen.append(self._read())

    def resize(self, width, dark=False, media=""):
        """Set the window's width, the colour scheme, and the medium: "print" or the screen."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def js(self, code):
        """Return the JSON value of an expression; a promise is awaited."""
        wanted = {"expression": code, "returnByValue": True, "awaitPromise": True}
        done = self.call("Runtime.evaluate", **wanted)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key, code=0, text=""):
        """Press a key: ``Tab``, ``ArrowRight``; ``text`` is what it types."""
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    @property
    def errors(self):
        """What scripts of the page threw since it was opened."""
        return [one for one in self.seen if one.get("method") == "Runtime.exceptionThrown"]
