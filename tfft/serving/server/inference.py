"""Answers requests, whatever they came by: finds the version, checks, computes, counts."""

import asyncio
import contextlib
import time

import numpy as np
import tensorflow as tf

from tfft.serving.server import tensors
from tfft.serving.server.metrics import Metrics
from tfft.serving.server.models import Models
from tfft.serving.server.refusal import Code, Refusal, invalid
from tfft.serving.server.settings import Limits
from tfft.serving.server.version import CLASSIFY, PREDICT, REGRESS, Signature

LARGE = 64 << 10  # bytes of a request, or values of an answer, beyond which they are not read or written in the event loop


class Request:
    """Which model, version and signature are asked for; filled in as the request is understood."""

    def __init__(self, name: str, version: int | None = None, label: str = "", signature: str = "", seconds: float = 60.0):
        self.name, self.version, self.label, self.signature = name, version, label, signature
        self.deadline = time.monotonic() + seconds


class Inference:
    """Predict, Classify and Regress over all models."""

    def __init__(self, models: Models, metrics: Metrics, limits: Limits):
        self.models, self.metrics, self.limits = models, metrics, limits
        self.in_flight = 0

    @contextlib.contextmanager
    def counted(self, api: str, method: str, request: Request):
        """Counts a request and its outcome. Raises: Refusal where too many are being answered."""
        started, code = time.perf_counter(), Code.OK
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            if self.in_flight > self.limits.max_concurrency:
                raise Refusal(Code.UNAVAILABLE, f"{self.limits.max_concurrency} requests are being answered already")
            yield
        except Refusal as refusal:
            code = refusal.code
            raise
        except GeneratorExit:
            raise
        except BaseException as error:
            code = Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED
            raise
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)
            known = self.models.by_name.get(request.name)  # labels never hold what a client makes up
            model = request.name if known else ""
            signatures = {s for v in known.loaded.values() for s in v.signatures} if known else ()
            name = request.signature or "serving_default"
            self.metrics.requests.labels(api, model, method, name if name in signatures else "", code.name).inc()
            self.metrics.latency.labels(api, model, method).observe(time.perf_counter() - started)

    async def predict(self, request: Request, read, large: bool = False) -> tuple[Signature, dict[str, np.ndarray]]:
        """(signature, all its outputs). read(signature) gives the inputs' arrays, outside of the event loop if large.

        The version that was found is kept until it has answered.
        """
        version, batcher = self.models.find(request.name, request.version, request.label)
        with version.in_use():
            request.version = version.number
            signature = version.signature(request.signature)
            request.signature = signature.name
            given = await asyncio.to_thread(read, signature) if large else read(signature)
            given = tensors.checked(signature, given)
            return signature, await batcher.run(signature, given, request.deadline)

    async def classify(self, request: Request, examples: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(classes string[B,L] or None, scores float32[B,L] or None) of serialized Examples."""
        signature, outputs = await self.predict(request, lambda found: _of_examples(found, CLASSIFY, examples))
        classes, scores = outputs.get("classes"), outputs.get("scores")
        for made in (classes, scores):
            if made is not None and (made.ndim != 2 or len(made) != len(examples)):
                raise Refusal(Code.INTERNAL, f"signature {signature.name!r} answers {made.shape}, not [{len(examples)},labels]")
        return classes, scores

    async def regress(self, request: Request, examples: np.ndarray) -> np.ndarray:
        """float32[B] of serialized Examples."""
        signature, outputs = await self.predict(request, lambda found: _of_examples(found, REGRESS, examples))
        values = outputs["outputs"]
        if values.size != len(examples):
            raise Refusal(Code.INTERNAL, f"signature {signature.name!r} answers {values.shape}, not [{len(examples)}]")
        return values.reshape(-1)


def filtered(signature: Signature, outputs: dict[str, np.ndarray], wanted: list[str]) -> dict[str, np.ndarray]:
    """The outputs asked for. Raises: Refusal for one that the signature does not have."""
    if not wanted:
        return outputs
    for name in wanted:
        if name not in outputs:
            raise invalid(f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                          f"{{{','.join(signature.outputs)}}}.")
        if wanted.count(name) > 1:
            raise invalid(f"duplicate output tensor alias: {name}")
    return {name: outputs[name] for name in wanted}


def _of_examples(signature: Signature, method: str, examples: np.ndarray) -> dict[str, np.ndarray]:
    if signature.method != method:
        hint = f"; ask for {signature.method.rsplit('/', 1)[-1]}" if signature.method in (PREDICT, CLASSIFY, REGRESS) else ""
        raise invalid(f"Expected {method.rsplit('/', 1)[-1]} signature method_name to be {method}. Was: {signature.method}"
                      f" (signature {signature.name!r}{hint})")
    if len(signature.inputs) != 1 or next(iter(signature.inputs.values())).dtype != tf.string:
        raise Refusal(Code.FAILED_PRECONDITION, f"signature {signature.name!r} does not take serialized Examples")
    if method == REGRESS and "outputs" not in signature.outputs:
        raise Refusal(Code.FAILED_PRECONDITION, f"signature {signature.name!r} has no output 'outputs'")
    return {next(iter(signature.inputs)): examples}
