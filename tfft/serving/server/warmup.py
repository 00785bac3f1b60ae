"""Runs the requests that an export brings along, so that the first user does not wait for what is done once."""

import itertools
import logging
import time
from collections.abc import Callable

import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfft.serving.server import tensors
from tfft.serving.server.refusal import Refusal
from tfft.serving.server.version import CLASSIFY, REGRESS, Version

LOG = logging.getLogger("tfft.serve")
PATH = "assets.extra/tf_serving_warmup_requests"
LIMIT = 1000   # TF Serving's
SECONDS = 5.0  # beyond the first request of each signature, which is the one that compiles its graph
POLITE = 0.5   # seconds that such a request waits at most while users are answered


def warm_up(version: Version, busy: Callable[[], bool] = lambda: False) -> int:
    """Answers the TFRecord of PredictionLogs in a version's folder; the number answered. A bad one is told and skipped.

    busy: whether users are being answered, by other versions on the same processors: they come first, and small requests do.
    """
    path = version.folder / PATH
    if not path.is_file():
        return 0
    first, others = {}, []
    try:
        for record in itertools.islice(tf.compat.v1.io.tf_record_iterator(str(path)), LIMIT):
            log = PredictionLog.FromString(record)
            if first.setdefault(_signature(log), log) is not log:
                others.append(log)
    except Exception as error:  # the file is broken from here on
        LOG.warning("%s: %s", path, error)
    answered = sum(_answer(version, log) for log in first.values() if not version.given_up)
    end = time.monotonic() + SECONDS
    for log in reversed(others) if busy() else others:  # an export's are the largest first
        patience = time.monotonic() + POLITE
        while busy() and time.monotonic() < patience:
            time.sleep(0.002)
        if version.given_up or time.monotonic() > end:
            break
        answered += _answer(version, log)
    return answered


def _signature(log: PredictionLog) -> str:
    logged = {"predict_log": log.predict_log, "classify_log": log.classify_log, "regress_log": log.regress_log}
    kind = log.WhichOneof("log_type")
    return logged[kind].request.model_spec.signature_name if kind in logged else ""


def _answer(version: Version, log: PredictionLog) -> int:
    kind = log.WhichOneof("log_type")
    try:
        if kind == "predict_log":
            request = log.predict_log.request
            signature = version.signature(request.model_spec.signature_name)
            signature.run(tensors.checked(signature, tensors.arrays(request.inputs, 1 << 30)))
        elif kind in ("classify_log", "regress_log"):
            request = (log.classify_log if kind == "classify_log" else log.regress_log).request
            signature = version.signature(request.model_spec.signature_name)
            if signature.method in (CLASSIFY, REGRESS):
                signature.run({next(iter(signature.inputs)): tensors.examples(request.input)})
        else:
            return 0
    except Refusal as refusal:
        LOG.warning("%s version %d: a warm-up request failed: %s", version.name, version.number, refusal)
        return 0
    return 1
