# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium in a namespace, driven by Selenium; what it asked for and complained of can be read.

    browser = Browser(scope, directory, namespace)
    browser.open("http://127.0.0.1:9469/")
    wait_until(lambda: "vm1" in browser.text("#vms"), "the page shows vm1")

chromedriver runs as the first process of a PID namespace, which the kernel ends with the test: no part of Chromium
outlives it. Profile, caches and crash reports lie in `directory`. The thread that calls must be in the namespace, for
chromedriver listens there.
"""

import base64
import json

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chromium.remote_connection import ChromiumRemoteConnection
from selenium.webdriver.common.by import By

from .processes import Process
from .waiting import PATIENCE, wait_until

DRIVER_PORT = 9515
CHROMIUM = "/usr/bin/chromium"


class Browser:
    def __init__(self, scope, directory, namespace):
        home = directory / "browser"
        home.mkdir()
        driver = scope.enter_context(Process(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "chromedriver", f"--port={DRIVER_PORT}"],
            log=directory / "chromedriver.log", namespace=namespace,
            environment={"HOME": str(home), "TMPDIR": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}))
        wait_until(lambda: not driver.running() or "started successfully" in driver.log(), "chromedriver has started")
        self.driver = webdriver.Remote(ChromiumRemoteConnection(f"http://127.0.0.1:{DRIVER_PORT}", "goog", "chrome", ignore_proxy=True),
                                       options=self.options(home))
        scope.callback(self.driver.quit)
        self.driver.set_page_load_timeout(30 * PATIENCE)
        self.driver.set_script_timeout(30 * PATIENCE)
        self.asked, self.complaints = [], []
        self.open("about:blank")
        self.driver.get_log("performance")  # of Chromium's own first page

    @staticmethod
    def options(home):
        options = Options()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update",
                         "--disable-background-networking", "--window-size=1280,900", f"--user-data-dir={home / 'profile'}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        return options

    def open(self, address):
        self.driver.get(address)

    def command(self, name, **parameters):
        """Of Chromium's DevTools protocol."""
        return self.driver.execute("executeCdpCommand", {"cmd": name, "params": parameters})["value"]

    # --- what is shown --------------------------------------------------------------------------------------------

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector) -> str:
        """Of an element, also of what is hidden or scrolled away; "" if there is none."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def is_shown(self, selector) -> bool:
        return self.find(selector).is_displayed()

    def rows(self, table) -> list[dict[str, str]]:
        """Of a table, by the titles of its columns; parts of a cell are apart by a space."""
        return self.run("""
            return [...document.querySelectorAll(arguments[0] + ' tbody tr')].map(row => Object.fromEntries(
                [...row.cells].map(cell => [cell.dataset.label, cell.children.length === 0 ? cell.textContent :
                    [...cell.children].map(child => child.textContent).join(' ')])))""", table)

    def type(self, selector, text):
        self.find(selector).clear()
        self.find(selector).send_keys(text)

    # --- how it is shown ------------------------------------------------------------------------------------------

    def view(self, width, scheme):
        """As on a screen of this width, in a light or dark scheme."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme},
                                                             {"name": "prefers-reduced-motion", "value": "reduce"}])

    def picture(self, path, most_height=2400):
        """The whole page, also what would be scrolled, as a PNG."""
        width, height = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most_height), "scale": 1}
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    # --- what it did ----------------------------------------------------------------------------------------------

    def collect(self):
        """Takes over what is in Chromium's logs: each entry is told once."""
        self.complaints += [entry for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])
