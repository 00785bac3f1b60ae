"""A tiny SavedModel with every kind of signature, and a server for it in this process."""

import asyncio
import contextlib
import dataclasses
import json
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tfft.serving.server.app import Server
from tfft.serving.server.settings import Limits, ModelSettings, Settings

NAMES = ["good", "bad"]
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


class Tiny(tf.Module):
    """Scores are made of a text's length in bytes and of a variable; any mistake in batching shows."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable([0.5, -0.25], name="weight")
        self.names = tf.constant(NAMES)

    def _scores(self, text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        return tf.nn.softmax(tf.sin(length)[:, tf.newaxis] * self.weight)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(self, text):
        tf.debugging.Assert(tf.reduce_all(text != "fail"), ["this text fails"])
        scores = self._scores(text)
        return {"label": tf.gather(self.names, tf.argmax(scores, axis=1)), "scores": scores,
                "label_names": tf.tile(self.names[tf.newaxis], [tf.shape(scores)[0], 1])}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, name="token_ids"),
                                  tf.TensorSpec([None, None], tf.int32, name="padding_mask")])
    def tokens(self, token_ids, padding_mask):
        return {"total": tf.reduce_sum(token_ids * padding_mask, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        scores = self._scores(text)
        return {"classes": tf.tile(self.names[tf.newaxis], [tf.shape(scores)[0], 1]), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        return {"outputs": 0.5 * x + 3.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="rounds")])
    def slow(self, rounds):
        """About 1 ms a round."""
        start = (tf.constant(0), tf.random.stateless_uniform([200, 200], [1, 2]))
        _, made = tf.while_loop(lambda i, _: i < tf.reduce_max(rounds), lambda i, x: (i + 1, tf.tanh(x @ x)), start)
        return {"rounds": rounds + tf.cast(0.0 * made[0, 0], tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def numbers(self, x):
        return {"x": x, "double": tf.cast(x, tf.float64), "half": tf.cast(x, tf.float16), "whole": tf.cast(x > 0, tf.int64),
                "flag": x > 0, "raw_bytes": tf.strings.as_string(x), "square": tf.stack([x, x * x], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def whole(self, text):
        """Its output is not one row for each row of the input, though its shape could be."""
        return {"unique": tf.unique(text)[0]}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="a"), tf.TensorSpec([3], tf.float32, name="b")])
    def fixed(self, a, b):
        return {"sum": a + b}


TYPES = ["PER", "<b>LOC</b>", *(f"TYPE-{letter}" for letter in "CDEFGHIJKLMNOPQRSTUVWXYZ")]


class Tagger(tf.Module):
    """Answers as taggers do, and as a reader does: what it finds are runs of capitals, whose type is their first one's."""

    @staticmethod
    def _found(text) -> dict:
        codes = tf.pad(tf.strings.unicode_decode(text, "UTF-8").to_tensor(), [[0, 0], [1, 1]])
        capital = (codes >= ord("A")) & (codes <= ord("Z"))
        starts = tf.RaggedTensor.from_value_rowids(*_places(capital[:, 1:] & ~capital[:, :-1]), tf.size(text, tf.int64))
        ends = tf.RaggedTensor.from_value_rowids(*_places(capital[:, :-1] & ~capital[:, 1:]), tf.size(text, tf.int64))
        kinds = starts.with_values(tf.gather(TYPES, tf.gather_nd(codes, tf.stack(
            [starts.value_rowids(), starts.values + 1], axis=1)) - ord("A")))
        start, end = starts.to_tensor(-1), ends.to_tensor(-1)
        score = tf.where(start < 0, 0.0, 1.0 / tf.cast(end - start + 1, tf.float32))
        texts = tf.repeat(text[:, tf.newaxis], tf.shape(start)[1], axis=1)
        entity = tf.strings.substr(texts, tf.maximum(start, 0), end - start, unit="UTF8_CHAR")
        return {"count": tf.cast(starts.row_lengths(), tf.int32), "type": kinds.to_tensor(""), "entity": entity, "score": score,
                "start": tf.cast(start, tf.int32), "end": tf.cast(end, tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def entities(self, text):
        return self._found(text)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text"),
                                  tf.TensorSpec([None], tf.int64, name="predicate")])
    def roles(self, text, predicate):
        return {**self._found(text), "label": tf.strings.as_string(predicate), "label_score": tf.fill(tf.shape(text), 0.5)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in ("question", "context")])
    def answer(self, question, context):
        """The first run that it finds; as sure as the question is long."""
        found = self._found(context)
        first = {"answer": tf.pad(found["entity"], [[0, 0], [0, 1]])[:, 0]}
        for name in ("start", "end"):
            first[name] = tf.pad(found[name], [[0, 0], [0, 1]], constant_values=-1)[:, 0]
        return {**first, "score": tf.cast(tf.strings.length(question), tf.float32) / 100.0,
                "no_answer_score": tf.fill(tf.shape(context), 0.25), "answers": found["entity"], "scores": found["score"]}


class Speaker(tf.Module):
    """Says what it was asked, a letter a token, as a language model's `continue` does."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="prompt"),
                                  tf.TensorSpec([None, None], tf.int32, name="tokens"),
                                  tf.TensorSpec([None], tf.int32, name="max_new_tokens"),
                                  tf.TensorSpec([None], tf.float32, name="temperature")])
    def more(self, prompt, tokens, max_new_tokens, temperature):
        answer = tf.strings.join([tf.strings.as_string(temperature, precision=1), prompt], " ")
        length = tf.strings.length(answer, unit="UTF8_CHAR")
        count = tf.minimum(tf.reduce_sum(tf.cast(tokens >= 0, tf.int32), axis=1) + max_new_tokens, length)
        made = tf.where(tf.sequence_mask(count), 0, -1)
        return {"tokens": made, "text": tf.strings.substr(answer, tf.zeros_like(count), count, unit="UTF8_CHAR"),
                "done": tf.cast(count >= length, tf.int32), "prompt_tokens": tf.strings.length(prompt)}


def save_speaker(base: Path, **changes) -> Path:
    """A model folder of it, as tfft exports language models; changes: of what its chat.json says."""
    model = Speaker()
    tf.saved_model.save(model, str(base / "1"), signatures={"serving_default": model.more, "continue": model.more})
    (base / "1/assets.extra").mkdir()
    (base / "1/assets.extra/chat.json").write_text(json.dumps({
        "template": {"source": "chatml"}, "system": "", "texts": False, "max_new_tokens": 200, "stop": [],
        "usual": {"temperature": 0.0, "top_p": 1.0, "seed": 0}, **changes}))
    return base


def _places(there) -> tuple[tf.Tensor, tf.Tensor]:
    where = tf.where(there)
    return where[:, 1], where[:, 0]


def save_tagger(base: Path, name: str, page: dict | str | None = None) -> Path:
    """A model folder whose serving_default is one of Tagger's functions, with a page.json where one is given."""
    model, folder = Tagger(), base / "1"
    tf.saved_model.save(model, str(folder), signatures={"serving_default": getattr(model, name)})
    return write_page(base, page)


def write_page(base: Path, page: dict | str | None) -> Path:
    """page.json in version 1 of a model folder."""
    if page is not None:
        (base / "1/assets.extra").mkdir(exist_ok=True)
        (base / "1/assets.extra/page.json").write_text(page if isinstance(page, str) else json.dumps(page))
    return base


def save(folder: Path) -> Path:
    """Writes the SavedModel; classify and regress get their methods, as an export does it."""
    model = Tiny()
    names = ("tokens", "classify", "regress", "slow", "numbers", "whole", "fixed")
    calls = (model.tokens, model.classify, model.regress, model.slow, model.numbers, model.whole, model.fixed)
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve, **dict(zip(names, calls))})
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    signatures["classify"].method_name, signatures["regress"].method_name = CLASSIFY, REGRESS
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


def versions(base: Path, source: Path, *numbers: int) -> Path:
    """A model folder with copies of one SavedModel."""
    for number in numbers:
        add_version(base, source, number)
    return base


def add_version(base: Path, source: Path, number: int) -> None:
    """Appears at once, as a deployment should do it."""
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, base / f".copying-{number}")
    (base / f".copying-{number}").rename(base / str(number))


def settings(*folders: Path, **changed) -> Settings:
    """Free ports, quick polling and short limits."""
    limits = {name: changed.pop(name) for name in [f.name for f in dataclasses.fields(Limits)] if name in changed}
    models = changed.pop("models", tuple(ModelSettings(folder.name, folder) for folder in folders))
    return Settings(models=models, rest_port=0, grpc_port=0, limits=Limits(**{"drain_seconds": 5.0, **limits}),
                    **{"poll_seconds": 0.05, "threads": 1, **changed})


class Served:
    """A server in a thread of its own event loop, and plain ways to ask it."""

    def __init__(self, chosen: Settings):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server = self.do(self._make(chosen))

    @staticmethod
    async def _make(chosen: Settings) -> Server:
        server = Server(chosen)
        try:
            await server.start()
        except BaseException:
            await server.stop()
            raise
        return server

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.rest_port}"

    @contextlib.contextmanager
    def stub(self):
        with grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}") as channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(self, path: str, body=None, headers=None) -> tuple[int, dict]:
        """(status, answer) of a GET, or of a POST of a body (bytes, or what becomes JSON)."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def predict(self, texts: list[str], model: str = "tiny") -> list[dict]:
        status, made = self.ask(f"/v1/models/{model}:predict", {"instances": texts})
        assert status == 200, made
        return made["predictions"]

    def stop(self) -> None:
        self.do(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)


@contextlib.contextmanager
def serving(chosen: Settings):
    served = Served(chosen)
    try:
        yield served
    finally:
        served.stop()


def scores(text: str | bytes) -> np.ndarray:
    """What the tiny model answers, computed by numpy."""
    length = len(text.encode() if isinstance(text, str) else text)
    made = np.exp(np.sin(np.float32(length)) * np.array([0.5, -0.25], np.float32))
    return made / made.sum()
