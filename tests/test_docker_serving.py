"""docker/serving: what can be known of a composition without a container engine."""

import pathlib
import re
import subprocess
import time

import pytest
import served
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tfft.serving.server.settings import ModelSettings, models_of

FOLDER = pathlib.Path(__file__).parent.parent / "docker" / "serving"
# Those of tensorflow_model_server, as its main.cc declares them, that a CPU server may have.
FLAGS = """
    allow_version_labels_for_unavailable_models batching_parameters_file enable_batching enable_model_warmup
    enable_per_model_batching_parameters file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
    grpc_max_threads load_retry_interval_micros max_num_load_retries model_base_path model_config_file
    model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads num_request_iterations_for_warmup
    num_unload_threads port rest_api_num_threads rest_api_port rest_api_timeout_in_ms ssl_config_file
    tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism tensorflow_session_parallelism
    """.split()


def messages() -> dict:
    """TF Serving's BatchingParameters and MonitoringConfig, which tensorflow-serving-api lacks, as far as they are used."""
    file = descriptor_pb2.FileDescriptorProto(name="serving_test.proto", package="serving_test", syntax="proto3",
                                              dependency=[wrappers_pb2.DESCRIPTOR.name])
    field = descriptor_pb2.FieldDescriptorProto

    def add(message: str, **fields):
        made = file.message_type.add(name=message)
        for number, (name, kind) in enumerate(fields.items(), 1):
            label = field.LABEL_REPEATED if name == "allowed_batch_sizes" else field.LABEL_OPTIONAL
            of_message = {"type": field.TYPE_MESSAGE, "type_name": kind} if isinstance(kind, str) else {"type": kind}
            made.field.add(name=name, number=number, label=label, **of_message)

    whole, text = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    add("BatchingParameters", max_batch_size=whole, batch_timeout_micros=whole, max_enqueued_batches=whole,
        num_batch_threads=whole, thread_pool_name=text, allowed_batch_sizes=field.TYPE_INT64)
    add("PrometheusConfig", enable=field.TYPE_BOOL, path=field.TYPE_STRING)
    add("MonitoringConfig", prometheus_config=".serving_test.PrometheusConfig")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving_test.{name}"))
            for name in ("BatchingParameters", "MonitoringConfig")}


def read(name: str, message):
    return text_format.Parse((FOLDER / "config" / name).read_text("utf-8"), message())


@pytest.fixture(scope="module")
def services() -> dict:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]


def test_flags_are_the_servers_and_name_files_that_are_mounted(services):
    command = services["serving"]["command"]
    given = dict(flag.removeprefix("--").split("=") for flag in command)
    assert len(given) == len(command) and given.keys() <= set(FLAGS)
    mounted = dict(volume.rsplit(":", 1)[0].rsplit(":", 1)[::-1] for volume in services["serving"]["volumes"])
    assert mounted == {"/models": "${MODELS:-../../models}", "/config": "./config"}
    files = [value for value in given.values() if value.startswith("/")]
    assert len(files) == 3 and all((FOLDER / file.removeprefix("/")).is_file() for file in files)


def test_images_are_pinned_and_the_host_is_kept_apart(services):
    assert services["serving"]["image"] == "tensorflow/serving:2.20.0"
    for service in services.values():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume.endswith(":ro") for volume in services["serving"]["volumes"]) and services["serving"]["read_only"]


def test_models_and_labels():
    models = read("models.config", ModelServerConfig).model_config_list.config
    assert [model.name for model in models] == ["imdb"]
    for model in models:
        assert model.base_path == f"/models/{model.name}" and model.model_platform == "tensorflow"
        assert dict(model.version_labels).keys() >= {"stable"}
        assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_the_local_server_takes_the_same_file(tmp_path):
    """But for the folder, which is another outside the container."""
    (tmp_path / "imdb" / "1").mkdir(parents=True)
    (tmp_path / "imdb" / "1" / "saved_model.pb").touch()
    text = (FOLDER / "config" / "models.config").read_text("utf-8")
    (tmp_path / "models.config").write_text(text.replace("/models/", f"{tmp_path}/"))
    assert models_of([], str(tmp_path / "models.config")) == (
        ModelSettings("imdb", tmp_path / "imdb", specific=(1,), labels={"stable": 1}),)


def test_canary_promotion_and_rollback_as_the_docs_have_them(tmp_path):
    """The lines of docs/serving.md, one step after another, against the local server."""
    served.versions(tmp_path / "imdb", served.save(tmp_path / "made"), 1, 2)
    text = (FOLDER / "config" / "models.config").read_text("utf-8").replace("/models/", f"{tmp_path}/")
    docs = (FOLDER.parent.parent / "docs" / "serving.md").read_text("utf-8")
    canary = "\n".join(re.findall(r"^ {7}(model_version_policy .*|version_labels .*)$", docs, re.M))
    assert canary.count("\n") == 2
    before = re.search(r"    model_version_policy.*value: 1 }\n", text, re.S)[0]
    with_canary = text.replace(before, canary + "\n")
    promoted = with_canary.replace('"stable" value: 1', '"stable" value: 2')
    config = tmp_path / "models.config"

    def answering(path: str) -> int:
        status, made = server.ask(f"/v1/models/imdb{path}")
        return int(made["model_version_status"][0]["version"]) if status == 200 else status

    config.write_text(text)
    chosen = served.settings(models=models_of([], str(config)), config_file=str(config), config_poll_seconds=0.05)
    with served.serving(chosen) as server:
        for step, stable, other in ((text, 1, 400), (with_canary, 1, 2), (promoted, 2, 2), (with_canary, 1, 2), (text, 1, 400)):
            config.write_text(step)
            end = time.monotonic() + 20
            while (found := [answering("/labels/stable"), answering("/labels/canary")]) != [stable, other]:
                assert time.monotonic() < end and found[0] in (1, 2), found
                time.sleep(0.02)
            assert server.ask("/v1/models/imdb/labels/stable:predict", {"instances": ["a"]})[0] == 200


def test_batching_and_monitoring(services):
    batching = read("batching.config", messages()["BatchingParameters"])
    assert batching.num_batch_threads.value == 1 and batching.thread_pool_name.value
    prometheus = read("monitoring.config", messages()["MonitoringConfig"]).prometheus_config
    scrape, = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert prometheus.enable and prometheus.path == scrape["metrics_path"]
    (host, port), = (target.split(":") for config in scrape["static_configs"] for target in config["targets"])
    assert host in services and port == "8501"


def test_the_health_check_sees_whether_a_model_is_available(services, tmp_path):
    """Its script against a server that answers as TF Serving does while a model loads, and once it is there."""
    import http.server
    import threading

    state = ["LOADING"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/v1/models/imdb"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"model_version_status": [{"version": "1", "state": "%s"}]}' % state[0].encode())

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kind, *command = services["serving"]["healthcheck"]["test"]
    command = [part.replace("8501", str(server.server_port)) for part in command]
    try:
        assert kind == "CMD" and subprocess.run(command).returncode == 1
        state[0] = "AVAILABLE"
        assert subprocess.run(command).returncode == 0
    finally:
        server.shutdown()
        server.server_close()
    assert subprocess.run(command, capture_output=True).returncode == 1  # nobody listens
