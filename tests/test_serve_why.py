"""Why a served model answers so, on its page: which words make the answer, as it is told in Chromium (see test_serve_page)."""

import os

import pytest
import tensorflow as tf
from playwright.sync_api import Page, expect
from served import serving, settings, write_page
from test_serve_page import Similarity, ask, choose, chromium, contrast, page  # noqa: F401

NAMES = ["<b>pos</b>", "neg"]
THUMB = "\U0001F44D\U0001F3FD"


def cues(texts: tf.Tensor) -> tf.Tensor:
    """float32[B]: how many good words, less how many bad ones."""
    def count(pattern):
        marked = tf.strings.regex_replace(texts, pattern, "\x01")
        return tf.cast(tf.strings.length(tf.strings.regex_replace(marked, "[^\x01]", "")), tf.float32)

    return count(f"good|{THUMB}") - 2.0 * count("bad")


class Cues(tf.Module):
    """The log odds of the first label are what `cues` counts."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair")])
    def serve(self, text, text_pair):
        odds = cues(text) + cues(text_pair)
        scores = tf.nn.softmax(tf.stack([odds, tf.zeros_like(odds)], axis=1))
        return {"label": tf.gather(NAMES, tf.argmax(scores, axis=1)), "scores": scores,
                "label_names": tf.tile(tf.constant(NAMES)[tf.newaxis], [tf.shape(odds)[0], 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def several(self, text):
        scores = tf.sigmoid(tf.stack([cues(text), cues(text) - 1.0], axis=1))
        return {"label": tf.fill(tf.shape(text), ",".join(NAMES)), "scores": scores,
                "selected": tf.cast(scores > 0.5, tf.int32),
                "label_names": tf.tile(tf.constant(NAMES)[tf.newaxis], [tf.shape(scores)[0], 1])}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base, model, number = tmp_path_factory.mktemp("models"), Cues(), Similarity()
    for name, signature, held in (("cues", model.serve, model), ("several", model.several, model),
                                  ("number", number.serve, number)):
        tf.saved_model.save(held, str(base / name / "1"), signatures=signature)
    write_page(base / "cues", {"fields": ["text", "text_pair"], "shows": "labels"})
    with serving(settings(base / "cues", base / "several", base / "number")) as made:
        yield made


def marked(page: Page) -> list[tuple[str, str, str]]:  # noqa: F811
    return [tuple(one) for one in page.locator("#why mark").evaluate_all(
        "marks => marks.map(mark => [mark.textContent, mark.className, mark.title])")]


def told(page: Page) -> list[str]:  # noqa: F811
    return page.locator("#why p:not(.passage)").all_text_contents()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_that_make_a_label(page: Page, served, scheme):  # noqa: F811
    page.emulate_media(color_scheme=scheme)
    choose(page, served, "cues")
    texts = {"text": f"A good <i>film</i>,\n  {THUMB} e\u0301 \u6771\u4eac not bad!", "text_pair": "so good, good"}
    ask(page, **texts)
    expect(page.locator("#headline h2")).to_have_text(NAMES[0])
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark")).to_have_count(5)
    assert marked(page) == [("good", "for", "+1.00"), (THUMB, "for", "+1.00"), ("bad", "against", "\u22122.00"),
                            ("good", "for", "+1.00"), ("good", "for", "+1.00")]
    assert page.locator("#why .passage").all_text_contents() == list(texts.values())
    assert page.locator("#why h3").all_text_contents() == ["Text", "Second text"]
    assert told(page) == [f"For {NAMES[0]}: good +1.00, {THUMB} +1.00, good +1.00, good +1.00",
                          f"Against {NAMES[0]}: bad \u22122.00",
                          "Numbers: what the log odds (2.00) lose where the word is left out."]
    assert page.locator("#answer b, #answer i").count() == 0
    bad = page.locator("#why mark.against").evaluate("m => [getComputedStyle(m).backgroundColor, getComputedStyle(m).color]")
    assert contrast(*bad) > 4.5
    if "TFFT_SCREENSHOT" in os.environ:
        page.screenshot(path=f"{os.environ['TFFT_SCREENSHOT']}-{scheme}.png", full_page=True)

    page.get_by_label("Words for and against").select_option(NAMES[1])
    assert marked(page)[2] == ("bad", "for", "+2.00") and "log odds (-2.00)" in told(page)[-1]


@pytest.mark.slow
def test_words_that_make_several_labels_or_a_number(page: Page, served):  # noqa: F811
    choose(page, served, "several")
    ask(page, text="good bad good good")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark")).to_have_count(4)
    assert marked(page)[1] == ("bad", "against", "\u22122.00")
    page.get_by_label("Words for and against").select_option(NAMES[1])
    assert "log odds (0.00)" in told(page)[-1]  # of the second label: 1 less

    choose(page, served, "number")
    ask(page, text="abcde", text_pair="ab")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark")).to_have_count(2)
    assert told(page) == ["Raise it: abcde +5.00", "Lower it: ab \u22122.00",
                          "Numbers: what the value (3.00) loses where the word is left out."]
    ask(page, text="", text_pair=" ")
    expect(page.get_by_role("button", name="Why?")).to_have_count(0)


@pytest.mark.slow
def test_long_texts_are_asked_a_few_rows_at_a_time(page: Page, served):  # noqa: F811
    choose(page, served, "several")
    text = "film " * 200 + "good " + "film " * 199 + "good"
    ask(page, text=text)
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json["instances"]))
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark").first).to_be_visible()
    assert [len(rows) for rows in sent] == [16] * 6 + [6]  # the whole, and 101 times without 4 neighbours
    assert page.locator("#why .passage").text_content() == text
    assert "these words are left out" in told(page)[-1] and told(page)[0].endswith(": good film film film +1.00, good +1.00")
    assert {len(row["text"].split()) for rows in sent for row in rows} == {401, 397, 400}


@pytest.mark.slow
def test_what_goes_wrong_is_told_beside_the_answer(page: Page, served):  # noqa: F811
    choose(page, served, "several")
    ask(page, text="good film")
    button = page.get_by_role("button", name="Why?")
    page.route("**:predict", lambda route: route.fulfill(status=503, json={"error": "<i>too much</i> to do"}))
    button.click()
    expect(page.get_by_role("alert")).to_have_text("<i>too much</i> to do")
    expect(page.locator("#headline h2")).to_be_visible()
    page.unroute("**:predict")
    held = []
    page.route("**:predict", lambda route: held.append(route))
    with page.expect_request("**:predict"):
        button.click()
    page.get_by_label("Model").select_option("number")  # what is still being explained is of no interest any more
    expect(page.locator("#input-text_pair")).to_be_visible()
    with page.expect_response("**/several:predict"):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator("#answer mark, #answer h2, .error").count() == 0
