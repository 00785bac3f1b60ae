"""The gRPC API: answers, and what malformed requests get."""

import asyncio
import concurrent.futures
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from served import scores, serving, settings, versions
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    regression_pb2,
)

from tfft.serving.server.settings import ModelSettings

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def served(tiny_saved, tmp_path_factory):
    folder = versions(tmp_path_factory.mktemp("models") / "tiny", tiny_saved, 1, 2)
    with serving(settings(models=(ModelSettings("tiny", folder, latest=0, labels={"stable": 1}),),
                          max_request_bytes=1 << 20)) as running:
        yield running


@pytest.fixture(scope="module")
def stub(served):
    with served.stub() as made:
        yield made


def request(inputs: dict, signature: str = "", model: str = "tiny", **spec) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = model, signature
    if "version" in spec:
        made.model_spec.version.value = spec["version"]
    if "label" in spec:
        made.model_spec.version_label = spec["label"]
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(value if isinstance(value, TensorProto) else tf.make_tensor_proto(value))
    return made


def refused(call, message, code) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    assert caught.value.code() == code, caught.value
    return caught.value.details()


def test_predict(stub):
    texts = [b"a", b"bb", b"ccc", b"\xff\xfe"]
    made = stub.Predict(request({"text": texts}))
    assert (made.model_spec.name, made.model_spec.version.value, made.model_spec.signature_name) == (
        "tiny", 2, "serving_default")
    np.testing.assert_allclose(tf.make_ndarray(made.outputs["scores"]), [scores(text) for text in texts], atol=1e-6)
    assert len(made.outputs["scores"].float_val) == 8  # typed fields, as TF Serving answers
    assert list(made.outputs["label_names"].string_val) == [b"good", b"bad"] * 4
    for spec, version in (({"version": 1}, 1), ({"label": "stable"}, 1), ({"version": 2}, 2)):
        assert stub.Predict(request({"text": texts}, **spec)).model_spec.version.value == version


def test_every_type_and_the_output_filter(stub):
    x = np.array([0.1, -2, np.nan, np.inf], np.float32)
    made = stub.Predict(request({"x": x}, "numbers"))
    got = {name: tf.make_ndarray(value) for name, value in made.outputs.items()}
    np.testing.assert_array_equal(got["x"], x)
    np.testing.assert_array_equal(got["half"], x.astype(np.float16))
    assert got["double"].dtype == np.float64 and got["whole"].dtype == np.int64 and got["flag"].dtype == bool
    assert got["square"].shape == (4, 2) and got["raw_bytes"].tolist()[1] == b"-2.000000"
    asked = request({"x": x}, "numbers")
    asked.output_filter.extend(["whole", "flag"])
    assert sorted(stub.Predict(asked).outputs) == ["flag", "whole"]
    asked.output_filter.append("none")
    assert "alias not found in signature: none" in refused(stub.Predict, asked, INVALID)


def example(**features) -> tf.train.Example:
    made = tf.train.Example()
    for name, value in features.items():
        feature = made.features.feature[name]
        (feature.bytes_list if isinstance(value, bytes) else feature.float_list).value.append(value)
    return made


def examples(*rows, context=None) -> input_pb2.Input:
    if context is None:
        return input_pb2.Input(example_list=input_pb2.ExampleList(examples=rows))
    return input_pb2.Input(example_list_with_context=input_pb2.ExampleListWithContext(examples=rows, context=context))


def test_classify_and_regress(stub):
    asked = classification_pb2.ClassificationRequest(input=examples(example(text=b"abc"), example(text=b"\xff")))
    asked.model_spec.name, asked.model_spec.signature_name = "tiny", "classify"
    made = stub.Classify(asked)
    assert made.model_spec.version.value == 2
    for row, text in zip(made.result.classifications, (b"abc", b"\xff"), strict=True):
        assert [c.label for c in row.classes] == ["good", "bad"]
        assert [c.score for c in row.classes] == pytest.approx(scores(text), abs=1e-6)
    asked.input.CopyFrom(examples(tf.train.Example(), context=example(text=b"abc")))
    assert stub.Classify(asked).result.classifications[0] == made.result.classifications[0]
    asked = regression_pb2.RegressionRequest(input=examples(example(x=1.0), example(x=5.0)))
    asked.model_spec.name, asked.model_spec.signature_name = "tiny", "regress"
    assert [r.value for r in stub.Regress(asked).result.regressions] == [3.5, 5.5]
    asked.model_spec.signature_name = ""
    assert "Expected regress signature" in refused(stub.Regress, asked, INVALID)
    asked.input.Clear()
    assert "empty" in refused(stub.Regress, asked, INVALID)


def test_metadata_status_and_health(served, stub):
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "tiny"
    made = stub.GetModelMetadata(asked)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert made.metadata["signature_def"].Unpack(signatures) and made.model_spec.version.value == 2
    assert signatures.signature_def["classify"].method_name == "tensorflow/serving/classify"
    asked.metadata_field.append("nothing")
    assert "nothing" in refused(stub.GetModelMetadata, asked, INVALID)
    with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
        status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = "tiny"
        states = status(asked).model_version_status
        assert [(s.version, s.state, s.status.error_code) for s in states] == [(2, 30, 0), (1, 30, 0)]
        asked.model_spec.version.value = 5
        refused(status, asked, NOT_FOUND)
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
        refused(health.Check, health_pb2.HealthCheckRequest(service="other"), NOT_FOUND)


def tensor(dtype: tf.DType, *sizes: int, **fields) -> TensorProto:
    made = TensorProto(dtype=dtype.as_datatype_enum, **fields)
    for size in sizes:
        made.tensor_shape.dim.add().size = size
    return made


UNKNOWN = tensor(tf.string, string_val=[b"a"])
UNKNOWN.tensor_shape.unknown_rank = True
ONES = tf.make_tensor_proto(np.ones([1, 2], np.int32))


@pytest.mark.parametrize("inputs, signature, message", [
    ({"text": [1.0]}, "", "expects string but float32 is provided"), ({"txt": ["a"]}, "", "Missing but required: {text}"),
    ({}, "", "Missing but required"), ({"text": ["a"], "more": ["a"]}, "", "Sent extra: {more}"),
    ({"text": "a"}, "", "does not fit"), ({"text": [["a"]]}, "", "does not fit"), ({"text": ["a"]}, "none", "not found in sig"),
    ({"text": ["fail"]}, "", "this text fails"), ({"text": tensor(tf.string, 0)}, "", "no rows"),
    ({"text": tensor(tf.string, -1, string_val=[b"a"])}, "", "not known in full"), ({"text": UNKNOWN}, "", "not known in full"),
    ({"text": tensor(tf.string, 1 << 50, string_val=[b"a"])}, "", "larger than the server takes"),
    ({"text": tensor(tf.string, 1 << 40, 1 << 40, 0)}, "", "larger than"),
    ({"text": tensor(tf.string, 1, string_val=[b"a", b"b"])}, "", "2 values for the shape"),
    ({"text": tensor(tf.string, 1)}, "", "0 values for the shape"),
    ({"text": tensor(tf.string, 1, tensor_content=b"a")}, "", "strings come in string_val"),
    ({"text": TensorProto(dtype=999)}, "", ""), ({"text": TensorProto()}, "", ""),
    ({"text": tensor(tf.resource, 1)}, "", ""), ({"text": tensor(tf.variant, 1)}, "", ""),
    ({"text": tensor(tf.quint8, 1, int_val=[1])}, "", ""), ({"text": tensor(tf.complex64, 1, scomplex_val=[1, 2])}, "", ""),
    ({"x": tensor(tf.float32, 3, tensor_content=b"\0" * 11)}, "numbers", "tensor_content has 11 bytes"),
    ({"x": tensor(tf.float32, 1, double_val=[1.0])}, "numbers", "0 values"),
    ({"token_ids": tensor(tf.int32, 1, 2, int_val=[1, 2, 3]), "padding_mask": ONES}, "tokens", "3 values"),
    ({"token_ids": tensor(tf.int32, 2, 2, int_val=[1]), "padding_mask": ONES}, "tokens", "differ in their number of rows"),
    ({"token_ids": tensor(tf.int32, 1, 3, int_val=[1]), "padding_mask": ONES}, "tokens", "ncompatible shapes"),
    ({"token_ids": tensor(tf.int8, 1, 2, int_val=[1000]), "padding_mask": ONES}, "tokens", ""),
    ({"a": [1.0], "b": [1.0, 2, 3]}, "fixed", "does not fit"),
])
def test_malformed_tensors_are_the_clients_mistake(served, stub, inputs, signature, message):
    assert message in refused(stub.Predict, request(inputs, signature), INVALID)
    assert stub.Predict(request({"text": ["a"]})).outputs["label"].string_val


def test_malformed_protos_and_examples(served, stub):
    with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert "parsing message" in refused(raw, b"\xff\xff\xff", INVALID)
        other = channel.unary_unary("/tensorflow.serving.PredictionService/Other")
        refused(other, b"", grpc.StatusCode.UNIMPLEMENTED)
    for text in (b"no Example", b"\xff" * 40, b""):
        refused(stub.Predict, request({"inputs": [text]}, "classify"), INVALID)
    refused(stub.Predict, request({"text": ["a"]}, model="other"), NOT_FOUND)
    refused(stub.Predict, request({"text": ["a"]}, model=""), INVALID)
    refused(stub.Predict, request({"text": ["a"]}, version=77), NOT_FOUND)
    refused(stub.Predict, request({"text": ["a"]}, version=-1), NOT_FOUND)
    refused(stub.Predict, request({"text": ["a"]}, label="none"), INVALID)
    refused(stub.Predict, request({"text": ["x" * (2 << 20)]}), grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_a_last_value_is_repeated_as_tensorflow_does(stub):
    made = stub.Predict(request({"x": tensor(tf.float32, 3, float_val=[7.0])}, "numbers"))
    assert tf.make_ndarray(made.outputs["x"]).tolist() == [7, 7, 7]


def test_deadlines_and_cancelled_calls(served, stub):
    long = request({"rounds": [400]}, "slow")
    started = time.monotonic()
    refused_code = grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(long, timeout=0.05)
    assert caught.value.code() == refused_code
    while served.server.inference.in_flight:
        time.sleep(0.001)
    call = stub.Predict.future(long)
    while not served.server.inference.in_flight and not call.done():
        time.sleep(0.001)
    call.cancel()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # what was given up does not fill the queue
        made = [pool.submit(lambda: stub.Predict(request({"rounds": [1]}, "slow"), timeout=30)) for _ in range(8)]
        assert all(m.result().outputs["rounds"].int_val[0] == 1 for m in made)
    assert time.monotonic() - started < 30
    while served.server.inference.in_flight:
        time.sleep(0.01)


def test_health_says_not_serving_while_draining(tiny_saved, tmp_path):
    with serving(settings(versions(tmp_path / "tiny", tiny_saved, 1))) as served:
        with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
            seen = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
            assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
            ending = asyncio.run_coroutine_threadsafe(served.server.stop(), served.loop)
            assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
            seen.cancel()
            assert ending.result(30)
