"""The page at /, in the system's Chromium, headless, driven by Playwright. .ci/run installs Chromium where it can."""

import json
import os
import shutil

import pytest
import tensorflow as tf
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import TYPES, save_speaker, save_tagger, serving, settings, versions, write_page

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
        expect(page.locator("#inputs textarea")).to_have_count(2)
        assert page.locator("#inputs label").all_text_contents() == ["Text", "Second text"]
        page.locator("#input-text").fill("abcde")
        page.locator("#input-text_pair").fill("ab")
        page.locator("#ask").click()
        expect(page.locator("#answer h2")).to_have_text("3.000")


class Chooser(tf.Module):
    """The longest choice, each scored by its share of the letters."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="question"),
                                  tf.TensorSpec([None, None], tf.string, name="choices")])
    def serve(self, question, choices):
        letters = tf.cast(tf.strings.length(choices), tf.float32)
        scores = letters / tf.reduce_sum(letters, axis=1, keepdims=True)
        best = tf.argmax(scores, axis=1, output_type=tf.int32)
        return {"choice": tf.gather(choices, best, batch_dims=1), "position": best, "score": tf.reduce_max(scores, axis=1),
                "scores": scores}


@pytest.mark.slow
def test_choices_are_lines(page: Page, tmp_path):
    model = Chooser()
    tf.saved_model.save(model, str(tmp_path / "quiz" / "1"), signatures=model.serve)
    write_page(tmp_path / "quiz", {"fields": ["question", "choices"], "shows": "choice"})
    with serving(settings(tmp_path / "quiz")) as served:
        choose(page, served, "quiz")
        assert page.locator("#inputs label").all_text_contents() == ["Question", "Choices, one a line"]
        asked = ask(page, question="Who?", choices="A\n <b>EE</b> \n\nBB")
        assert asked == {"question": "Who?", "choices": ["A", "<b>EE</b>", "BB"]}
        expect(page.locator("#headline h2")).to_have_text("<b>EE</b> 75.0%")
        assert page.locator(".row .name").all_text_contents() == ["\u2713 <b>EE</b>", "BB", "A"]


@pytest.fixture(scope="module")
def exports(tiny_saved, tmp_path_factory):
    """A server of models with a page.json of each kind, and of some that have none or a strange one."""
    base = tmp_path_factory.mktemp("exports")
    tagger = save_tagger(base / "tagger", "entities", {"fields": ["text"], "shows": "entities"})
    folders = [tagger, save_tagger(base / "roles", "roles", {"fields": ["text", "predicate"], "shows": "entities"}),
               save_tagger(base / "reader", "answer", {"fields": ["question", "context"], "shows": "answer"})]
    for name, page in (("none", None), ("strange", {"fields": 3, "shows": "constructor"}), ("list", "[[]]"), ("broken", "{")):
        folders.append(write_page(versions(base / name, tagger / "1", 1), page))
    (base / "none/1/assets.extra/page.json").unlink()
    for name, shows in (("labels", "labels"), ("plain", "plain"), ("unfit", "entities")):
        folders.append(write_page(versions(base / name, tiny_saved, 1), {"fields": ["gone", "text", "text"], "shows": shows}))
    with serving(settings(*folders)) as served:
        yield served


def choose(page: Page, served, model: str) -> None:
    page.goto(served.url)
    page.get_by_label("Model").select_option(model)
    expect(page.locator("#ask")).to_be_enabled()


def ask(page: Page, **values: str) -> dict:
    """Fills the fields in and asks; the row that was sent."""
    for name, value in values.items():
        page.locator(f"#input-{name}").fill(value)
    with page.expect_request("**:predict") as sent:
        page.locator("#ask").click()
    expect(page.locator("#headline h2")).to_be_visible()
    expect(page.locator("#ask")).to_be_enabled()
    return json.loads(sent.value.post_data)["instances"][0]


def marks(page: Page) -> list[tuple[str, str, str]]:
    """(text, type, tooltip) of what is highlighted."""
    return page.locator(".passage mark").evaluate_all(
        "marks => marks.map(m => [m.firstChild.data, (m.querySelector('.type')?.textContent ?? '').trim(), m.title])")


def unmarked(page: Page) -> str:
    """The passage without the names of types."""
    return page.locator(".passage").evaluate(
        "p => { const own = p.cloneNode(true); own.querySelectorAll('.type').forEach(t => t.remove());"
        " return own.textContent; }")


def cells(page: Page) -> list[list[str]]:
    return [row.locator("td").all_text_contents() for row in page.locator("tbody tr").all()]


@pytest.mark.slow
def test_entities_stand_in_their_text(page: Page, exports):
    choose(page, exports, "tagger")
    text = "\U0001f600\U0001f469\u200d\U0001f680 cafe\u0301 ANNA, \u05d0\u05d1\r\n\r\n  BERN\t<i>ANA</i>"
    read = text.replace("\r\n", "\n")  # as a text area has it
    assert ask(page, text=text) == {"text": read}
    expect(page.locator("#headline h2")).to_have_text("3 entities")
    found = [["ANNA", "PER", "20.0%"], ["BERN", "<b>LOC</b>", "20.0%"], ["ANA", "PER", "25.0%"]]
    assert marks(page) == [[word, kind, f"{kind}, {score}"] for word, kind, score in found]
    assert unmarked(page) == read
    assert page.locator("#answer b, #answer i").count() == 0
    starts = [read.index(word) for word, _, _ in found]
    assert cells(page) == [[word, kind, str(start), str(start + len(word)), score]
                           for start, (word, kind, score) in zip(starts, found, strict=True)]
    assert page.locator("thead th").all_text_contents() == ["Text", "Type", "Start", "End", "Score"]
    hues = page.locator(".passage mark").evaluate_all("marks => marks.map(m => getComputedStyle(m).backgroundColor)")
    assert hues[0] == hues[2] != hues[1]
    expect(page.get_by_label("Answer").locator(".soft").last).to_contain_text("tagger, ")

    ask(page, text="none here")
    expect(page.locator("#headline h2")).to_have_text("No entity")
    assert page.locator("mark, table").count() == 0
    ask(page, text="")
    expect(page.locator("#headline h2")).to_have_text("No entity")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_many_types_differ_and_can_be_read(page: Page, exports, scheme):
    page.emulate_media(color_scheme=scheme)
    choose(page, exports, "tagger")
    ask(page, text=" ".join(chr(ord("A") + i) for i in range(26)))
    expect(page.locator("#headline h2")).to_have_text("26 entities")
    assert [kind for _, kind, _ in marks(page)] == TYPES
    colours = page.locator(".passage mark").evaluate_all(
        "marks => marks.map(m => [getComputedStyle(m).backgroundColor, getComputedStyle(m).color])")
    assert len({behind for behind, _ in colours}) == 26
    assert min(contrast(*pair) for pair in colours) > 4.5
    assert len(cells(page)) == 20
    page.get_by_role("button", name="Show all 26").press("Enter")
    assert len(cells(page)) == 26
    assert page.evaluate("document.activeElement.textContent").startswith("UTYPE-U")


def contrast(first: str, second: str) -> float:
    """Of two colours as a browser computes them, "rgb(1, 2, 3)"; by WCAG 2."""
    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
def test_a_predicate_is_a_number(page: Page, exports):
    choose(page, exports, "roles")
    assert page.locator("#inputs label").all_text_contents() == ["Text", "Predicate (where in the text it stands, from 0)"]
    predicate = page.get_by_label("Predicate")
    page.locator("#input-text").fill("ANNA sings")
    for wrong in ("", "1.5", "-1"):  # the browser says why
        predicate.fill(wrong)
        predicate.press("Control+Enter")
        assert not predicate.evaluate("field => field.validity.valid")
    assert page.locator("#answer h2, .error").count() == 0 and page.locator("#ask").is_enabled()
    assert ask(page, predicate="1") == {"text": "ANNA sings", "predicate": 1}
    assert page.locator("#headline").inner_text().split("\n") == ["1 50.0%", "", "1 entity"]
    assert [word for word, _, _ in marks(page)] == ["ANNA"]


@pytest.mark.slow
def test_an_answer_stands_in_its_context(page: Page, exports):
    choose(page, exports, "reader")
    assert page.locator("#inputs label").all_text_contents() == ["Question", "Context"]
    question, context = "Who?", "\U0001f600 <b>it</b> was\nANNA, not BOB."
    assert ask(page, question=question, context=context) == {"question": question, "context": context}
    expect(page.locator("#headline h2")).to_have_text("ANNA 4.0%")
    assert marks(page) == [["ANNA", "", "4.0%"]] and unmarked(page) == context
    assert page.locator(".row .name").all_text_contents() == ["BOB", "\u2713 ANNA"]
    expect(page.get_by_text("No answer rather than the likeliest: 25.0%")).to_be_visible()

    page.locator("#input-context").fill("nobody")
    page.locator("#input-question").press("Enter")
    expect(page.locator("#headline h2")).to_have_text("No answer 4.0%")
    assert page.locator(".passage, .row, #details h3").count() == 0


@pytest.mark.slow
def test_other_pages_are_guessed(page: Page, exports):
    _, made = exports.ask("/v1/models")
    pages = {model["name"]: model["page"] for model in made["models"]}
    assert pages["none"] == pages["list"] == pages["broken"] == {} and pages["strange"] == {"fields": 3, "shows": "constructor"}
    for name in ("none", "strange", "list", "broken"):
        choose(page, exports, name)
        ask(page, text="ANNA")
        expect(page.locator("#headline h2")).to_have_text("Answer")
        assert 'entity: ["ANNA"]' in page.locator(".soft").all_text_contents()
    for name in ("labels", "unfit"):
        choose(page, exports, name)
        assert page.locator("#inputs label").all_text_contents() == ["Text"]
        ask(page, text="abc")
        expect(page.locator(".row")).to_have_count(2)
    choose(page, exports, "plain")
    ask(page, text="abc")
    assert json.loads(page.locator("pre").inner_text()) == exports.predict(["abc"], "plain")[0]


@pytest.mark.slow
def test_answers_that_fit_no_kind_are_shown_all_the_same(page: Page, exports):
    choose(page, exports, "tagger")
    spans = {"count": 3, "type": ["A", "B", "C"], "start": [2, 0, 1], "end": [9, 1, 2], "score": [0.5, "NaN", 2], "more": [1]}
    page.evaluate("spans => show(spans, 1, {text: 'abc'}, 'entities')", spans)
    assert marks(page) == [["a", "B", "B, NaN"], ["b", "C", "C, 2.000"]] and unmarked(page) == "abc"  # 9 lies outside
    assert len(cells(page)) == 3 and "more: [1]" in page.locator(".soft").all_text_contents()
    for kind in ("entities", "answer", "labels", "plain", "other"):
        for answer in (None, 1.5, "text", [1, 2], {}, {"count": 2, "type": []}, {"answer": 3}, {"count": "0"}):
            page.evaluate("([answer, kind]) => show(answer, 1, {}, kind)", [answer, kind])
            expect(page.locator("#headline h2")).to_be_visible()


@pytest.mark.slow
def test_a_late_answer_is_not_shown_as_another_models(page: Page, exports):
    choose(page, exports, "tagger")
    held = []
    page.route("**/tagger:predict", lambda route: held.append(route))
    page.locator("#input-text").fill("ANNA")
    with page.expect_request("**:predict"):
        page.locator("#ask").click()
    page.get_by_label("Model").select_option("labels")
    expect(page.locator("#ask")).to_be_enabled()
    with page.expect_response("**/tagger:predict"):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator("#answer h2, .error").count() == 0


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


@pytest.mark.slow
def test_a_person_talks_with_a_language_model(page: Page, tiny_saved, tmp_path):
    models = (ModelSettings("speaker", save_speaker(tmp_path / "speaker")), ModelSettings("tiny", versions(
        tmp_path / "tiny", tiny_saved, 1)), ModelSettings("long", save_speaker(tmp_path / "long", max_new_tokens=100_000)),
        ModelSettings("texts", save_speaker(tmp_path / "texts", texts=True)))
    with serving(settings(models=models)) as served:
        page.goto(served.url)
        words, turns, send, stop = (page.locator(name) for name in ("#words", ".turn p", "#send", "#stop"))
        expect(page.locator("#title")).to_have_text("Chat")
        expect(page.locator("#ask")).to_be_hidden()
        words.fill(XSS)
        words.press("Enter")
        first = f"0.0 <|im_start|>user\n{XSS}<|im_end|>\n<|im_start|>assistant\n"
        expect(turns).to_have_text([XSS, first], use_inner_text=False)
        expect(words).to_have_value("")
        expect(stop).to_be_disabled()
        page.locator("summary").click()
        page.get_by_label("Temperature").fill("0.5")
        words.fill("again")
        send.click()
        expect(turns.nth(3)).to_contain_text("0.5 <|im_start|>user")
        expect(send).to_be_enabled()
        expect(turns.nth(3)).to_contain_text(f"{first[:40]}")  # what was said before is sent along
        expect(page.locator(".turn").nth(3)).to_contain_text("cut: as many tokens")
        assert page.locator("#talk img, #talk script").count() == 0 and page.evaluate("window.hacked === undefined")

        page.get_by_label("Top p").fill("7")
        words.fill("never")
        send.click()
        expect(turns).to_have_count(4)
        page.get_by_label("Top p").fill("")
        page.locator("#anew").click()
        expect(turns).to_have_count(0)

        page.get_by_label("Model").select_option("long")
        words.fill("a long story " * 1500)
        words.press("Enter")
        expect(turns.nth(1)).to_contain_text("a long story")
        stop.click()
        expect(page.locator(".turn.assistant")).to_contain_text("stopped")
        expect(send).to_be_enabled()
        assert 10 < len(turns.nth(1).text_content()) < 18_000

        page.get_by_label("Model").select_option("texts")
        expect(page.locator("#title")).to_have_text("Continue a text")
        words.fill("once")
        words.press("Enter")
        expect(turns).to_have_text(["once", "0.0 once"])
        page.get_by_label("Model").select_option("tiny")
        expect(page.locator("#chat")).to_be_hidden()
        expect(page.locator("#input-text")).to_be_visible()


@pytest.mark.slow
def test_what_goes_wrong_in_a_conversation_is_told(page: Page, tmp_path):
    page.set_viewport_size({"width": 360, "height": 640})
    with serving(settings(models=(ModelSettings("speaker", save_speaker(tmp_path / "speaker")),))) as served:
        page.goto(served.url)
        page.locator("#words").fill("hello")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.route("**/v1/chat/completions", lambda route: route.fulfill(status=503, json={"error": "too much to do"}))
        page.locator("#send").click()
        expect(page.get_by_role("alert")).to_have_text("too much to do")
        expect(page.locator("#words")).to_have_value("hello")
        expect(page.locator(".turn")).to_have_count(0)
        page.unroute("**/v1/chat/completions")
        empty = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        page.route("**/v1/chat/completions", lambda route: route.fulfill(body=empty, content_type="text/event-stream"))
        page.locator("#send").click()
        expect(page.locator(".turn").nth(1)).to_contain_text("an empty answer")
        page.unroute("**/v1/chat/completions")
        page.locator("#words").fill("again")
        with page.expect_request("**/v1/chat/completions") as asked:  # what had an empty answer is forgotten
            page.locator("#send").click()
        assert [one["content"] for one in asked.value.post_data_json["messages"]] == ["again"]
        expect(page.locator(".turn")).to_have_count(4)
        expect(page.locator("#send")).to_be_enabled()
