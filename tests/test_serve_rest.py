"""The REST API, as TF Serving documents it."""

import base64
import http.client
import json
import math

import numpy as np
import pytest
from served import scores, serving, settings, versions

from tfft.serving.server.settings import ModelSettings


@pytest.fixture(scope="module")
def served(tiny_saved, tmp_path_factory):
    folder = versions(tmp_path_factory.mktemp("models") / "tiny", tiny_saved, 1, 2, 7)
    with serving(settings(models=(ModelSettings("tiny", folder, latest=0, labels={"stable": 1, "new": 7}),),
                          max_request_bytes=1 << 20)) as running:
        yield running


def b64(data: bytes) -> dict:
    return {"b64": base64.b64encode(data).decode()}


def ask(served, method: str, body, place: str = "tiny") -> dict:
    status, made = served.ask(f"/v1/models/{place}:{method}", body)
    assert status == 200, made
    return made


def test_rows(served):
    texts = ["a", "bb", "", "a much longer text " * 20, "na\u00efve \U0001f600"]
    for row, text in zip(served.predict(texts), texts):
        assert row["scores"] == pytest.approx(scores(text), abs=1e-6)
        assert row["label"] == ["good", "bad"][np.argmax(row["scores"])] and row["label_names"] == ["good", "bad"]
    named = ask(served, "predict", {"instances": [{"text": "a"}, {"text": b64(b"\xff\x00")}]})["predictions"]
    assert named[0] == served.predict(["a"])[0] and named[1]["scores"] == pytest.approx(scores(b"\xff\x00"), abs=1e-6)
    assert ask(served, "predict", {"instances": [b64(b"xyz")]}) == ask(served, "predict", {"instances": ["xyz"]})


def test_columns(served):
    rows = served.predict(["one", "three"])
    made = ask(served, "predict", {"inputs": {"text": ["one", "three"]}})["outputs"]
    assert made == {name: [row[name] for row in rows] for name in rows[0]}
    assert ask(served, "predict", {"inputs": ["one", "three"]})["outputs"] == made
    assert ask(served, "predict", {"inputs": {"a": 1.5, "b": [1, 2, 3]}, "signature_name": "fixed"}) == {
        "outputs": [2.5, 3.5, 4.5]}


def test_a_lone_output_goes_without_its_name(served):
    body = {"signature_name": "tokens", "instances": [{"token_ids": [1, 2, 3], "padding_mask": [1, 1, 0]},
                                                      {"token_ids": [4, 5, 6], "padding_mask": [1, 1, 1]}]}
    assert ask(served, "predict", body) == {"predictions": [3, 15]}


def test_numbers_are_written_as_tf_serving_does(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.server.rest_port)
    connection.request("POST", "/v1/models/tiny:predict",
                       '{"signature_name": "numbers", "inputs": [0.2, NaN, Infinity, -Infinity, 3, 1e-9]}')
    text = connection.getresponse().read().decode()
    made = json.loads(text)["outputs"]
    assert '"x": [0.2, NaN, Infinity, -Infinity, 3.0, 1e-09]' in text
    assert made["half"][0] == 0.2 or abs(made["half"][0] - 0.2) < 1e-3
    assert made["whole"] == [1, 0, 1, 0, 1, 1] and made["flag"] == [True, False, True, False, True, True]
    assert made["raw_bytes"][4] == b64(b"3.000000") and math.isnan(made["square"][1][1])
    assert made["double"][0] == float(np.float32(0.2))


def test_classify_and_regress(served):
    made = ask(served, "classify", {"signature_name": "classify", "examples": [{"text": "abc"}, {"text": b64(b"\xff")}]})
    for row, text in zip(made["results"], (b"abc", b"\xff")):
        assert [name for name, _ in row] == ["good", "bad"]
        assert [score for _, score in row] == pytest.approx(scores(text), abs=1e-6)
    shared = {"signature_name": "classify", "context": {"text": "abc"}, "examples": [{}, {"other": [1, 2]}]}
    assert ask(served, "classify", shared)["results"] == made["results"][:1] * 2
    values = ask(served, "regress", {"signature_name": "regress", "examples": [{"x": 1.0}, {"x": [2.5]}, {"x": [-1e3]}]})
    assert values == {"results": [3.5, 4.25, -497.0]}


PLACE = "/v1/models/tiny"


@pytest.mark.parametrize("path, body, status, message", [
    (":predict", b"", 400, "document is empty"), (":predict", b"{", 400, "JSON Parse error"),
    (":predict", b"[1]", 400, "not an object"), (":predict", b"\xff{}", 400, "JSON Parse error"),
    (":predict", b'{"instances": ["\\ud800"]}', 400, "surrogate"),
    (":predict", b"[" * 100_000, 400, "nested too deeply"),
    (":predict", b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "nested more than"),
    (":predict", b'{"inputs": ' + b"9" * 5000 + b"}", 400, "JSON Parse error"),
    (":predict", {}, 400, "Missing 'inputs' or 'instances'"), (":predict", {"instances": []}, 400, "at least one"),
    (":predict", {"instances": "a"}, 400, "to be a list"), (":predict", {"instances": ["a"], "inputs": ["a"]}, 400, "only one"),
    (":predict", {"instances": ["a"], "signature_name": 7}, 400, "must be a string"),
    (":predict", {"instances": ["a"], "signature_name": "none"}, 400, '"none" not found in signature def'),
    (":predict", {"instances": ["a", 1]}, 400, "not of expected type: string"),
    (":predict", {"instances": ["a", ["b"]]}, 400, "not of expected type: string"),
    (":predict", {"instances": [["a"], ["b"]]}, 400, "does not fit"), (":predict", {"inputs": "a"}, 400, "does not fit"),
    (":predict", {"inputs": []}, 400, "no rows"), (":predict", {"inputs": {"txt": ["a"]}}, 400, "Missing named input: text"),
    (":predict", {"instances": [{"text": "a"}, "b"]}, 400, "Expecting object but got String"),
    (":predict", {"instances": ["b", {"text": "a"}]}, 400, "got object at item 1"),
    (":predict", {"instances": [{"text": "a", "x": 1}]}, 400, "keys must be equal to: text"),
    (":predict", {"instances": [{"b64": "!"}]}, 400, "base64"), (":predict", {"instances": [{"b64": 1}]}, 400, "keys must be"),
    (":predict", {"instances": ["fail"]}, 400, "this text fails"),
    (":predict", {"signature_name": "tokens", "instances": [[1]]}, 400, "list of objects"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[1, 2], [3]], "padding_mask": [[1]]}}, 400, "level 1"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[1.5]], "padding_mask": [[1]]}}, 400, "int32"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[True]], "padding_mask": [[1]]}}, 400, "int32"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[1 << 40]], "padding_mask": [[1]]}}, 400, "not fit"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[1], [2]], "padding_mask": [[1]]}}, 400, "rows"),
    (":predict", {"signature_name": "tokens", "inputs": {"token_ids": [[1, 2]], "padding_mask": [[1, 1, 1]]}}, 400,
     "ncompatible"),
    (":predict", {"signature_name": "numbers", "inputs": [1e300]}, 400, "loss of precision"),
    (":predict", {"signature_name": "numbers", "inputs": [None]}, 400, "Null"),
    (":predict", {"signature_name": "fixed", "inputs": {"a": 1, "b": [1, 2]}}, 400, "does not fit"),
    (":classify", {"examples": [{"text": "a"}]}, 400, "Expected classify signature"),
    (":classify", {"signature_name": "classify"}, 400, "'examples' is expected"),
    (":classify", {"signature_name": "classify", "examples": {}}, 400, "to be a list"),
    (":classify", {"signature_name": "classify", "examples": [1]}, 400, "must be a JSON object"),
    (":classify", {"signature_name": "classify", "examples": [{"text": [1, "a"]}]}, 400, "unexpected JSON types"),
    (":classify", {"signature_name": "classify", "examples": [{"text": [None]}]}, 400, "unexpected JSON types"),
    (":classify", {"signature_name": "classify", "examples": [{"txt": "a"}]}, 400, "text"),
    (":classify", {"signature_name": "classify", "examples": [{"text": 1}]}, 400, "text"),
    (":classify", {"signature_name": "classify", "context": {"text": "a"}, "examples": [{"text": "b"}]}, 400, "in 'context'"),
    (":regress", {"signature_name": "classify", "examples": [{"text": "a"}]}, 400, "Expected regress signature"),
    (":regress", {"signature_name": "regress", "examples": [{"x": 1 << 70}]}, 400, "int64"),
    (":learn", {}, 400, "Malformed request"), ("", {}, 400, "Malformed request"), (":predict", None, 400, "Malformed request"),
    ("/versions/9:predict", {"instances": ["a"]}, 404, "Specific(tiny, 9)"),
    ("/versions/99999999999999999999:predict", {"instances": ["a"]}, 400, "to numeric"),
    ("/labels/none:predict", {"instances": ["a"]}, 400, "Unrecognized servable version label: none"),
    ("/versions/9", None, 404, "Could not find version 9"), ("x/metadata", None, 404, "not found"),
    ("x", None, 404, "Could not find any versions of model tinyx"),
    ("x:predict", {"instances": ["a"]}, 404, "Latest(tinyx)"),
])
def test_mistakes_are_told(served, path, body, status, message):
    got, made = served.ask(PLACE + path, body)
    assert got == status and message in made["error"], made
    assert list(made) == ["error"]


def test_versions_and_labels(served):
    for place, version in (("", "7"), ("/versions/2", "2"), ("/labels/stable", "1"), ("/labels/new", "7")):
        assert len(ask(served, "predict", {"instances": ["a"]}, f"tiny{place}")["predictions"]) == 1
        _, made = served.ask(f"{PLACE}{place}/metadata")
        assert made["model_spec"] == {"name": "tiny", "version": version, "signature_name": "", }
    signature = made["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["text"]["dtype"] == "DT_STRING"
    assert signature["inputs"]["text"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


def test_status(served):
    status, made = served.ask(PLACE)
    good = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert status == 200 and made == {"model_version_status": [{"version": v, **good} for v in ("7", "2", "1")]}
    assert served.ask(PLACE + "/labels/stable")[1] == {"model_version_status": [{"version": "1", **good}]}
    assert served.ask("/V1/Models/tiny/Versions/2")[1] == {"model_version_status": [{"version": "2", **good}]}


def test_the_list_of_models(served):
    status, made = served.ask("/v1/models")
    assert status == 200 and made["models"][0]["name"] == "tiny" and made["models"][0]["versions"] == [7, 2, 1]
    assert made["models"][0]["labels"] == {"stable": 1, "new": 7} and "classify" in made["models"][0]["signatures"]
    assert served.ask("/healthz") == (200, {"status": "SERVING"})
    assert served.ask("/nothing")[0] == 404


def test_a_large_request_is_split_and_put_together_again(served):
    texts = ["x" * (i * 37 % 400) for i in range(300)]
    made = np.array([row["scores"] for row in served.predict(texts)])
    np.testing.assert_allclose(made, [scores(text) for text in texts], atol=1e-6)


def test_a_request_over_the_limit_is_refused(served):
    for headers in ({}, {"Content-Encoding": "identity"}):
        status, made = served.ask(PLACE + ":predict", {"instances": ["x" * (1 << 20)]}, headers)
        assert status == 413 and "larger than 1048576 bytes" in made["error"]

    def chunks():
        for _ in range(300):
            yield b"x" * 4096

    connection = http.client.HTTPConnection("127.0.0.1", served.server.rest_port)
    try:
        connection.request("POST", PLACE + ":predict", chunks(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was refused before the client had sent all


@pytest.mark.parametrize("headers, status", [
    ({"Host": "evil.example"}, 403), ({"Host": "evil.example:8501"}, 403), ({"Host": "127.0.0.1"}, 200),
    ({"Host": "localhost:1"}, 200), ({"Host": "[::1]:8501"}, 200), ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403), ({"Host": "localhost:8501", "Origin": "http://localhost:8501"}, 200),
    ({"Content-Type": "text/plain", "Origin": "http://localhost:9999", "Host": "localhost:8501"}, 403)])
def test_pages_of_other_sites_are_refused(served, headers, status):
    got, made = served.ask(PLACE + ":predict", {"instances": ["a"]}, headers)
    assert got == status, made


def test_no_cross_origin_headers(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.server.rest_port)
    connection.request("GET", "/v1/models/tiny")
    response = connection.getresponse()
    assert not [name for name, _ in response.getheaders() if name.lower().startswith("access-control")]
    assert response.getheader("Content-Type") == "application/json"


def test_metrics(served):
    served.predict(["a", "b"])
    served.ask(PLACE + ":predict", {"instances": [1]})
    served.ask("/v1/models/made-up:predict", {"instances": [1], "signature_name": "made-up"})
    connection = http.client.HTTPConnection("127.0.0.1", served.server.rest_port)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    page = response.read().decode()
    assert response.getheader("Content-Type").startswith("text/plain; version=0.0.4")
    for line in ('tfft_requests_total{api="rest",code="OK",method="predict",model="tiny",signature="serving_default"}',
                 'code="INVALID_ARGUMENT"',
                 'tfft_requests_total{api="rest",code="NOT_FOUND",method="predict",model="",signature=""}',
                 'tfft_request_seconds_bucket{api="rest"', 'tfft_batch_rows_count{model="tiny"}',
                 'tfft_loaded_version{model="tiny",version="7"} 1.0', 'tfft_queue_rows{model="tiny"} 0.0',
                 "tfft_requests_in_flight 0.0"):
        assert line in page, line
    assert "made-up" not in page
