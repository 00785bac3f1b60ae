"""Serve runs or exported models on this machine: python -m tfft.serve --workdir=runs/imdb | --model=models/imdb"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError, unknown
from tfft.serving.apart import served
from tfft.serving.search.checks import indexes_of
from tfft.serving.server.settings import Batching, Limits, Settings, check_ports, models_of

MODEL = flags.DEFINE_multi_string("model", [], "A folder of versions, as FOLDER or NAME=FOLDER; may be given several times.")
WORKDIR = flags.DEFINE_multi_string("workdir", [], "A run's work directory, exported first where it has not been since its "
                                    "training; may be given several times.")
INDEX = flags.DEFINE_multi_string("index", [], "An index that is searched: its run is served too, exported first where it must "
                                  "be; or NAME=FOLDER, for a model that is served. May be given several times.")
CONFIG = flags.DEFINE_string("model_config_file", "", "TF Serving's ModelServerConfig in text form, instead of --model.")
CONFIG_POLL = flags.DEFINE_float("model_config_file_poll_wait_seconds", 0.0, "How often to read the config file again, to move "
                                 "labels or add models; 0 is never.", 0.0)
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at; 0.0.0.0 is every one of this machine.")
REST_PORT = flags.DEFINE_integer("rest_port", 8501, "Port of REST, the page and /metrics; 0 is any free one.", 0, 65535)
GRPC_PORT = flags.DEFINE_integer("grpc_port", 8500, "Port of gRPC; 0 is any free one.", 0, 65535)
POLL = flags.DEFINE_float("poll_seconds", 1.0, "How often to look for new versions.", 0.05)
BATCHING = flags.DEFINE_bool("batching", True, "Join requests that wait; --nobatching computes each alone.")
BATCH = flags.DEFINE_integer("max_batch_size", 32, "Rows computed at once, where a version's batching_params.pbtxt does "
                             "not say.", 1)
QUEUE = flags.DEFINE_integer("max_enqueued_batches", 100, "Full batches that may wait; more is refused.", 1)
BATCH_THREADS = flags.DEFINE_integer("num_batch_threads", 1, "Batches of one version computed at the same time.", 1)
BY_LENGTH = flags.DEFINE_bool("batch_by_length", True, "Compute texts of like lengths together, so that little is padded.")
THREADS = flags.DEFINE_integer("threads", 0, "Threads of one operation; 0 is one for each core.", 0)
BYTES = flags.DEFINE_integer("max_request_bytes", 16 << 20, "Size of the largest request.", 1024)
CONCURRENCY = flags.DEFINE_integer("max_concurrency", 1000, "Requests answered at the same time; more are refused.", 1)
TIMEOUT = flags.DEFINE_float("request_timeout", 60.0, "Seconds until a request has its answer.", 0.001)
READ = flags.DEFINE_float("read_timeout", 30.0, "Seconds a client may take to send a request.", 0.1)
WRITE = flags.DEFINE_float("write_timeout", 30.0, "Seconds a client may take to receive an answer.", 0.1)
DRAIN = flags.DEFINE_float("drain_seconds", 30.0, "Seconds that running requests have after SIGTERM or Ctrl-C.", 0.0)
FILE_OPS = flags.DEFINE_bool("allow_file_ops", False, "Load models whose graphs read or write files.")
ALLOWED = flags.DEFINE_multi_string("allowed_host", [], "A name of this server in addresses, beside localhost.")


def main() -> int:
    indexes, runs = indexes_of(INDEX.value)
    models = models_of([*MODEL.value, *map(served, dict.fromkeys([*WORKDIR.value, *runs]))], CONFIG.value)
    for name in indexes.keys() - {model.name for model in models}:
        raise UserError(f"--index={name}=...: {unknown('model', name, [model.name for model in models])}")
    settings = Settings(
        models=models, indexes=indexes, host=HOST.value, rest_port=REST_PORT.value, grpc_port=GRPC_PORT.value,
        poll_seconds=POLL.value, threads=THREADS.value, allow_file_ops=FILE_OPS.value,
        allowed_hosts=tuple(name.lower() for name in ALLOWED.value), config_file=CONFIG.value,
        config_poll_seconds=CONFIG_POLL.value,
        limits=Limits(BYTES.value, CONCURRENCY.value, TIMEOUT.value, READ.value, WRITE.value, DRAIN.value),
        batching=Batching(BATCHING.value, BATCH.value, QUEUE.value, BATCH_THREADS.value, BY_LENGTH.value))
    check_ports(settings)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.serving.server.app import serve

    return serve(settings)


if __name__ == "__main__":
    command_line.run(main)
