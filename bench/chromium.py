# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over its debugging protocol: for tests, measurements and pictures."""

import argparse
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
TIMEOUT = 300.0  # seconds
ARGUMENTS = (
    '--headless=new',
    '--no-sandbox',  # which root, and many containers, cannot have
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-dev-shm-usage',
    '--disable-sync',
    # WebGL without a graphics card.
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist',
    '--remote-debugging-port=0',
)


def find_chromium() -> tuple[str, str]:
    """Path of the browser, or '' and why there is none."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    for path in found:
        # Ubuntu's is a script that asks for a snap, which cannot be driven from outside.
        with open(path, 'rb') as file:
            snap = b'snap' in file.read(4096) and not Path(path).resolve().is_relative_to('/opt')
        if not snap and '/snap/' not in os.path.realpath(path):
            return path, ''
    if found:
        return '', f'{found[0]} is a snap, which cannot be driven from outside'
    return '', 'no Chromium is installed (Debian: chromium; tools/test brings it)'


def need_chromium(parser: argparse.ArgumentParser) -> None:
    """End a bench that needs a browser before its work begins where there is none."""
    path, why = find_chromium()
    if not path:
        parser.error(why)


class Chromium:
    """A browser with one page, in a process group and a profile of its own.

    Args:
        width, height: of the page in pixels.
        niceness: how far it stands back behind other work.

    Attributes:
        requests: addresses of all that pages asked for.
        errors: what was raised in pages and not caught.

    Raises:
        OSError: there is no browser.
    """

    def __init__(self, width: int = 1280, height: int = 800, niceness: int = 0) -> None:
        path, why = find_chromium()
        if not path:
            raise OSError(why)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._numbers = itertools.count(1)
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                *('nice', '-n', str(niceness), path, *ARGUMENTS),
                f'--window-size={width},{height}',
                f'--user-data-dir={self._profile.name}',
                'about:blank',
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(OSError):
            # Where Linux shares the processor out between sessions first, nice counts within one.
            Path(f'/proc/{self._process.pid}/autogroup').write_text(str(niceness))
        try:
            self._socket = connect(self._address_of_page(), max_size=None, ping_interval=None)
            self.call('Page.enable')
            self.call('Network.enable')
            self.call('Runtime.enable')
            size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
            self.call('Emulation.setDeviceMetricsOverride', **size)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> 'Chromium':
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._end()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result.

        Raises:
            RuntimeError: the browser says no.
            TimeoutError: it says nothing.
        """
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': parameters}))
        while True:
            message = json.loads(self._socket.recv(TIMEOUT))
            if message.get('id') == number:
                if 'error' in message:
                    raise RuntimeError(f'{method}: {message["error"]["message"]}')
                return message['result']
            self._note(message)

    def open(self, url: str) -> None:
        """Go to a page.

        Raises:
            RuntimeError: it cannot be reached.
        """
        result = self.call('Page.navigate', url=url)
        if result.get('errorText'):
            raise RuntimeError(f'{url}: {result["errorText"]}')

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page.

        Raises:
            RuntimeError: it raises.
        """
        result = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        if 'exceptionDetails' in result:
            raise RuntimeError(f'{expression}: {result["exceptionDetails"]}')
        return result['result'].get('value')

    def wait(self, expression: str, timeout: float = TIMEOUT) -> Any:
        """Wait until a JavaScript expression is truthy; returns its value.

        Raises:
            TimeoutError: it does not become so within ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                text = self.evaluate('document.body.innerText')
                raise TimeoutError(f'{expression} is {value!r}; the page:\n{text}\n{self.errors}')
            time.sleep(0.1)
        return value

    def click(self, label: str) -> None:
        """Click, as a mouse does, the button with this label, once it is there."""
        find = (
            "[...document.querySelectorAll('button')].find("
            f'b => b.innerText.trim() === {json.dumps(label)} && b.offsetParent)'
        )
        self.wait(f'!!{find} && !{find}.disabled')
        box = self.evaluate(
            f"(() => {{ const b = {find}; b.scrollIntoView({{block: 'center'}});"
            ' const r = b.getBoundingClientRect();'
            ' return [r.x + r.width / 2, r.y + r.height / 2] })()'
        )
        for kind in ('mousePressed', 'mouseReleased'):
            where = {'x': box[0], 'y': box[1], 'button': 'left', 'clickCount': 1}
            self.call('Input.dispatchMouseEvent', type=kind, **where)

    def screenshot(self, path: Path) -> None:
        """Write what the page looks like, as PNG."""
        data = self.call('Page.captureScreenshot', format='png')['data']
        path.write_bytes(base64.b64decode(data))

    def _address_of_page(self) -> str:
        """Where the page is debugged, once the browser has started."""
        file = Path(self._profile.name) / 'DevToolsActivePort'
        end = time.monotonic() + TIMEOUT
        while not (file.exists() and (lines := file.read_text().split())):
            if self._process.poll() is not None:
                raise OSError(f'Chromium ended with exit code {self._process.returncode}')
            if time.monotonic() > end:
                raise TimeoutError('Chromium did not start')
            time.sleep(0.1)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < end:
            targets = json.load(opener.open(f'http://127.0.0.1:{lines[0]}/json', timeout=TIMEOUT))
            for target in targets:
                if target['type'] == 'page':
                    return target['webSocketDebuggerUrl']
            time.sleep(0.1)
        raise TimeoutError('Chromium has no page')

    def _note(self, event: dict[str, Any]) -> None:
        if event['method'] == 'Network.requestWillBeSent':
            self.requests.append(event['params']['request']['url'])
        elif event['method'] == 'Network.webSocketCreated':
            self.requests.append(event['params']['url'])
        elif event['method'] == 'Runtime.exceptionThrown':
            self.errors.append(str(event['params']['exceptionDetails']))

    def _end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._profile.cleanup()
