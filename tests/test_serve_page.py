"""The page at /, in the system's Chromium, headless, driven by Playwright. .ci/run installs Chromium where it can."""

import os
import shutil

import pytest
import tensorflow as tf
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import serving, settings, versions

from tfft.serving.server.settings import ModelSettings

XSS = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture(scope="module")
def chromium():
    """A running headless Chromium, the system's own: Playwright's builds are not downloaded."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium on this machine (.ci/run installs one)")
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser):
    """An empty tab with a profile of its own. No script on the pages that a test opens may raise."""
    raised = []
    with chromium.new_context(viewport={"width": 760, "height": 620}) as context:
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: raised.append(error))
        yield tab
    assert not raised


@pytest.mark.slow
def test_a_person_asks_and_sees_the_answer(page: Page, tiny_saved, tmp_path):
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(models=(ModelSettings("tiny", folder), ModelSettings("<b>other</b>", folder)))) as served:
        page.goto(served.url)
        text, headline = page.get_by_label("Text", exact=True), page.locator("#answer h2")
        expect(page.locator("label[for=input-text]")).to_have_text("Text")
        expect(text).to_have_id("input-text")
        expect(page.locator("#ask")).to_be_enabled()
        assert page.locator("#model option").all_text_contents() == ["tiny", "<b>other</b>"]

        text.fill("abc")
        page.locator("#ask").click()
        answer = served.predict(["abc"])[0]
        expect(headline).to_have_text(answer["label"])
        rows = [row.locator("> *").all_text_contents() for row in page.locator(".row").all()]
        best = max(answer["scores"])
        assert rows[0] == [f"\u2713 {answer['label']}", "", f"{100 * best:.1f}%"] and len(rows) == 2
        width = page.locator(".fill").first.evaluate("bar => parseFloat(bar.style.width)")
        assert width == pytest.approx(100 * best, abs=0.1)

        page.get_by_label("Model").select_option("<b>other</b>")
        expect(headline).to_have_count(0)
        expect(text).to_have_value("")
        text.fill(XSS)
        text.press("Control+Enter")
        expect(headline).to_be_visible()
        assert page.locator("img, main b, main script").count() == 0
        text.fill("fail")
        text.press("Control+Enter")
        expect(page.get_by_role("alert")).to_contain_text("this text fails")
        assert page.evaluate("window.hacked === undefined")
        assert page.evaluate("performance.getEntriesByType('resource').every(e => e.name.startsWith(location.origin))")


OUTPUTS = {
    "pairs": {"label": "same", "label_names": ["same", "other"], "scores": [0.75, 0.25]},
    "several": {"label": "a,c", "label_names": ["a", "b", "c"], "scores": [0.9, 0.1, 0.8], "selected": [1, 0, 1]},
    "abstained": {"label": "", "abstained": 1, "label_names": ["a", "b"], "scores": [0.51, 0.49]},
    "value": {"value": 3.14159}}


@pytest.mark.slow
def test_every_kind_of_answer_is_shown(page: Page, tiny_saved, tmp_path):
    with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1))) as served:
        page.goto(served.url)
        expect(page.locator("#input-text")).to_be_visible()
        shown = {}
        for kind, outputs in OUTPUTS.items():
            page.evaluate("outputs => show(outputs, 1)", outputs)
            shown[kind] = page.locator("#answer").inner_text()
            chosen = page.locator(".row.chosen .name").all_text_contents()
            assert chosen == {"pairs": ["\u2713 same"], "several": ["\u2713 a", "\u2713 c"]}.get(kind, [])
        assert shown["pairs"].startswith("same") and "75.0%" in shown["pairs"] and shown["several"].startswith("a,c")
        assert shown["abstained"].startswith("Not sure enough") and shown["value"].startswith("3.142")

        names, scores = [f"l{i}" for i in range(50)], [i / 50 for i in range(50)]
        page.evaluate("outputs => show(outputs, 1)", {"label": "l3", "label_names": names, "scores": scores})
        expect(page.locator(".row")).to_have_count(20)
        page.locator("#answer button").click()
        expect(page.locator(".row")).to_have_count(50)
        if "TFFT_SCREENSHOT" in os.environ:
            page.screenshot(path=os.environ["TFFT_SCREENSHOT"], full_page=True)


class Entities(tf.Module):
    """Finds "Ann" in a text, and asks for a number as roles do."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="predicate"),
                                  tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, predicate, text):
        before = tf.strings.split(text, "Ann").to_tensor("")[:, :1]
        start = tf.strings.length(before, "UTF8_CHAR")
        found = tf.cast(tf.strings.regex_full_match(text, "(?s).*Ann.*"), tf.int32)
        return {"count": found, "type": tf.fill(tf.shape(start), "<b>PER"), "start": start, "end": start + 3,
                "score": tf.cast(predicate, tf.float32)[:, tf.newaxis] / 10, "entity": tf.fill(tf.shape(start), "Ann")}


@pytest.mark.slow
def test_entities_stand_where_the_text_has_them(page: Page, tmp_path):
    model = Entities()
    folder = tmp_path / "names" / "1"
    tf.saved_model.save(model, str(folder), signatures=model.serve)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "page.json").write_text('{"fields": ["text", "predicate"], "shows": "entities"}')
    with serving(settings(tmp_path / "names")) as served:
        page.goto(served.url)
        expect(page.locator("#input-text")).to_be_visible()
        assert [label[:9] for label in page.locator("#inputs label").all_text_contents()] == ["Text", "Predicate"]
        page.locator("#input-text").fill("\U0001f600\U0001f468\u200d\U0001f469 e\u0301t\u00e9 Ann  <i>slept</i>")
        page.locator("#input-predicate").fill("5")  # a number in JSON: the server takes no text for an integer
        page.locator("#ask").click()
        expect(page.locator("#answer h2")).to_have_text("1 entity")
        mark = page.locator("mark")
        assert mark.evaluate("mark => mark.firstChild.data") == "Ann" and mark.locator(".type").inner_text() == "<b>PER"
        assert mark.get_attribute("title") == "<b>PER, 50.0%" and page.locator("main i, main b").count() == 0
        assert page.locator("td").all_text_contents() == ["Ann", "<b>PER", "10", "13", "50.0%"]
        page.locator("#input-text").fill("nobody")
        page.locator("#ask").click()
        expect(page.locator("#answer h2")).to_have_text("No entity")
        assert page.locator(".passage").inner_text() == "nobody" and page.locator("table").count() == 0
        if "TFFT_SCREENSHOT_ENTITIES" in os.environ:
            page.evaluate("""() => show({count: 3, start: [0, 14, 34], end: [9, 23, 40],
                type: ['person', 'location', 'corporation'],
                score: [0.98, 0.91, 0.64], entity: ['Ada Smith', 'Amsterdam', 'Phlips']}, 12,
                {text: 'Ada Smith saw Amsterdam and wrote Phlips a letter.'})""")
            page.screenshot(path=os.environ["TFFT_SCREENSHOT_ENTITIES"], full_page=True)


@pytest.mark.slow
def test_an_answer_stands_in_its_context(page: Page, tiny_saved, tmp_path):
    with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1))) as served:
        page.goto(served.url)
        expect(page.locator("#input-text")).to_be_visible()
        page.evaluate("pages.set('tiny', {fields: ['question', 'context'], shows: 'answer'})")
        row = {"question": "Who?", "context": "\U0001f600 It was Ann who slept."}
        outputs = {"answer": "Ann", "start": 9, "end": 12, "score": 0.75, "no_answer_score": 0.1}
        page.evaluate("([outputs, row]) => show(outputs, 1, row)", [outputs, row])
        assert page.locator("h2").inner_text() == "Ann" and page.locator("mark").inner_text() == "Ann"
        assert "score 75.0%, no answer 10.0%" in page.locator("#answer").inner_text()
        none = {**outputs, "answer": "", "start": -1, "end": -1}
        page.evaluate("([outputs, row]) => show(outputs, 1, row)", [none, row])
        assert page.locator("h2").inner_text() == "No answer" and page.locator("mark").count() == 0


class Similarity(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")])
    def serve(self, text, text_pair):
        return {"value": tf.cast(tf.strings.length(text) - tf.strings.length(text_pair), tf.float32)}


@pytest.mark.slow
def test_a_pair_of_texts_and_a_number(page: Page, tmp_path):
    model = Similarity()
    tf.saved_model.save(model, str(tmp_path / "pairs" / "1"), signatures=model.serve)
    with serving(settings(tmp_path / "pairs")) as served:
        page.goto(served.url)
        expect(page.locator("textarea")).to_have_count(2)
        assert page.locator("#inputs label").all_text_contents() == ["Text", "Second text"]
        page.locator("#input-text").fill("abcde")
        page.locator("#input-text_pair").fill("ab")
        page.locator("#ask").click()
        expect(page.locator("#answer h2")).to_have_text("3.000")


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
