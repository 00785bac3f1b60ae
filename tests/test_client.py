"""The client, against a server in this process and against servers that fail as real ones do."""

import concurrent.futures
import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import served
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from tfft.errors import UserError
from tfft.serving import client as client_module
from tfft.serving.client import Address, Client, requests

TEXTS = ["x" * (7 * i % 50) for i in range(60)] + ["h\xe9\U0001f600", "", "a\nb\x00"]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The tiny model, versions 1 and 2, by both APIs."""
    base = tmp_path_factory.mktemp("models")
    served.versions(base / "tiny", served.save(base / "made"), 1, 2)
    with served.serving(served.settings(base / "tiny")) as server:
        yield {"http": f"{server.url}/tiny", "grpc": f"grpc://127.0.0.1:{server.server.grpc_port}/tiny"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.01)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("text, parts", [
    ("grpc://localhost:8500/imdb", ("grpc", "localhost", 8500, "imdb", None, "")),
    ("http://h/imdb/versions/3", ("http", "h", 8501, "imdb", 3, "")),
    ("https://h:443/v1/models/imdb/labels/stable/", ("https", "h", 443, "imdb", None, "stable")),
    ("grpcs://[::1]:9/a%20b", ("grpcs", "::1", 9, "a b", None, ""))])
def test_addresses(text, parts):
    assert Address.parse(text) == parts


@pytest.mark.parametrize("text", ["localhost:8500/imdb", "grpc://localhost:8500", "ftp://h/imdb", "http://h:99999/imdb",
                                  "http://h/imdb/versions/x", "http://h/imdb:predict", "http://u:p@h/imdb", "http:///imdb"])
def test_what_is_no_address(text):
    with pytest.raises(UserError, match="is no address of a model. It is like grpc://localhost:8500/imdb"):
        Address.parse(text)


def test_requests_are_of_like_length_and_limited(monkeypatch):
    assert list(requests({"text": ["bbb", "a", "cc", ""]}, 2)) == [[3, 1], [2, 0]]
    assert list(requests({"text": ["a", "b"], "text_pair": ["long", ""]}, 1)) == [[1], [0]]
    monkeypatch.setattr(client_module, "REQUEST_BYTES", 5)
    assert list(requests({"text": ["aaa", "bbb", "c" * 9, "d"]}, 10)) == [[3, 0], [1], [2]]
    assert list(requests({"text": []}, 3)) == []


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_answers_are_the_models_in_the_order_of_the_texts(addresses, scheme):
    with Client(addresses[scheme], batch_size=7, in_flight=3) as client:
        made = client.predict(TEXTS)
        assert client.inputs() == ["text"]
        labels = client.classify(TEXTS)
    expected = np.array([served.scores(text) for text in TEXTS])
    assert made["scores"].dtype == np.float32
    np.testing.assert_allclose(made["scores"], expected, atol=1e-6)
    assert made["label"].tolist() == [served.NAMES[i] for i in expected.argmax(1)]
    assert made["label_names"].shape == (len(TEXTS), 2) and made["label_names"][5].tolist() == served.NAMES
    assert [[name for name, _ in row] for row in labels] == [served.NAMES] * len(TEXTS)
    np.testing.assert_allclose([[score for _, score in row] for row in labels], expected, atol=1e-6)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_texts_and_texts_without_utf8(addresses, scheme):
    with Client(addresses[scheme]) as client:
        assert client.predict([]) == {}
        np.testing.assert_array_equal(client.predict(["\ud83d"])["scores"], client.predict(["?"])["scores"])
        with pytest.raises(UserError, match="There are 1 texts and 2 second ones"):
            client.predict(["a"], ["b", "c"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_mistakes_are_told_and_not_repeated(addresses, scheme, monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 100.0)  # a pause would be noticed
    for more, message in (("y", "^There is no model 'tinyy' at .*: .*tinyy"), ("/labels/old", "model 'tiny' label 'old'"),
                          ("/versions/7", "is no model 'tiny' version 7 at")):
        with Client(addresses[scheme] + more) as other, pytest.raises(UserError, match=message):
            other.predict(["a"])
    with Client(addresses[scheme], batch_size=1) as client:
        with pytest.raises(UserError, match="^The model 'tiny' at .* refuses the request: .*nowhere"):
            client.predict(["a", "b"], signature="nowhere")
        with pytest.raises(UserError, match="has no signature 'nowhere', but classify, "):
            client.inputs("nowhere")
        with pytest.raises(UserError, match="^The model 'tiny' at .* takes text, and no text_pair.$"):
            client.predict(["a"], ["b"])


def test_a_single_output_has_its_name(addresses):
    """REST's column format leaves out the name of an only output; gRPC's answers have it."""
    for address in addresses.values():
        with Client(address) as client:
            assert client.predict(["b", "c"], signature="whole")["unique"].tolist() in (["b", "c"], ["c", "b"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listens(scheme):
    port, began, kind = free_port(), time.monotonic(), {"grpc": "gRPC", "http": "REST"}[scheme]
    with Client(f"{scheme}://127.0.0.1:{port}/imdb", retries=2) as client:
        with pytest.raises(UserError, match=f"^Nobody answers for {kind} at 127.0.0.1:{port}: .* Is the server up, and is"):
            client.predict(["a"])
    assert time.monotonic() - began < 10


def test_a_deadline_holds_for_repetitions_too():
    with Client(f"http://127.0.0.1:{free_port()}/imdb", retries=1000, timeout=3) as client:
        began = time.monotonic()
        with pytest.raises(UserError, match="Nobody answers"):
            client.predict(["a"])
        assert 1 < time.monotonic() - began < 4


@contextlib.contextmanager
def rest_server(answers, context=None):
    """A server that gives each request the next of (status, body, seconds to wait); it keeps what it was asked."""
    asked, script = [], iter(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body, seconds = next(script)
            time.sleep(seconds)
            with contextlib.suppress(OSError):
                if status == 0:  # the connection breaks
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode() if isinstance(body, dict) else body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/imdb", asked
    finally:
        server.shutdown()
        server.server_close()


OUTPUTS = {"outputs": {"label": ["pos"], "scores": [[0.25, 0.75]], "count": [3]}}


def test_rest_repeats_what_may_still_be_answered():
    with rest_server([(503, {"error": "the queue is full"}, 0), (0, b"", 0), (200, OUTPUTS, 0)]) as (address, asked), \
            Client(address) as client:
        made = client.predict(["a"])
    assert asked == [{"inputs": {"text": ["a"]}}] * 3
    assert made["label"].tolist() == ["pos"] and made["scores"].dtype == np.float32 and made["count"].dtype == np.int64


@pytest.mark.parametrize("status, body, message", [
    (400, {"error": "bad shape"}, "refuses the request: bad shape.$"), (500, {"error": "oh"}, "failed: oh.$"),
    (200, b"<html>", "failed: HTTP status 200.$"), (404, b"<html>", "There is no model 'imdb' at .*: HTTP status 404.$"),
    (504, {"error": "late"}, "^No answer from model 'imdb' at .* within 9 s")])
def test_rest_does_not_repeat_what_stays_wrong(status, body, message):
    with rest_server([(status, body, 0)]) as (address, asked), Client(address, timeout=9) as client:
        with pytest.raises(UserError, match=message):
            client.predict(["a"])
        assert len(asked) == 1


def test_rest_gives_up_at_the_deadline():
    with rest_server([(200, OUTPUTS, 3.0)]) as (address, asked), Client(address, timeout=1.0) as client:
        with pytest.raises(UserError, match="within 1 s. Give it more time"):
            client.predict(["a"])
        assert len(asked) == 1


def test_a_failed_request_ends_those_that_wait():
    """Of ten requests, one after another, the second fails: no third is sent."""
    answers = [(200, OUTPUTS, 0), (400, {"error": "no"}, 0)] + [(200, OUTPUTS, 0.2)] * 8
    with rest_server(answers) as (address, asked), Client(address, batch_size=1, in_flight=1) as client:
        with pytest.raises(UserError, match="refuses the request: no"):
            client.predict(["a"] * 10)
        assert len(asked) <= 3  # one may have begun before the failure was seen


def test_regress_and_pairs():
    with rest_server([(200, {"results": [0.5, 1.5]}, 0)]) as (address, asked), Client(address) as client:
        assert client.regress(["long text", "b"], ["", "c"]) == [1.5, 0.5]  # the shorter is sent first
    assert asked == [{"signature_name": "regress", "examples": [{"text": "b", "text_pair": "c"},
                                                                {"text": "long text", "text_pair": ""}]}]


def test_whatever_inputs_a_model_has():
    outputs = [{"label": ["a", "b"], "spans": [[1, 2, 3], [4, 0, 0]], "words": [["x"], [""]]},
               {"label": ["c"], "spans": [[5]], "words": [["y", "z"]]}]
    with rest_server([(200, {"outputs": made}, 0) for made in outputs]) as (address, asked), \
            Client(address, batch_size=2, in_flight=1) as client:
        made = client.ask({"question": ["long one", "b", "\ud83d"], "context": ["", "c", "d"]}, "spans")
    assert asked == [{"inputs": {"question": ["b", "?"], "context": ["c", "d"]}, "signature_name": "spans"},
                     {"inputs": {"question": ["long one"], "context": [""]}, "signature_name": "spans"}]
    assert made["label"].tolist() == ["c", "a", "b"]  # in the order asked; each request's answer is as wide as it must be
    assert made["spans"].tolist() == [[5, 0, 0], [1, 2, 3], [4, 0, 0]]
    assert made["words"].tolist() == [["y", "z"], ["x", ""], ["", ""]]


class Unsteady(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Is not available twice, then answers, after as long as it is told."""

    def __init__(self):
        self.seconds_left, self.specs, self.delay = [], [], 0.0

    def Predict(self, request, context):
        self.seconds_left.append(context.time_remaining())
        self.specs.append(request.model_spec)
        time.sleep(self.delay)
        if len(self.seconds_left) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the queue is full")
        return PredictResponse()


def test_grpc_repeats_and_sends_the_rest_of_its_time_along(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_PAUSE", 0.3)
    service, server = Unsteady(), grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}/imdb"
    server.start()
    try:
        with Client(f"{address}/versions/4", timeout=8) as client:
            client.predict(["a"])
        first, _, third = service.seconds_left
        assert 8.1 > first > 7 and 0.3 < first - third < 2  # less the pauses, 0.45 to 0.9 s; gRPC rounds up on its way
        assert service.specs[0].name == "imdb" and service.specs[0].version.value == 4
        service.delay = 3.0
        with Client(f"{address}/labels/stable", timeout=1) as client, pytest.raises(UserError, match="within 1 s"):
            client.predict(["a"])
        assert service.specs[-1].version_label == "stable"
    finally:
        server.stop(None)


def test_requests_with_too_many_texts_are_halved():
    """What TF Serving answers where a request has more rows than max_batch_size."""
    refused = {"error": "Task size 4 is larger than maximum batch size 2"}
    answers = [(400, refused, 0), (200, {"outputs": {"n": [1, 2]}}, 0), (200, {"outputs": {"n": [3, 4]}}, 0)]
    with rest_server(answers) as (address, asked), Client(address) as client:
        assert client.predict(["a", "bb", "ccc", "dddd"])["n"].tolist() == [1, 2, 3, 4]
    assert [len(one["inputs"]["text"]) for one in asked] == [4, 2, 2]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    made = [str(folder / name) for name in ("certificate.pem", "key.pem")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


def test_rest_over_tls(certificate):
    answers = [(200, OUTPUTS, 0)] * 2
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with rest_server(answers, context) as (address, asked):
        address = address.replace("http://127.0.0.1", "https://localhost")
        with Client(address, certificates=certificate[0]) as client:
            assert client.predict(["a"])["label"].tolist() == ["pos"]
        with Client(address) as client, pytest.raises(UserError, match="failed: .*certificate"):
            client.predict(["a"])  # signed by nobody known
    assert len(asked) == 1


def test_grpc_over_tls(certificate):
    service, server = Unsteady(), grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service.seconds_left = [0.0] * 3  # available
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    chain, key = (open(path, "rb").read() for path in certificate)
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(key, chain)]))
    server.start()
    try:
        with Client(f"grpcs://localhost:{port}/imdb", certificates=certificate[0]) as client:
            client.predict(["a"])
        with Client(f"grpcs://localhost:{port}/imdb", retries=1) as client, pytest.raises(UserError, match="Nobody answers"):
            client.predict(["a"])
    finally:
        server.stop(None)
    assert len(service.specs) == 1


def test_certificates_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="There is no file of certificates .*none.pem"):
        Client("grpcs://localhost:8500/imdb", certificates=str(tmp_path / "none.pem"))


def test_rest_needs_no_tensorflow():
    code = "import sys; from tfft.serving.client import Client; Client('http://h/imdb'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
