"""TF Serving's two APIs as calls of Python: REST through urllib3, gRPC through tensorflow-serving-api.

Both take and give the same: columns of texts by input name; arrays by output name.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

GONE, DEADLINE, MISSING, INVALID, OTHER = "gone", "deadline", "missing", "invalid", "other"  # kinds of Failure
HTTP_KINDS = {400: INVALID, 404: MISSING, 408: DEADLINE, 409: INVALID, 413: INVALID, 422: INVALID, 501: INVALID, 503: GONE,
              504: DEADLINE}
MESSAGE = 300  # characters of a server's message that are told


class Failure(Exception):
    """A request without an answer. Only of kind GONE may the same request have one later."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind, self.message = kind, " ".join(message.split())[:MESSAGE].rstrip(".")


class Rest:
    """POST /v1/models/NAME[/versions/N|/labels/L]:predict and its like."""

    def __init__(self, address, certificates: str):
        import urllib3

        secure = {"ca_certs": certificates} if certificates else {}
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, **secure)
        self._url = address.url
        self._only_output: dict[str, str] = {}  # signature -> the name that the column format leaves out

    def close(self) -> None:
        self._pool.clear()

    def predict(self, columns: dict[str, list[str]], signature: str, seconds: float) -> dict[str, np.ndarray]:
        outputs = self._post("predict", {"inputs": columns}, signature, seconds).get("outputs")
        if outputs is None:
            raise Failure(OTHER, "the answer has no outputs")
        if not isinstance(outputs, dict):
            if signature not in self._only_output:
                self._only_output[signature] = self.signature(signature, seconds)[1][0]
            outputs = {self._only_output[signature]: outputs}
        return {name: _array(values) for name, values in outputs.items()}

    def examples(self, method: str, columns: dict[str, list[str]], signature: str, seconds: float) -> list:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        results = self._post(method, {"examples": rows}, signature, seconds).get("results")
        return [[(label, float(score)) for label, score in row] for row in results] if method == "classify" else results

    def signature(self, name: str, seconds: float) -> tuple[list[str], list[str]]:
        """Names of the inputs and of the outputs."""
        known = self._ask("GET", "/metadata", None, seconds)["metadata"]["signature_def"]["signature_def"]
        chosen = _chosen(known, name)
        return sorted(chosen["inputs"]), sorted(chosen["outputs"])

    def _post(self, method: str, body: dict[str, Any], signature: str, seconds: float) -> dict:
        named = {"signature_name": signature} if signature else {}
        return self._ask("POST", f":{method}", json.dumps({**named, **body}, ensure_ascii=False).encode(), seconds)

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> dict:
        import urllib3

        try:
            answer = self._pool.request(method, self._url + path, body=body, timeout=urllib3.Timeout(total=seconds),
                                        headers={"Content-Type": "application/json"} if body else None)
        except urllib3.exceptions.NewConnectionError as error:
            raise Failure(GONE, str(error).partition(": ")[2] or str(error)) from error
        except urllib3.exceptions.TimeoutError as error:
            raise Failure(DEADLINE, str(error)) from error
        except urllib3.exceptions.SSLError as error:
            raise Failure(OTHER, str(error)) from error
        except urllib3.exceptions.HTTPError as error:  # the connection broke, or what answers speaks no HTTP
            raise Failure(GONE, str(error)) from error
        try:
            made = json.loads(answer.data)
        except ValueError:
            made = None
        if answer.status == 200 and isinstance(made, dict):
            return made
        told = made["error"] if isinstance(made, dict) and "error" in made else f"HTTP status {answer.status}"
        raise Failure(HTTP_KINDS.get(answer.status, OTHER), str(told))


def _chosen(signatures, name: str):
    """The named one of a map of signatures; '' is the default one. Raises: Failure."""
    wanted = name or "serving_default"
    if wanted not in signatures:
        raise Failure(INVALID, f"it has no signature {wanted!r}, but {', '.join(sorted(signatures))}")
    return signatures[wanted]


def _array(values: list) -> np.ndarray:
    """Strings become an array of objects, integers one of int64, other numbers one of float32."""
    made = np.array(values, object if _kind(values) is str else None)
    return made.astype(np.float32) if made.dtype == np.float64 else made


def _kind(values) -> type:
    """The type of the first scalar."""
    while isinstance(values, list) and values:
        values = values[0]
    return type(values)


class Grpc:
    """PredictionService's Predict, Classify, Regress and GetModelMetadata."""

    def __init__(self, address, certificates: str):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._grpc, self._address = grpc, address
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 2000)]
        if address.scheme == "grpcs":
            trusted = Path(certificates).read_bytes() if certificates else None
            self._channel = grpc.secure_channel(address.target, grpc.ssl_channel_credentials(trusted), options)
        else:
            self._channel = grpc.insecure_channel(address.target, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def predict(self, columns: dict[str, list[str]], signature: str, seconds: float) -> dict[str, np.ndarray]:
        import tensorflow as tf
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        request = self._named(PredictRequest(), signature)
        for name, texts in columns.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, tf.string))
        answer = self._call(self._stub.Predict, request, seconds)
        return {name: _decoded(tf.make_ndarray(tensor)) for name, tensor in answer.outputs.items()}

    def examples(self, method: str, columns: dict[str, list[str]], signature: str, seconds: float) -> list:
        from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
        from tensorflow_serving.apis.regression_pb2 import RegressionRequest

        request = self._named((ClassificationRequest if method == "classify" else RegressionRequest)(), signature)
        for row in zip(*columns.values()):
            features = request.input.example_list.examples.add().features.feature
            for name, text in zip(columns, row):
                features[name].bytes_list.value.append(text.encode())
        if method == "classify":
            answer = self._call(self._stub.Classify, request, seconds)
            return [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
        return [row.value for row in self._call(self._stub.Regress, request, seconds).result.regressions]

    def signature(self, name: str, seconds: float) -> tuple[list[str], list[str]]:
        """Names of the inputs and of the outputs."""
        from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

        request = self._named(GetModelMetadataRequest(metadata_field=["signature_def"]), "")
        made = SignatureDefMap()
        self._call(self._stub.GetModelMetadata, request, seconds).metadata["signature_def"].Unpack(made)
        chosen = _chosen(made.signature_def, name)
        return sorted(chosen.inputs), sorted(chosen.outputs)

    def _named(self, request, signature: str):
        """The request with the model it is for."""
        request.model_spec.name, request.model_spec.signature_name = self._address.model, signature
        if self._address.version is not None:
            request.model_spec.version.value = self._address.version
        elif self._address.label:
            request.model_spec.version_label = self._address.label
        return request

    def _call(self, method, request, seconds: float):
        code = self._grpc.StatusCode
        try:
            return method(request, timeout=seconds)
        except self._grpc.RpcError as error:
            kind = {code.UNAVAILABLE: GONE, code.DEADLINE_EXCEEDED: DEADLINE, code.NOT_FOUND: MISSING,
                    code.INVALID_ARGUMENT: INVALID, code.FAILED_PRECONDITION: INVALID, code.OUT_OF_RANGE: INVALID,
                    code.UNIMPLEMENTED: INVALID, code.RESOURCE_EXHAUSTED: INVALID}.get(error.code(), OTHER)
            raise Failure(kind, error.details() or error.code().name) from error


def _decoded(values: np.ndarray) -> np.ndarray:
    """bytes -> str, for those that are UTF-8."""
    if values.dtype != object:
        return values
    made = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        made[place] = value.decode("utf-8", "backslashreplace")
    return made
