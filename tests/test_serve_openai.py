"""OpenAI's API on the local server, with a model that always gives the same answer, a byte each token."""

import dataclasses
import json
import time
import urllib.request
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from served import serving, settings

from tfft.data.chat_template import ChatTemplate
from tfft.serving.server.openai import cut, sure
from tfft.tasks.texts.answering import continued
from tfft.tasks.texts.language import Language

ANSWER = "Grüße! User: bye"
SLOW = 1_000_000  # seeds from here on
SLOWER = SLOW + 1
USUAL = {"temperature": 0.0, "top_p": 1.0, "seed": 0}


class Fixed(tf.Module):
    @tf.function(autograph=False, input_signature=[
        tf.TensorSpec([None], tf.string, name="prompt"), tf.TensorSpec([None, None], tf.int32, name="tokens"),
        tf.TensorSpec([None], tf.int32, name="max_new_tokens"), tf.TensorSpec([None], tf.float32, name="temperature"),
        tf.TensorSpec([None], tf.float32, name="top_p"), tf.TensorSpec([None], tf.int32, name="seed")])
    def more(self, prompt, tokens, max_new_tokens, temperature, top_p, seed):
        whole = tf.cast(tf.io.decode_raw(tf.constant(ANSWER.encode()), tf.uint8), tf.int32)
        size = tf.minimum(tf.reduce_sum(tf.cast(tokens >= 0, tf.int32), axis=1) + max_new_tokens, tf.size(whole))
        made = tf.where(tf.range(tf.reduce_max(size)) < size[:, tf.newaxis], whole[:tf.reduce_max(size)], -1)
        text = tf.strings.substr(tf.fill(tf.shape(size), ANSWER.encode()), tf.zeros_like(size), size)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        most = tf.reduce_max(seed)
        if_slow = tf.where(most == SLOWER, 3000, tf.where(most >= SLOW, 300, 0))  # below 1 ms each
        _, work = tf.while_loop(lambda i, _: i < if_slow, lambda i, x: (i + 1, tf.tanh(x @ x)), (0, tf.ones([200, 200])))
        seen = tf.cast(0.0 * work[0, 0], tf.int32)
        over = seen + tf.cast(size == tf.size(whole), tf.int32)
        return {"tokens": made, "text": text, "done": over, "prompt_tokens": tf.strings.length(prompt)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openai") / "talk"
    model = Fixed()
    tf.saved_model.save(model, str(folder / "1"), signatures={"serving_default": model.more, "continue": model.more})
    (folder / "1/assets.extra").mkdir(exist_ok=True)
    (folder / "1/assets.extra/chat.json").write_text(json.dumps({
        "template": dataclasses.asdict(ChatTemplate("chatml")), "system": "", "texts": False, "max_new_tokens": 64, "stop": [],
        "usual": USUAL}))
    with serving(settings(folder)) as made:
        yield made


def events(server, path: str, body: dict) -> list[str]:
    request = urllib.request.Request(server.url + path, json.dumps({**body, "stream": True}).encode())
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        return [line.removeprefix("data: ") for line in response.read().decode().split("\n\n") if line]


CHAT = {"model": "talk", "messages": [{"role": "user", "content": "Hi"}]}


def test_whole_answers(server):
    status, made = server.ask("/v1/chat/completions", CHAT)
    prompt = len("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    size = len(ANSWER.encode())
    assert status == 200 and made["object"] == "chat.completion" and made["model"] == "talk"
    assert made["choices"] == [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "logprobs": None,
                                "finish_reason": "stop"}]
    assert made["usage"] == {"prompt_tokens": prompt, "completion_tokens": size, "total_tokens": prompt + size}
    _, made = server.ask("/v1/completions", {"model": "talk", "prompt": "Hi", "max_tokens": 2})
    assert made["object"] == "text_completion" and made["usage"]["prompt_tokens"] == 2
    assert (made["choices"][0]["text"], made["choices"][0]["finish_reason"]) == ("Gr", "length")
    _, made = server.ask("/v1/completions", {"model": "talk", "prompt": "Hi", "stop": ["User:", "x"]})
    assert (made["choices"][0]["text"], made["choices"][0]["finish_reason"]) == ("Grüße! ", "stop")


def test_any_number_of_tokens_may_be_asked_for(server):
    _, made = server.ask("/v1/completions", {"model": "talk", "prompt": "Hi", "max_tokens": 10 ** 12})
    assert made["choices"][0]["text"] == ANSWER


def test_streams(server):
    *parts, usage, done = events(server, "/v1/chat/completions", {**CHAT, "stop": "User:",
                                                                 "stream_options": {"include_usage": True}})
    parts = [json.loads(part)["choices"][0] for part in parts]
    texts = [part["delta"].get("content", "") for part in parts]
    assert done == "[DONE]" and json.loads(usage)["choices"] == [] and json.loads(usage)["usage"]["completion_tokens"] > 0
    assert "".join(texts) == "Grüße! " and "\ufffd" not in str(texts) and len([text for text in texts if text]) > 1
    assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + ["stop"]
    *parts, done = events(server, "/v1/completions", {"model": "talk", "prompt": "Hi", "max_tokens": 4})
    assert "".join(json.loads(part)["choices"][0]["text"] for part in parts).startswith("Gr") and done == "[DONE]"


@pytest.mark.parametrize(("change", "told"), [
    ({"n": 2}, "can only be 1"), ({"tools": [{}]}, '"tools" is not supported'),
    ({"temperature": "hot"}, '"temperature" must be'),
    ({"stop": ["a"] * 5}, '"stop" must be'), ({"max_tokens": 0}, '"max_tokens" must be'), ({"messages": []}, '"messages"'),
    ({"stream": True, "stream_options": "usage"}, '"stream_options" must be'),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "surrogate"),
    ({"model": "nobody"}, "nobody")])
def test_refusals_have_openais_shape(server, change, told):
    status, made = server.ask("/v1/chat/completions", {**CHAT, **change})
    assert status in (400, 404) and told in made["error"]["message"] and made["error"]["type"] == "invalid_request_error"


def test_a_client_that_went_away_is_not_answered_further(server):
    body = json.dumps({**CHAT, "seed": SLOW, "stream": True}).encode()
    inference, calls = server.server.inference, []
    predict = inference.predict
    inference.predict = lambda *given: calls.append(1) or predict(*given)
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + "/v1/chat/completions", body), timeout=30) as response:
            assert response.readline().startswith(b"data: ") and inference.in_flight == 1
        until = time.monotonic() + 10
        while inference.in_flight and time.monotonic() < until:
            time.sleep(0.01)
        before = len(calls)
        time.sleep(0.5)
        assert inference.in_flight == 0 and len(calls) == before < 3  # a whole answer takes three
    finally:
        inference.predict = predict


def test_models_are_listed_as_openai_does(server):
    _, made = server.ask("/v1/models")
    assert made["object"] == "list" and [model["id"] for model in made["data"]] == ["talk"]
    assert made["models"][0]["name"] == "talk"


def test_only_what_stays_is_sent():
    assert sure("Hi Us", ("User",)) == "Hi " and sure("Gr\ufffd", ()) == "Gr" and cut("a User b", ("b", "User")) == ("a ", True)


def test_continued():
    language = Language(("", "a", "b", "c"), (0,))
    made = continued(tf.constant([[1, 2], [3, 0], [1, -1]]), tf.constant([[3, -1], [1, 1], [0, -1]]), language, ("bc",))
    assert made["tokens"].numpy().tolist() == [[1, 2, 3], [3, 0, -1], [1, 0, -1]]
    assert made["text"].numpy().tolist() == [b"a", b"c", b"a"] and made["done"].numpy().tolist() == [1, 1, 1]
    fresh = continued(tf.zeros([1, 0], tf.int32), tf.constant([[1, -1]]), language, ("bc",))
    assert (fresh["text"].numpy().tolist(), fresh["done"].numpy().tolist()) == ([b"a"], [0])
    assert np.shape(fresh["tokens"]) == (1, 1)


def test_requests_that_wait_are_computed_together(server):
    """Each as if it were alone, whatever the others ask for; streams too."""
    _, batcher = server.server.inference.models.find("talk", None, "")
    rows, observe = [], batcher._observe
    batcher._observe = lambda count, seconds: rows.append(count) or observe(count, seconds)

    def whole(size: int) -> str:
        _, made = server.ask("/v1/completions", {"model": "talk", "prompt": "Hi" * size, "max_tokens": size})
        return made["choices"][0]["text"]

    def streamed(size: int) -> str:
        parts = events(server, "/v1/completions", {"model": "talk", "prompt": "Hi", "max_tokens": size})[:-1]
        return "".join(json.loads(part)["choices"][0]["text"] for part in parts)

    try:
        with futures.ThreadPoolExecutor(12) as pool:
            slow = pool.submit(server.ask, "/v1/completions", {"model": "talk", "prompt": "Hi", "seed": SLOWER})
            while not batcher.waiting and not server.server.inference.in_flight:
                time.sleep(0.001)
            time.sleep(0.05)
            sizes = [1, 2, 5, 8, 9]
            answers = [*pool.map(whole, sizes), *pool.map(streamed, sizes)]
            assert slow.result()[1]["choices"][0]["text"] == ANSWER
    finally:
        batcher._observe = observe
    assert answers == [ANSWER.encode()[:size].decode("utf-8", "replace") for size in sizes] * 2
    assert max(rows) > 2
