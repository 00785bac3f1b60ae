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


def within(texts: tf.Tensor, pattern: str) -> tf.Tensor:
    """float32[B]: 1 where the pattern is in a text."""
    return tf.cast(tf.strings.regex_full_match(texts, f".*{pattern}.*"), tf.float32)


def first(texts: tf.Tensor, word: str) -> tf.Tensor:
    """int32[B]: where a word begins, in characters."""
    before = tf.strings.regex_replace(texts, f"{word}.*", "")
    return tf.strings.length(before, unit="UTF8_CHAR")


class Places(tf.Module):
    """Paris is a place, surer after "in"; Rome is one if "in" stands before anything. 1894 answers what "When" asks."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def tag(self, text):
        paris, near = within(text, "Paris"), within(text, r"\bin\b")
        found = tf.stack([paris, within(text, "Rome") * near], axis=1)
        names, rows = tf.constant(["Paris", "Rome"]), tf.shape(text)[0]
        order = tf.argsort(found, axis=1, direction="DESCENDING", stable=True)
        starts = tf.stack([first(text, "Paris"), first(text, "Rome")], axis=1)
        score = tf.stack([0.5 + 0.25 * near, tf.fill([rows], 0.875)], axis=1)
        by = {"entity": tf.tile(names[tf.newaxis], [rows, 1]), "type": tf.fill([rows, 2], "place"), "score": score,
              "start": starts, "end": starts + tf.constant([5, 4])}
        return {"count": tf.cast(tf.reduce_sum(found, axis=1), tf.int32),
                **{name: tf.gather(value, order, batch_dims=1) for name, value in by.items()}}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("question", "context")])
    def read(self, question, context):
        score = tf.stack([0.25 + 0.5 * within(question, "When"), tf.fill(tf.shape(question), 0.125)], axis=1)
        names = tf.tile(tf.constant([["1894", "Jena"]]), [tf.shape(question)[0], 1])
        starts = tf.stack([first(context, "1894"), first(context, "Jena")], axis=1)
        return {"answer": names[:, 0], "score": score[:, 0], "start": starts[:, 0], "end": starts[:, 0] + 4,
                "answers": names, "scores": score, "starts": starts, "ends": starts + 4}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="question"),
                                  tf.TensorSpec([None, None], tf.string, name="choices")])
    def choose(self, question, choices):
        scores = tf.nn.softmax(tf.stack([cues(question), tf.zeros(tf.shape(question))], axis=1))
        position = tf.argmax(scores, axis=1, output_type=tf.int32)
        return {"choice": tf.gather(choices, position, batch_dims=1), "position": position,
                "score": tf.reduce_max(scores, axis=1), "scores": scores}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    base, model, number, places = tmp_path_factory.mktemp("models"), Cues(), Similarity(), Places()
    pages = {"cues": (model.serve, model, ["text", "text_pair"], "labels"), "several": (model.several, model),
             "number": (number.serve, number), "tagger": (places.tag, places, ["text"], "entities"),
             "reader": (places.read, places, ["question", "context"], "answer"),
             "chooser": (places.choose, places, ["question", "choices"], "choice")}
    for name, (signature, held, *page_of) in pages.items():
        tf.saved_model.save(held, str(base / name / "1"), signatures=signature)
        if page_of:
            write_page(base / name, {"fields": page_of[0], "shows": page_of[1]})
    with serving(settings(*(base / name for name in pages))) as made:
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


@pytest.mark.slow
def test_words_that_make_an_entity(page: Page, served):  # noqa: F811
    choose(page, served, "tagger")
    ask(page, text="Ski in Paris, not Rome \u6771")
    page.get_by_role("button", name="Why?").click()
    field = page.get_by_label("Words for and against")
    expect(field.locator("option")).to_have_count(2)  # the model has been asked again and again by then
    assert field.locator("option").all_text_contents() == ["Rome (place)", "Paris (place)"]  # the surest first
    assert marked(page) == [("in", "for", "+0.88")]
    assert told(page) == ["For Rome (place): in +0.88",
                          "Numbers: what the score (0.88) loses where the word is left out. Its own words are not."]
    field.select_option("Paris (place)")
    assert marked(page) == [("in", "for", "+0.25")] and "score (0.75)" in told(page)[-1]
    ask(page, text="Ski at home")
    expect(page.locator("#headline h2")).to_have_text("No entity")
    expect(page.get_by_role("button", name="Why?")).to_have_count(0)


@pytest.mark.slow
def test_words_that_make_an_answer(page: Page, served):  # noqa: F811
    choose(page, served, "reader")
    ask(page, question="When was it?", context="Built in 1894 in Jena.")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark")).to_have_count(1)
    assert marked(page) == [("When", "for", "+0.50")] and told(page)[0] == "For 1894: When +0.50"
    page.get_by_label("Words for and against").select_option("Jena")
    assert page.locator("#why mark").count() == 0 and "score (0.13)" in told(page)[-1]


@pytest.mark.slow
def test_words_that_make_a_choice(page: Page, served):  # noqa: F811
    choose(page, served, "chooser")
    ask(page, question="good, not bad", choices="one\ntwo")
    expect(page.locator("#headline h2")).to_contain_text("two")
    page.get_by_role("button", name="Why?").click()
    expect(page.locator("#why mark")).to_have_count(2)
    assert marked(page) == [("good", "against", "\u22121.00"), ("bad", "for", "+2.00")]
    assert "log odds (1.00)" in told(page)[-1]
