"""What lies beside a SavedModel for TensorFlow Serving: how to batch, and requests to warm up with."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfft.data.plan import few_buckets
from tfft.serving.saved_model import ServedModel
from tfft.serving.server.warmup import PATH as WARM_UP_REQUESTS
from tfft.tasks.base import Task

TOKENS_AT_ONCE = 8192  # of a largest batch: more adds waiting, and hardly any throughput
SMALLEST, LARGEST = 8, 128  # rows of a largest batch


def batch_sizes(lengths: np.ndarray) -> tuple[int, ...]:
    """The allowed batch sizes, 1, 2, 4, ... up to what holds TOKENS_AT_ONCE of the data's longer texts (their 95th
    percentile). lengths: int[n] tokens, none over max_length.

    [256, 256, 40] -> 1 2 4 8 16 32
    """
    long = max(1.0, float(np.quantile(lengths, 0.95))) if len(lengths) else 1.0
    largest = min(LARGEST, max(SMALLEST, 2 ** int(np.log2(TOKENS_AT_ONCE / long))))
    return tuple(2**power for power in range(int(np.log2(largest)) + 1))


def write_batching(folder: Path, sizes: tuple[int, ...], lengths: np.ndarray) -> None:
    """batching_params.pbtxt, which --enable_per_model_batching_parameters reads. Threads are left to the server, which
    knows its processors."""
    median, long = (int(np.quantile(lengths, q)) for q in (0.5, 0.95)) if len(lengths) else (0, 0)
    (folder / "batching_params.pbtxt").write_text(
        f"# {len(lengths):,} training texts: median {median} tokens, 95th percentile {long}. A largest batch of such long\n"
        f"# texts has at most {TOKENS_AT_ONCE:,} tokens ({SMALLEST} to {LARGEST} rows). Any lengths may share a batch.\n"
        f"max_batch_size {{ value: {sizes[-1]} }}\n"
        "batch_timeout_micros { value: 1000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        + "".join(f"allowed_batch_sizes: {size}\n" for size in sizes))


def write_warm_up(folder: Path, name: str, served: ServedModel, task: Task, sizes: tuple[int, ...]) -> int:
    """Requests of every bucket length and batch size, the largest first, or the smallest one alone; returns their number."""
    path = folder / WARM_UP_REQUESTS
    path.parent.mkdir(exist_ok=True)
    lengths, most = few_buckets(served.encoder.max_length), 1 if task.briefly_warm else None
    logs = [_request(name, task.warm_up(served.fields, length), size)
            for length in reversed(lengths[:most]) for size in reversed(sizes[:most])]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    return len(logs)


def _request(name: str, texts: dict[str, str | int | list[str]], size: int) -> prediction_log_pb2.PredictionLog:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, "serving_default"
    for column, value in texts.items():
        request.inputs[column].CopyFrom(tf.make_tensor_proto([value] * size, tf.int64 if isinstance(value, int) else tf.string))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
