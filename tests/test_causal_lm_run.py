"""Language models from a file of prompts, conversations or texts to a served answer."""

import io
import json
import random
import urllib.request
from pathlib import Path

import language
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of
from served import serving, settings
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from test_masked_lm_run import settings_of
from written import judged_right

from tfft.errors import UserError
from tfft.run.fine_tune import fine_tune
from tfft.run.judge import judge
from tfft.serving.chat import shown, talk, tell
from tfft.serving.export import export
from tfft.serving.prediction import predict_file, predict_texts
from tfft.serving.remote_prediction import predict_texts_remotely


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return language.write(tmp_path_factory.mktemp("language") / "model")


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return f"jsonl:{path}"


def echoes(count: int, kind: str) -> list[dict]:
    """"good" is answered by " bad bad", "bad" by " good good"."""
    draw, made = random.Random(0), []
    for number in range(count):
        word = draw.choice(["good", "bad"])
        other = "bad" if word == "good" else "good"
        made.append({"prompt": word, "response": f" {other} {other}"} if kind == "pairs" else {"messages": [
            {"role": "user", "content": "good"}, {"role": "assistant", "content": " bad"},
            {"role": "user", "content": word}, {"role": "assistant", "content": f" {other} {other}"}]})
        made[-1]["id"] = number  # else rows of one prompt are on one side of the split
    return made


def experiment(model, folder: Path, config: str = "my_chat", **changes):
    usual = {"data__max_length": 64, "data__validation": "20%", "data__id_column": "id", "train__epochs": 6,
             "train__peak_learning_rate": 0.02, "train__global_batch_size": 8, "adaptation__method": "none",
             "task__max_new_tokens": 8, "task__sample_rows": 6, "model__dropout": -1.0}
    return settings_of(config, model, folder / "cache", **{**usual, **changes})


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    spec = write(folder / "rows.jsonl", echoes(120, "pairs"))
    assert fine_tune(experiment(model, folder, f"my_chat:{spec}", data__messages_column=""), str(folder / "run")) == 0
    return folder


def test_train_evaluate_predict_export_and_serve(trained, capsys, monkeypatch):
    run = str(trained / "run")
    report = judged_right(trained / "run", rows=6)
    assert {"How good", "Sample answers", "Training", "Data"} <= set(page_of(trained / "run"))
    # the last word of two, and the end of the answer; each response is " bad bad<|im_end|>"
    assert report["tokens"] == report["rows"] * 3

    capsys.readouterr()
    conversation = json.dumps([{"role": "user", "content": "bad"}])
    assert predict_texts(run, "", [{"prompt": "good"}, {"prompt": conversation}, {"prompt": " "}]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.strip().split("\n")]
    assert [one["text"] for one in made] == [" bad bad", " good good", None] and made[0]["tokens"] == 3
    assert predict_texts(run, "", [{"prompt": "good"}], ["max_new_tokens=1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": "good", "text": " bad", "tokens": 1}
    with pytest.raises(UserError, match="--set=temprature=1: write NAME=VALUE.*Did you mean 'temperature'"):
        predict_texts(run, "", [{"prompt": "good"}], ["temprature=1"])
    with pytest.raises(UserError, match="config.task.top_p is 2.0; it must be at most 1"):
        predict_texts(run, "", [{"prompt": "good"}], ["top_p=2"])
    monkeypatch.setattr("sys.stdin", io.StringIO("good\n\n/new\nbad\n/quit\nnever"))
    assert talk(run, "", []) == 0
    assert capsys.readouterr().out == " bad bad\n good good\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("good\n"))
    assert talk(run, "", ["max_new_tokens=5", 'stop=("d b",)']) == 0
    assert capsys.readouterr().out == " ba\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("good\nbad\n"))  # an empty answer has no place in the conversation
    assert talk(run, "", ['stop=(" ba",)']) == 0
    made = capsys.readouterr()
    assert made.out == "\n good good\n" and "an empty answer" in made.err
    assert tell(run, "", ["good"], []) == 0 and tell(run, "", ["bad", " "], []) == 0
    assert capsys.readouterr().out == " bad bad\n> bad\n good good\n\n>  \n"
    more = ["min_new_tokens=7"]  # streamed or whole
    assert tell(run, "", ["good"], more) == 0 and predict_texts(run, "", [{"prompt": "good"}], more) == 0
    streamed, whole = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert streamed == json.loads(whole)["text"] and streamed.startswith(" bad bad ")
    chance = ["temperature=3.0", "seed=4"]
    assert tell(run, "", ["good"], chance) == 0 and predict_texts(run, "", [{"prompt": "good"}], chance) == 0
    streamed, whole = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert streamed == json.loads(whole)["text"] and not streamed.startswith(" bad bad")
    (trained / "asked.jsonl").write_text('{"prompt": "bad"}\n{"prompt": ""}\n')
    assert predict_file(run, "", str(trained / "asked.jsonl"), str(trained / "answers.jsonl"), probabilities=False,
                        batch_size=4, on_broken_row="empty") == 0
    assert [json.loads(line)["text"] for line in (trained / "answers.jsonl").read_text().splitlines()] == [" good good", None]

    assert export(run, str(trained / "models/echo"), "") == 0
    out = capsys.readouterr().out
    assert "proven on" in out and "; 1 warm-up requests" in out
    served = tf.saved_model.load(str(trained / "models/echo/1")).signatures
    assert served["serving_default"](prompt=tf.constant(["good"]))["text"].numpy().tolist() == [b" bad bad"]
    chosen = {"max_new_tokens": [1, 8], "min_new_tokens": [0], "top_k": [0], "no_repeat_ngram": [0], "seed": [0, 1],
              "temperature": [0.0, 0.0], "top_p": [1.0], "min_p": [0.0], "repetition_penalty": [1.0], "length_penalty": [1.0]}
    short = served["generate"](prompt=tf.constant(["good", "bad"]),
                               **{name: tf.constant(value) for name, value in chosen.items()})
    assert short["text"].numpy().tolist() == [b" bad", b" good good"] and short["tokens"].numpy().tolist() == [1, 3]
    with serving(settings(trained / "models/echo")) as server:
        assert predict_texts_remotely(f"{server.url}/echo", [{"prompt": "bad"}]) == 0
        assert json.loads(capsys.readouterr().out)["text"] == " good good"
        optional_inputs(server)
        status, made = server.ask("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "bad"}]})
        assert status == 200 and made["choices"][0]["message"]["content"] == " good good"
        assert made["choices"][0]["finish_reason"] == "stop" and made["usage"]["completion_tokens"] == 3
        _, short = server.ask("/v1/completions", {"model": "echo", "prompt": "bad", "max_tokens": 1})
        assert short["choices"][0] | {"logprobs": None} == {"index": 0, "text": " good", "logprobs": None,
                                                            "finish_reason": "length"}
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "good"}], "stream": True}).encode()
        request = urllib.request.Request(f"{server.url}/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=60) as stream:
            events = [line[6:] for line in stream.read().decode().splitlines() if line]
        assert events.pop() == "[DONE]"
        assert "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events) == " bad bad"


def optional_inputs(server) -> None:
    """Settings of answers are inputs of each row that may be left out: then they are as they were trained with."""
    address = "/v1/models/echo:predict"
    rows = [{"prompt": "good"}, {"prompt": "bad", "max_new_tokens": 1}]
    _, made = server.ask(address, {"signature_name": "generate", "instances": rows})
    assert [row["text"] for row in made["predictions"]] == [" bad bad", " good"]
    columns = {"prompt": ["good", "bad"], "max_new_tokens": [2, 1]}
    _, made = server.ask(address, {"signature_name": "generate", "inputs": columns})
    assert made["outputs"]["text"] == [" bad bad", " good"]
    _, made = server.ask(address, {"signature_name": "continue", "inputs": {"prompt": ["good"], "tokens": [[]]}})
    assert made["outputs"]["text"] == [" bad bad"] and made["outputs"]["done"] == [1]
    status, made = server.ask(address, {"signature_name": "generate", "instances": [{"max_new_tokens": 1}]})
    assert status == 400 and "keys must be equal to" in made["error"]
    status, made = server.ask(address, {"signature_name": "generate", "inputs": {"prompt": ["a"], "max_new_tokens": [1, 2]}})
    assert status == 400 and "differ in their number of rows" in made["error"]
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "echo", "generate"
    request.inputs["prompt"].CopyFrom(tf.make_tensor_proto(["good", "bad"]))
    request.inputs["max_new_tokens"].CopyFrom(tf.make_tensor_proto([8, 1], tf.int32))
    with server.stub() as stub:
        assert [*stub.Predict(request, timeout=60).outputs["text"].string_val] == [b" bad bad", b" good"]
    known = server.ask("/v1/models/echo/metadata")[1]["metadata"]["signature_def"]["signature_def"]["generate"]
    assert known["defaults"]["max_new_tokens"]["int_val"] == [8] and "prompt" not in known["defaults"]
    hot = {"temperature": 3.0, "seed": 4, "max_tokens": 8, "model": "echo", "prompt": "good"}
    _, whole = server.ask("/v1/completions", hot)
    with urllib.request.urlopen(f"{server.url}/v1/completions", json.dumps({**hot, "stream": True}).encode(), 60) as stream:
        parts = [line[6:] for line in stream.read().decode().splitlines() if line][:-1]
    assert whole["choices"][0]["text"] == "".join(json.loads(part)["choices"][0]["text"] for part in parts) != " bad bad"


def test_ctrl_c_ends_an_answer_with_what_is_there(capsys):
    def parts():
        yield " bad"
        raise KeyboardInterrupt

    assert shown(parts()) == (" bad", False) and shown(iter(["a", "b"])) == ("ab", True)
    assert capsys.readouterr().out == " bad\nab\n"


def test_conversations_are_learnt_turn_by_turn(model, tmp_path, capsys):
    spec = write(tmp_path / "talks.jsonl", echoes(100, "talks"))
    chosen = experiment(model, tmp_path, f"my_chat:{spec}", data__max_length=96, train__epochs=3, adaptation__method="lora",
                        adaptation__rate=1.0, task__learn="last", task__stop=("good",), task__sample_rows=2)
    assert fine_tune(chosen, str(tmp_path / "run")) == 0
    capsys.readouterr()
    assert judge(str(tmp_path / "run"), data="", split="validation", weights="", output="") == 0
    report = json.loads((tmp_path / "run/evaluation-validation.json").read_text())
    assert report["tokens"] == report["rows"] * 3  # of the last answer alone
    assert report["answers"][0]["prompt"].startswith("user\ngood\nassistant\n bad\nuser\n")
    assert all("good" not in one["answer"] for one in report["answers"])  # where answers stop
    assert export(str(tmp_path / "run"), str(tmp_path / "models"), "") == 0


def test_texts_are_continued_each_token_once(model, tmp_path, capsys):
    texts = ["good bad " * count for count in range(1, 20)]
    spec = write(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    found = {}
    for overlap in (1, 10):
        chosen = experiment(model, tmp_path, f"my_text:{spec}", data__max_length=16, data__window_overlap=overlap,
                            data__validation="", data__id_column="", data__test=spec, train__steps=2, task__pack=overlap == 10)
        assert fine_tune(chosen, str(tmp_path / f"run{overlap}")) == 0
        assert judge(str(tmp_path / f"run{overlap}"), data="", split="test", weights="", output="") == 0
        found[overlap] = json.loads((tmp_path / f"run{overlap}/evaluation-test.json").read_text())
    # "good", " bad", " good", ..., " " and the end: all but the first of each are predicted
    assert found[1]["tokens"] == found[10]["tokens"] == sum(2 * count + 1 for count in range(1, 20))
    assert found[1]["metrics"].keys() == {"perplexity", "accuracy", "loss"}


@pytest.mark.slow
def test_killed_is_like_whole_with_lora_and_packed(model, tmp_path):
    spec = write(tmp_path / "rows.jsonl", echoes(60, "pairs"))
    killed_is_like_whole([f"--config={ROOT}/configs/my_chat.py:{spec}", "--config.data.messages_column=",
                          "--config.data.max_length=64", "--config.data.id_column=id",
                          f"--config.model.backbone={model}", "--config.task.pack=True",
                          "--config.adaptation.dropout=0.2", "--config.train.accumulation=2", "--config.train.epochs=4",
                          "--config.task.max_new_tokens=3", "--config.train.global_batch_size=4",
                          "--config.train.checkpoint_every_steps=3"], str(tmp_path / "cache"), tmp_path, 12)


def test_what_is_wrong_is_told(model, tmp_path):
    def train(name: str, rows: list[dict], **changes) -> None:
        spec = write(tmp_path / f"{name}.jsonl", rows)
        usual = {"data__id_column": "", "data__messages_column": ""}
        fine_tune(experiment(model, tmp_path, f"my_chat:{spec}", **{**usual, **changes}), str(tmp_path / name))

    with pytest.raises(UserError, match=r"empty.jsonl:2: .*column 'response' \(the response\) is empty"):
        train("empty", [{"prompt": "good", "response": "bad " * 50}, {"prompt": "bad", "response": ""}])
    with pytest.raises(UserError, match="talks.jsonl:1: .*none of its 1 messages is the assistant's, so there is nothing to"):
        train("talks", [{"messages": [{"role": "user", "content": "good"}]}], data__messages_column="messages")
    with pytest.raises(UserError, match="no response begins within config.data.max_length tokens"):
        train("long", [{"prompt": "good " * 50, "response": "bad"}] * 2, data__max_length=16, data__validation="")
    for template, told in (("file:nowhere.jinja", "config.task.template=file:nowhere.jinja cannot be read"),
                           ("chatmll", "config.task.template=chatmll: take auto, plain, chatml")):
        with pytest.raises(UserError, match=told):
            train("template", echoes(20, "pairs"), task__template=template)
