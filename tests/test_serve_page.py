"""The page at /, in a real headless Chromium driven by its DevTools protocol."""

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
import tensorflow as tf
from served import serving, settings, versions

from tfft.serving.server.settings import ModelSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
XSS = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


class Browser:
    """A tab of a headless Chromium."""

    def __init__(self, socket):
        self._socket, self._numbers = socket, itertools.count(1)

    async def send(self, method: str, **parameters):
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script: str):
        made = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made
        return made["result"].get("value")

    async def until(self, script: str):
        for _ in range(400):
            if made := await self.run(f"(() => {{ const made = {script}; return made instanceof Node || made }})()"):
                return made
            await asyncio.sleep(0.05)
        raise AssertionError(f"never: {script}; {await self.run('document.body.innerText')}")

    async def type(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector('{selector}').focus(); document.querySelector('{selector}').select()")
        await self.send("Input.insertText", text=text)

    async def press(self, key: str, modifiers: int = 0) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers,
                            windowsVirtualKeyCode={"Enter": 13, "Tab": 9}[key])


def browse(url: str, profile: Path, body) -> None:
    """Runs body(browser) on a page."""
    async def main():
        flags = ["--headless", "--disable-gpu", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={profile}",
                 "--window-size=760,620", "--no-first-run", "--disable-background-networking"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([CHROMIUM, *flags, "about:blank"], **quiet) as process:
            try:
                port_file = profile / "DevToolsActivePort"
                for _ in range(600):
                    if port_file.exists() and len(port_file.read_text().split()) == 2:
                        break
                    await asyncio.sleep(0.05)
                port = port_file.read_text().split()[0]
                async with aiohttp.ClientSession() as session:
                    async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as response:
                        address = (await response.json(content_type=None))["webSocketDebuggerUrl"]
                    async with session.ws_connect(address, max_msg_size=0) as socket:
                        browser = Browser(socket)
                        await browser.send("Page.enable")
                        await browser.send("Page.navigate", url=url)
                        await body(browser)
            finally:
                process.kill()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_person_asks_and_sees_the_answer(tiny_saved, tmp_path):
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    models = (ModelSettings("tiny", folder), ModelSettings("<b>other</b>", folder))

    async def body(browser):
        await browser.until("document.querySelector('#input-text') && !document.querySelector('#ask').disabled")
        assert await browser.run("[...document.querySelectorAll('#model option')].map(o => o.textContent)") == [
            "tiny", "<b>other</b>"]
        assert await browser.run("document.querySelector('label[for=input-text]').textContent") == "Text"
        await browser.type("#input-text", "abc")
        await browser.run("document.querySelector('#ask').click()")
        await browser.until("document.querySelector('#answer h2')")
        answer = served.predict(["abc"])[0]
        assert await browser.run("document.querySelector('#answer h2').textContent") == answer["label"]
        shown = await browser.run("[...document.querySelectorAll('.row')].map(r => [...r.children].map(c => c.textContent))")
        best = max(answer["scores"])
        assert shown[0] == [f"\u2713 {answer['label']}", "", f"{100 * best:.1f}%"] and len(shown) == 2
        width = await browser.run("parseFloat(document.querySelector('.fill').style.width)")
        assert width == pytest.approx(100 * best, abs=0.1)
        await browser.run("document.querySelector('#model').selectedIndex = 1; "
                          "document.querySelector('#model').dispatchEvent(new Event('change'))")
        await browser.until("!document.querySelector('#answer h2') && document.querySelector('#input-text')?.value === ''")
        await browser.type("#input-text", XSS)
        await browser.press("Enter", modifiers=2)  # Ctrl
        await browser.until("document.querySelector('#answer h2')")
        assert await browser.run("document.querySelectorAll('img, main b, main script').length") == 0
        await browser.type("#input-text", "fail")
        await browser.press("Enter", modifiers=2)
        assert "this text fails" in await browser.until("document.querySelector('[role=alert]')?.textContent")
        assert await browser.run("window.hacked === undefined")
        assert await browser.run("performance.getEntriesByType('resource').every(e => e.name.startsWith(location.origin))")

    with serving(settings(models=models)) as served:
        browse(served.url + "/", tmp_path / "profile", body)


OUTPUTS = {
    "pairs": "{label: 'same', label_names: ['same', 'other'], scores: [0.75, 0.25]}",
    "several": "{label: 'a,c', label_names: ['a', 'b', 'c'], scores: [0.9, 0.1, 0.8], selected: [1, 0, 1]}",
    "abstained": "{label: '', abstained: 1, label_names: ['a', 'b'], scores: [0.51, 0.49]}", "value": "{value: 3.14159}"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_every_kind_of_answer_is_shown(tiny_saved, tmp_path):
    async def body(browser):
        await browser.until("document.querySelector('#input-text')")
        shown = {}
        for kind, outputs in OUTPUTS.items():
            await browser.run(f"show({outputs}, 1)")
            shown[kind] = await browser.run("document.querySelector('#answer').innerText")
            chosen = await browser.run("[...document.querySelectorAll('.row.chosen .name')].map(e => e.textContent)")
            assert chosen == {"pairs": ["\u2713 same"], "several": ["\u2713 a", "\u2713 c"]}.get(kind, [])
        assert shown["pairs"].startswith("same") and "75.0%" in shown["pairs"] and shown["several"].startswith("a,c")
        assert shown["abstained"].startswith("Not sure enough") and shown["value"].startswith("3.142")
        await browser.run("show({label: 'l3', label_names: [...Array(50).keys()].map(i => 'l' + i), "
                          "scores: [...Array(50).keys()].map(i => i / 50)}, 1)")
        assert await browser.run("document.querySelectorAll('.row').length") == 20
        await browser.run("document.querySelector('#answer button').click()")
        assert await browser.run("document.querySelectorAll('.row').length") == 50
        if "TFFT_SCREENSHOT" in os.environ:
            made = await browser.send("Page.captureScreenshot", format="png")
            Path(os.environ["TFFT_SCREENSHOT"]).write_bytes(base64.b64decode(made["data"]))

    with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1))) as served:
        browse(served.url + "/", tmp_path / "profile", body)


class Similarity(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")])
    def serve(self, text, text_pair):
        return {"value": tf.cast(tf.strings.length(text) - tf.strings.length(text_pair), tf.float32)}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_pair_of_texts_and_a_number(tmp_path):
    model = Similarity()
    tf.saved_model.save(model, str(tmp_path / "pairs" / "1"), signatures=model.serve)

    async def body(browser):
        await browser.until("document.querySelectorAll('textarea').length === 2")
        assert await browser.run("[...document.querySelectorAll('#inputs label')].map(l => l.textContent)") == [
            "Text", "Second text"]
        await browser.type("#input-text", "abcde")
        await browser.type("#input-text_pair", "ab")
        await browser.run("document.querySelector('#ask').click()")
        assert await browser.until("document.querySelector('#answer h2')?.textContent") == "3.000"

    with serving(settings(tmp_path / "pairs")) as served:
        browse(served.url + "/", tmp_path / "profile", body)


def test_the_page_is_one_file_with_its_own_rules(tiny_saved, tmp_path):
    import http.client

    with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1))) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.server.rest_port)
        connection.request("GET", "/")
        response = connection.getresponse()
        page = response.read().decode()
    policy = response.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert "innerHTML" not in page and "http://" not in page and "https://" not in page
