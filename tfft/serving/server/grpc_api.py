"""TF Serving's gRPC services and the standard health service, in the event loop of the REST API."""

import contextlib
import logging
import time

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import _async as health_async
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfft.serving.server import describe, tensors
from tfft.serving.server.inference import LARGE, Inference, Request, filtered
from tfft.serving.server.refusal import Refusal, invalid
from tfft.serving.server.settings import Settings

LOG = logging.getLogger("tfft.serve")
SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
CODES = {code.value[0]: code for code in grpc.StatusCode}
OVERHEAD = 1 << 16  # bytes of a message beside its tensors


def server(settings: Settings, inference: Inference) -> tuple[grpc.aio.Server, health_async.HealthServicer]:
    """The server, not yet listening, and its health servicer."""
    size = settings.limits.max_request_bytes + OVERHEAD
    made = grpc.aio.server(options=[
        ("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000), ("grpc.keepalive_timeout_ms", int(1000 * settings.limits.write_timeout)),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(inference), _Registered(made))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Model(inference), _Registered(made))
    health = health_async.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, made)
    return made, health


async def set_health(health: health_async.HealthServicer, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in SERVICES:
        await health.set(service, status)


class _Parsing(grpc.GenericRpcHandler):
    """Answers bytes that are no message as the client's mistake; gRPC would say UNKNOWN and log a traceback."""

    def __init__(self, inner: grpc.GenericRpcHandler):
        self._inner = inner
        self._made: dict[str, grpc.RpcMethodHandler | None] = {}

    def service(self, handler_call_details):
        method = handler_call_details.method
        if method not in self._made:
            handler = self._inner.service(handler_call_details)
            if handler is None:
                return None
            self._made[method] = _parsing(handler) if handler.unary_unary else handler
        return self._made[method]


def _parsing(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    def parse(data: bytes):
        try:
            return handler.request_deserializer(data)
        except DecodeError as error:
            return error

    async def answer(request, context):
        if isinstance(request, DecodeError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(request))
        return await handler.unary_unary(request, context)

    return grpc.unary_unary_rpc_method_handler(answer, parse, handler.response_serializer)


class _Registered:
    """Takes the place of the server where the generated code registers its handlers."""

    def __init__(self, server: grpc.aio.Server):
        self._server = server

    def add_generic_rpc_handlers(self, handlers) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Parsing(handler) for handler in handlers))


@contextlib.asynccontextmanager
async def _answered(context):
    """Turns a Refusal into the call's status."""
    try:
        yield
    except Refusal as refusal:
        await context.abort(CODES[refusal.code.number], refusal.message)
    except Exception as error:
        if isinstance(error, grpc.aio.AbortError):
            raise
        LOG.exception("a gRPC request failed")
        await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has it")


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, inference: Inference):
        self._inference = inference

    def _asked(self, spec, context) -> Request:
        if not spec.name:
            raise invalid("Missing ModelSpec: the model's name is empty")
        timeout = self._inference.limits.request_timeout
        version = spec.version.value if spec.HasField("version") else None
        asked = Request(spec.name, version, spec.version_label, spec.signature_name)
        left = context.time_remaining()
        asked.deadline = time.monotonic() + (timeout if left is None else min(timeout, left))
        return asked

    @staticmethod
    def _fill(spec, asked: Request) -> None:
        spec.name, spec.signature_name, spec.version.value = asked.name, asked.signature, asked.version

    async def Predict(self, request, context):
        async with _answered(context):
            asked = self._asked(request.model_spec, context)
            with self._inference.counted("grpc", "predict", asked):
                limit = self._inference.limits.max_request_bytes

                def read(signature):
                    filtered(signature, signature.outputs, list(request.output_filter))  # refused before it is computed
                    return tensors.arrays(request.inputs, limit)

                signature, outputs = await self._inference.predict(asked, read, request.ByteSize() > LARGE)
                response = predict_pb2.PredictResponse()
                self._fill(response.model_spec, asked)
                for name, array in filtered(signature, outputs, list(request.output_filter)).items():
                    response.outputs[name].CopyFrom(tensors.proto(array))
                return response

    async def Classify(self, request, context):
        async with _answered(context):
            asked = self._asked(request.model_spec, context)
            with self._inference.counted("grpc", "classify", asked):
                classes, scores = await self._inference.classify(asked, tensors.examples(request.input))
                response = classification_pb2.ClassificationResponse()
                self._fill(response.model_spec, asked)
                for i in range(len(classes if classes is not None else scores)):
                    row = response.result.classifications.add()
                    for j in range(classes.shape[1] if classes is not None else scores.shape[1]):
                        row.classes.add(label=classes[i, j] if classes is not None else "",
                                        score=scores[i, j] if scores is not None else 0.0)
                return response

    async def Regress(self, request, context):
        async with _answered(context):
            asked = self._asked(request.model_spec, context)
            with self._inference.counted("grpc", "regress", asked):
                values = await self._inference.regress(asked, tensors.examples(request.input))
                response = regression_pb2.RegressionResponse()
                self._fill(response.model_spec, asked)
                for value in values:
                    response.result.regressions.add(value=value)
                return response

    async def GetModelMetadata(self, request, context):
        async with _answered(context):
            spec = request.model_spec
            unknown = [field for field in request.metadata_field if field != "signature_def"]
            if unknown or not request.metadata_field:
                raise invalid(f"Metadata field {unknown[0]} is not supported" if unknown else
                              "GetModelMetadataRequest must specify at least one metadata_field")
            return describe.metadata(self._inference.models, spec.name,
                                     spec.version.value if spec.HasField("version") else None, spec.version_label)


class _Model(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, inference: Inference):
        self._inference = inference

    async def GetModelStatus(self, request, context):
        async with _answered(context):
            spec = request.model_spec
            return describe.status(self._inference.models, spec.name,
                                   spec.version.value if spec.HasField("version") else None, spec.version_label)
