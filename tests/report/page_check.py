#!/usr/bin/python3
"""Opens pages of `tidemark sweep --html` in headless Chromium and looks whether they work.

    tests/report/page_check.py [--shots DIR] PAGE...

Charts are drawn, hovering names a moment, tables sort and search, and nothing but the file itself is asked for; in a
narrow and a wide window, light and dark. Talks to the browser by the DevTools protocol over a pipe. Exit code 77 where
there is no Chromium.
"""
import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time


class Browser:
    def __init__(self, binary, folder):
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()

        def redirect():
            # The browser takes commands from descriptor 3 and answers on 4; copies first, as numbers may collide.
            first, second = os.dup(to_read), os.dup(to_write)
            os.dup2(first, 3)
            os.dup2(second, 4)

        self.process = subprocess.Popen(
            [binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
             "--disable-background-networking", "--user-data-dir=" + folder, "about:blank"],
            preexec_fn=redirect, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.number = 0
        self.buffer = b""
        self.events = []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def message(self):
        while b"\0" not in self.buffer:
            part = os.read(self.back, 1 << 20)
            if not part:
                raise SystemExit("the browser has gone")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, parameters=None):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters or {}}
        if getattr(self, "session", None):
            request["sessionId"] = self.session
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def value(self, expression):
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise SystemExit(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def close(self):
        self.process.kill()
        self.process.wait()


def wait_for(browser, expression, what):
    end = time.time() + 30
    while time.time() < end:
        if browser.value(expression):
            return
        time.sleep(0.05)
    raise SystemExit(f"{what}: not within 30 s")


def require(holds, what):
    if not holds:
        raise SystemExit(f"failed: {what}")


# Pixels of a chart that are not of one colour.
DRAWN = """(() => {
  const canvas = document.querySelector('#%s canvas');
  if (!canvas) return 0;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < pixels.length; i += 4) colours.add(pixels[i] << 16 | pixels[i + 1] << 8 | pixels[i + 2]);
  return colours.size;
})()"""

SORTED = """(() => {
  const button = [...document.querySelectorAll('#%s thead button')].find((b) => b.textContent === '%s');
  const column = [...button.closest('tr').children].indexOf(button.closest('th'));
  const first = () => document.querySelector('#%s tbody tr').children[column].textContent;
  button.click();
  const one = first();
  button.click();
  return [one, first(), button.closest('th').getAttribute('aria-sort')];
})()"""


def check(browser, page, width, dark, shots):
    browser.events.clear()
    browser.call("Network.enable")
    browser.call("Runtime.enable")
    browser.call("Log.enable")
    browser.call("Page.enable")
    browser.call("Emulation.setDeviceMetricsOverride",
                 {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    browser.call("Emulation.setEmulatedMedia",
                 {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
    browser.call("Page.navigate", {"url": "file://" + os.path.abspath(page)})
    wait_for(browser, "document.documentElement?.dataset.ready === 'yes'", "the page's script")
    shown = browser.value("['sweep', 'timeline', 'values'].filter((id) => !document.getElementById(id).hidden)")
    require(shown, "a part of the page is shown")
    for part in shown:
        if part != "values":
            require(browser.value(DRAWN % (part + "-chart")) > 5, f"the chart of {part} is drawn")
    require(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is no wider than the window")
    if "timeline" in shown:
        box = browser.value("""(() => { const r = document.querySelector('#timeline-chart .u-over').getBoundingClientRect();
            scrollTo(0, r.top + scrollY - 100); const s = document.querySelector('#timeline-chart .u-over').getBoundingClientRect();
            return [s.left, s.top, s.width, s.height]; })()""")
        texts = set()
        slowest = 0
        for part in (0.1, 0.3, 0.5, 0.7, 0.9):
            start = time.time()
            browser.call("Input.dispatchMouseEvent",
                         {"type": "mouseMoved", "x": box[0] + part * box[2], "y": box[1] + box[3] / 2})
            browser.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            slowest = max(slowest, time.time() - start)
            texts.add(browser.value("document.getElementById('moment').textContent"))
        require(len(texts) >= 4, f"hovering names other moments: {texts}")
        require(all("iB" in text for text in texts), "moments say bytes")
        require(slowest < 1, f"hovering answers within a second: {slowest:.2f} s")
    if "values" in shown:
        high, low, order = browser.value(SORTED % ("values-table", "bytes", "values-table"))
        require(order == "ascending" and high != low, f"the table sorts: {high}, {low}, {order}")
        rows = "[...document.querySelectorAll('#values-table tbody tr')].map((row) => row.textContent)"
        before = browser.value(rows)
        browser.value("""(() => { const box = document.getElementById('values-search'); box.value = 'backward';
            box.dispatchEvent(new Event('input')); })()""")
        found = browser.value(rows)
        require(any("backward" not in text for text in before), "the table has more than what is searched for")
        require(found and all("backward" in text or "more; search" in text for text in found), "the table searches")
    asked = [event["params"]["request"]["url"] for event in browser.events
             if event.get("method") == "Network.requestWillBeSent"]
    others = [url for url in asked if not url.startswith(("file://" + os.path.abspath(page), "data:"))]
    require(not others, f"nothing else is asked for: {others}")
    wrong = [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"
             or (event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")]
    require(not wrong, f"no errors in the console: {wrong}")
    if shots:
        browser.value("scrollTo(0, 0)")
        picture = browser.call("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})["data"]
        name = f"{os.path.splitext(os.path.basename(page))[0]}-{width}-{'dark' if dark else 'light'}.png"
        with open(os.path.join(shots, name), "wb") as file:
            file.write(base64.b64decode(picture))


def main():
    parser = argparse.ArgumentParser(description="Opens pages in headless Chromium and looks whether they work.")
    parser.add_argument("pages", nargs="+")
    parser.add_argument("--shots", help="folder for screenshots")
    options = parser.parse_args()
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if not binary:
        print("there is no Chromium: apt-get install chromium")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(binary, folder)
        try:
            for page in options.pages:
                for width in (420, 1280):
                    for dark in (False, True):
                        check(browser, page, width, dark, options.shots)
                        print(f"{page}: works, {width} wide, {'dark' if dark else 'light'}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()
