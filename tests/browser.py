"""A browser for tests: Debian's chromium, driven by WebDriver without a package."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

PROGRAMS = shutil.which("chromedriver"), shutil.which("chromium")
_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


class Browser:
    """One window; ``close`` ends it with its driver."""

    def __init__(self, width=1400, height=1000):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.driver = subprocess.Popen(
            [PROGRAMS[0], f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{port}/session"
        options = {"binary": PROGRAMS[1], "args": list(_ARGUMENTS)}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        for _ in range(100):
            try:
                session = self._ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        self.url += f"/{session}"
        command = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", command)

    def _ask(self, path, content):
        request = urllib.request.Request(
            self.url + path, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def devtools(self, name, parameters):
        """Send a command of the DevTools protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def open(self, path: Path):
        """Open a file."""
        self._ask("/url", {"url": path.resolve().as_uri()})

    def run(self, script, *values):
        """Return what ``script`` returns."""
        return self._ask("/execute/sync", {"script": script, "args": list(values)})

    def wait(self, script, *values):
        """Run ``script`` until the result is true; fail after ten seconds."""
        for _ in range(100):
            if found := self.run(script, *values):
                return found
            time.sleep(0.1)
        raise AssertionError(f"never true: {script}")

    def errors(self):
        """Return what the console said since the last call: errors and warnings."""
        lines = self._ask("/se/log", {"type": "browser"})
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """Return the addresses that pages asked for since the last call."""
        events = [json.loads(e["message"])["message"] for e in
                  self._ask("/se/log", {"type": "performance"})]  # fmt: skip
        asked = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in asked]

    def press(self, key):
        """Press and release a key, called as in DevTools."""
        for kind in ("rawKeyDown", "keyUp"):
            code = {"Enter": 13, "Escape": 27}[key]
            self.devtools("Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key,
                          "windowsVirtualKeyCode": code})  # fmt: skip

    def screenshot(self, path: Path):
        """Write the window as PNG."""
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", {})["data"]))

    def close(self):
        """End browser and driver."""
        try:
            urllib.request.urlopen(urllib.request.Request(self.url, method="DELETE"), timeout=20)
        finally:
            self.driver.terminate()
            self.driver.wait(20)
