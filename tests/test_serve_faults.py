"""Clients that are slow, silent, gone or mad: they get an error of their own, and nobody else notices."""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examined
from hypothesis import strategies as st
from served import scores, serving, settings, versions
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2

from tfft.serving.server.settings import Batching

ROUNDS = int(os.environ.get("TFFT_FUZZ", "300"))
NO_DEADLINE = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": "TFFT_FUZZ" not in os.environ}


@pytest.fixture(scope="module")
def served(tiny_saved, tmp_path_factory):
    folder = versions(tmp_path_factory.mktemp("models") / "tiny", tiny_saved, 1)
    with serving(settings(folder, read_timeout=1.0, write_timeout=1.0, max_request_bytes=4 << 20, max_concurrency=50,
                          batching=Batching(max_batch_size=4096))) as made:
        yield made


def connect(served) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", served.server.rest_port))
    made.settimeout(20)
    return made


def head(body: bytes, length: int | None = None, method: str = "predict") -> bytes:
    return (f"POST /v1/models/tiny:{method} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n\r\n").encode() + body


def closed(client: socket.socket) -> bytes:
    """All that arrives until the server closes."""
    made = b""
    try:
        while part := client.recv(1 << 16):
            made += part
    except ConnectionResetError:
        pass
    return made


@pytest.mark.parametrize("sent, answer", [
    (b"", b""), (b"P", b""), (b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: loc", b""), (head(b'{"ins', 100), b"408"),
    (b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", b"408")])
def test_a_client_that_stops_is_closed_and_holds_nobody(served, sent, answer):
    started = time.monotonic()
    with connect(served) as client:
        client.sendall(sent)
        for _ in range(5):
            assert len(served.predict(["a"])) == 1
        assert answer in closed(client)
    assert 0.9 < time.monotonic() - started < 15


def test_a_client_that_stops_on_a_used_connection_is_closed(served):
    with connect(served) as client:
        client.sendall(head(b'{"instances": ["a"]}'))
        assert b"200 OK" in client.recv(1 << 16)
        client.sendall(b"POST /v1")
        assert closed(client) == b""


def test_a_client_that_never_reads_is_given_up(served):
    body = json.dumps({"signature_name": "numbers", "inputs": [0.123] * 100_000}).encode()  # answered by some 10 MB
    clients = []
    for _ in range(3):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", served.server.rest_port))
        client.sendall(head(body))
        clients.append(client)
    for _ in range(20):
        assert len(served.predict(["a"])) == 1
    end = time.monotonic() + 20
    while served.server.inference.in_flight:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(3)  # write_timeout has passed for all
    for client in clients:
        assert len(closed(client)) < 9_000_000  # cut off
        client.close()


ASKS = """
import os, sys, grpc, numpy as np, tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
x = np.arange(100_000, dtype=np.float32)  # answered by some 4 MB
request = predict_pb2.PredictRequest()
request.model_spec.name, request.model_spec.signature_name = "tiny", "numbers"
request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", -1)])
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
grpc.channel_ready_future(channel).result(60)
asked = [stub.Predict.future(request, 50) for _ in range(3)]
for one in asked:
    error = one.exception()
    print(error.code().name if error else (tf.make_ndarray(one.result().outputs["double"]) == x.astype(float)).all())
sys.stdout.flush()
os._exit(0)  # gRPC and TensorFlow take seconds to end a process
"""


def test_a_grpc_client_that_never_reads_holds_nobody(tiny_saved, tmp_path):
    client = None
    try:
        with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1), drain_seconds=2.0)) as own:
            client = subprocess.Popen([sys.executable, "-c", ASKS, f"127.0.0.1:{own.server.grpc_port}"], text=True,
                                      stdout=subprocess.PIPE, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
            while not own.server.inference.in_flight:
                assert client.poll() is None
                time.sleep(0.001)
            client.send_signal(signal.SIGSTOP)
            for _ in range(20):
                assert len(own.predict(["a"])) == 1
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 20  # and not write_timeout beside it, 30 seconds
        client.send_signal(signal.SIGCONT)
        said = client.communicate(timeout=60)[0].split()
        assert len(said) == 3 and set(said) <= {"True", "UNAVAILABLE", "CANCELLED"}  # whole answers or none
    finally:
        if client:
            client.kill()


def test_a_closed_connection_gives_up_its_request(served):
    for _ in range(5):
        with connect(served) as client:
            client.sendall(head(b'{"signature_name": "slow", "inputs": [3000]}'))
            time.sleep(0.1)
    end = time.monotonic() + 10
    while served.server.inference.in_flight:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert len(served.predict(["a"])) == 1


def test_too_many_requests_are_refused_with_503(served):
    body = {"signature_name": "slow", "inputs": [20]}
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        made = list(pool.map(lambda _: served.ask("/v1/models/tiny:predict", body), range(160)))
    statuses = {status for status, _ in made}
    assert statuses <= {200, 503} and 200 in statuses
    assert all("answered already" in answer["error"] for status, answer in made if status == 503)
    assert len(served.predict(["a"])) == 1


WORDS = st.sampled_from(["a", "fail", "", "text", "x" * 500, "\u00e9", "\U0001f600", "\x00", "NaN", "[SEP]"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.integers(-5, 5), st.text(max_size=5),
                    st.builds(lambda t: {"b64": t}, st.sampled_from(["YWJj", "!", "", "YQ", "_-8="])))
NESTED = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
                      max_leaves=12)
TEXTS = st.lists(st.one_of(WORDS, st.text(st.characters(exclude_categories=["Cs"]), max_size=40)), min_size=1, max_size=6)
ROWS = st.one_of(TEXTS, NESTED, st.lists(st.fixed_dictionaries({"text": SCALARS}), max_size=4), st.lists(SCALARS, max_size=4),
                 st.fixed_dictionaries({"token_ids": NESTED, "padding_mask": NESTED}), st.fixed_dictionaries({"text": TEXTS}))
SIGNATURES = st.sampled_from(["serving_default", "tokens", "classify", "regress", "numbers", "whole", "fixed", "none", "", 1])
EXAMPLES = st.one_of(NESTED, st.lists(st.dictionaries(st.sampled_from(["text", "x", "y"]), NESTED, max_size=2), max_size=3))
BODIES = st.one_of(
    st.fixed_dictionaries({}, optional={"instances": ROWS, "inputs": ROWS, "signature_name": SIGNATURES, "examples": EXAMPLES,
                                        "context": NESTED, "more": NESTED}),
    st.fixed_dictionaries({"instances": ROWS}), st.fixed_dictionaries({"inputs": ROWS, "signature_name": SIGNATURES}),
    st.fixed_dictionaries({"examples": EXAMPLES, "signature_name": SIGNATURES}), NESTED)
PATHS = st.one_of(
    st.sampled_from(["tiny:predict", "tiny:predict", "tiny:classify", "tiny:regress", "tiny/versions/1:predict"]),
    st.sampled_from(["tiny/versions/2:predict", "tiny/labels/x:predict", "none:predict", "tiny", "tiny:x", "%ff:predict",
                     "tiny/versions/-1:predict", "tiny/versions/1/labels/a:predict", "a%2fb:predict", "..:predict", ""]))


@examined(max_examples=ROUNDS, **NO_DEADLINE)
@given(path=PATHS, body=BODIES, cut=st.one_of(st.just(None), st.just(None), st.just(None), st.integers(0, 60)))
@example(path="tiny:predict", body={"instances": ["abc", "fail"]}, cut=None)
def test_no_rest_request_is_the_servers_fault(served, path, body, cut):
    data = json.dumps(body).encode("utf-8", "surrogatepass")
    data = data if cut is None else data[:cut]
    connection = connections.connection(served)
    connection.request("POST", f"/v1/models/{path}", data)
    response = connection.getresponse()
    made = json.loads(response.read())
    assert response.status in (200, 400, 404), (response.status, made)
    assert (response.status == 200) != ("error" in made)
    if response.status == 200 and isinstance(body, dict) and "predictions" in made and "signature_name" not in body:
        texts = [row["text"] if isinstance(row, dict) and "text" in row else row for row in body["instances"]]
        for text, row in zip(texts, made["predictions"], strict=True):
            if isinstance(text, str):
                assert row["scores"] == pytest.approx(scores(text), abs=1e-6)


class connections:  # noqa: N801 - one kept connection, for speed
    kept: dict[int, http.client.HTTPConnection] = {}

    @classmethod
    def connection(cls, served) -> http.client.HTTPConnection:
        port = served.server.rest_port
        if port not in cls.kept or time.monotonic() - cls.since > 0.5:  # the server closes idle ones
            cls.kept[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        cls.since = time.monotonic()
        return cls.kept[port]


@examined(max_examples=max(50, ROUNDS // 10), **NO_DEADLINE)
@given(data=st.one_of(st.binary(max_size=200), st.builds(
    lambda line, header, body: line + b"\r\n" + header + b"\r\n\r\n" + body,
    st.one_of(st.sampled_from([b"GET / HTTP/1.1", b"POST /v1/models/tiny:predict HTTP/1.1", b"PUT /v1/models HTTP/1.0",
                               b"GET /v1/models/tiny HTTP/9.9", b"OPTIONS * HTTP/1.1"]), st.binary(max_size=40)),
    st.one_of(st.sampled_from([b"Host: localhost\r\nContent-Length: -1", b"Host: localhost\r\nContent-Encoding: gzip",
                               b"Host: localhost\r\nTransfer-Encoding: chunked", b"Host: localhost\r\nContent-Length: 5",
                               b"Host: localhost\r\nExpect: 100-continue", b"Host: localhost\r\nUpgrade: websocket",
                               b"Host: [::", b"A: " + b"b" * 20_000]), st.binary(max_size=60)), st.binary(max_size=60))))
def test_no_bytes_on_a_connection_are_the_servers_fault(served, data):
    with connect(served) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = closed(client)
    if answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    assert not answer or answer.split()[1][:1] in (b"2", b"4"), answer[:300]


PROTOS = st.builds(
    lambda dtype, sizes, content, strings, floats, ints: TensorProto(
        dtype=dtype, tensor_content=content, string_val=strings, float_val=floats, int_val=ints,
        tensor_shape={"dim": [{"size": size} for size in sizes]}),
    st.one_of(st.sampled_from([1, 3, 7]), st.integers(0, 30)),
    st.lists(st.one_of(st.integers(0, 4), st.integers(-(1 << 62), 1 << 62)), max_size=3),
    st.one_of(st.just(b""), st.binary(max_size=16)), st.lists(st.binary(max_size=9), max_size=4),
    st.lists(st.floats(width=32), max_size=4), st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=4))


@examined(max_examples=ROUNDS, **NO_DEADLINE)
@given(signature=st.sampled_from(["", "tokens", "classify", "numbers", "fixed", "none"]),
       inputs=st.dictionaries(st.sampled_from(["text", "token_ids", "padding_mask", "inputs", "x", "b"]), PROTOS, max_size=3),
       wanted=st.lists(st.sampled_from(["scores", "label", "none"]), max_size=2))
def test_no_grpc_request_is_the_servers_fault(served, grpc_stub, signature, inputs, wanted):
    request = predict_pb2.PredictRequest(inputs=inputs, output_filter=wanted)
    request.model_spec.name, request.model_spec.signature_name = "tiny", signature
    try:
        grpc_stub.Predict(request, timeout=20)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error


@pytest.fixture(scope="module")
def grpc_stub(served):
    with served.stub() as stub:
        yield stub


def test_after_all_that_the_answers_are_the_models_own(served):
    """Runs last in this file: eight clients at once, every answer compared."""
    texts = [f"{'word ' * (i % 60)}{i}" for i in range(400)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: served.predict(texts[i:i + 5]), range(0, 400, 5)))
    for text, row in zip(texts, [row for rows in made for row in rows], strict=True):
        assert row["scores"] == pytest.approx(scores(text), abs=1e-6)
    assert threading.active_count() < 60 and served.server.inference.in_flight == 0
