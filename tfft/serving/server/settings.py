"""What the server is asked to do: which models, which versions of them, which limits. Imports no TensorFlow."""

import dataclasses
import errno
import re
import socket
from pathlib import Path
from typing import Any

from tfft.errors import UserError

NAME = re.compile(r"[^/:\s]+")  # what fits into /v1/models/NAME:predict


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """One model: <folder>/<integer version>/saved_model.pb.

    The newest `latest` versions are served (0: all of them), or `specific` ones; `labels` are names of versions.
    """
    name: str
    folder: Path
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limits:
    max_request_bytes: int = 16 << 20
    max_concurrency: int = 1000       # requests being answered; more are refused
    request_timeout: float = 60.0     # seconds from a request's arrival to its answer
    read_timeout: float = 30.0        # seconds for a client to send a request
    write_timeout: float = 30.0       # seconds for a client to take an answer
    drain_seconds: float = 30.0       # seconds for running requests after SIGTERM


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are joined; a version's batching_params.pbtxt overrules."""
    enabled: bool = True
    max_batch_size: int = 32
    max_enqueued_batches: int = 100   # beyond this many full batches, requests are refused
    num_batch_threads: int = 1
    by_length: bool = True            # texts of like lengths together; False for graphs that do not compute padding


@dataclasses.dataclass(frozen=True)
class Settings:
    models: tuple[ModelSettings, ...]
    host: str = "127.0.0.1"
    rest_port: int = 8501             # 0: any free port
    grpc_port: int = 8500
    poll_seconds: float = 1.0
    threads: int = 0                  # of one session's operations; 0: one per core
    allow_file_ops: bool = False
    allowed_hosts: tuple[str, ...] = ()
    indexes: dict[str, Any] = dataclasses.field(default_factory=dict)  # model -> tfft.vectors.folder.Index that it searches
    config_file: str = ""
    config_poll_seconds: float = 0.0  # 0: the config file is read once
    limits: Limits = Limits()
    batching: Batching = Batching()


def models_of(flags: list[str], config_file: str) -> tuple[ModelSettings, ...]:
    """The models of --model=[NAME=]FOLDER flags, or of --model_config_file. Raises: UserError."""
    if bool(flags) == bool(config_file):
        raise UserError("Say what to serve: --model=models/imdb (may be given several times, also as NAME=FOLDER), a run by "
                        "--workdir=runs/imdb, or --model_config_file=models.config.")
    models = _of_config_file(Path(config_file)) if config_file else tuple(_of_flag(flag) for flag in flags)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two models are named {name!r}. Give one another name: --model=NAME=FOLDER.")
    for model in models:
        check(model)
    return models


def _of_flag(flag: str) -> ModelSettings:
    name, _, folder = flag.rpartition("=")
    folder = Path(folder)
    return ModelSettings(name or folder.resolve().name, folder)


def _of_config_file(path: Path) -> tuple[ModelSettings, ...]:
    """TF Serving's ModelServerConfig in text form."""
    from google.protobuf import text_format
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    try:
        config = text_format.Parse(path.read_text("utf-8"), ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no ModelServerConfig in text form: {error}") from error
    if config.WhichOneof("config") != "model_config_list" or not config.model_config_list.config:
        raise UserError(f"{path} lists no model. It needs model_config_list {{ config {{ name: ... base_path: ... }} }}.")
    return tuple(_of_config(path, entry) for entry in config.model_config_list.config)


def _of_config(path: Path, entry) -> ModelSettings:
    if not entry.name or not entry.base_path:
        raise UserError(f"{path}: a model needs a name and a base_path; found name {entry.name!r}, "
                        f"base_path {entry.base_path!r}.")
    if entry.model_platform not in ("", "tensorflow"):
        raise UserError(f"{path}: model {entry.name!r} is of platform {entry.model_platform!r}; only 'tensorflow' is served.")
    policy = entry.model_version_policy
    chosen = policy.WhichOneof("policy_choice")
    specific = tuple(sorted(set(policy.specific.versions))) if chosen == "specific" else ()
    if chosen == "specific" and not specific:
        raise UserError(f"{path}: model {entry.name!r} has a specific policy without versions.")
    latest = 0 if chosen == "all" else max(1, policy.latest.num_versions)
    return ModelSettings(entry.name, Path(entry.base_path), latest, specific, dict(entry.version_labels))


def check(model: ModelSettings) -> None:
    """Raises: UserError where a model cannot be served for sure."""
    if not NAME.fullmatch(model.name):
        raise UserError(f"A model's name goes into addresses: no '/', ':' or blank in {model.name!r}.")
    if "://" in str(model.folder) or re.match(r"\w+:/[^/]", str(model.folder)):
        raise UserError(f"{model.folder}: the local server reads local folders only. Copy the model, or use TF Serving.")
    if not model.folder.is_dir():
        raise UserError(f"Model {model.name!r}: there is no folder {model.folder}.")
    if (model.folder / "saved_model.pb").exists():
        raise UserError(f"Model {model.name!r}: {model.folder} is a version's folder. Give the folder around it, "
                        f"{model.folder.resolve().parent}, and name the version by an integer.")
    found = versions(model.folder)
    if not found:
        raise UserError(f"Model {model.name!r}: {model.folder} has no version: no folder named by an integer with a "
                        "saved_model.pb. python -m tfft.export writes one.")
    missing = sorted(set(model.specific) - found.keys())
    if missing:
        raise UserError(f"Model {model.name!r}: {model.folder} has no version {missing[0]}. It has "
                        f"{', '.join(map(str, sorted(found)))}.")
    for label, version in model.labels.items():
        if version not in wanted(model, list(found)):
            raise UserError(f"Model {model.name!r}: label {label!r} is version {version}, which is not served.")


def check_ports(settings: Settings) -> None:
    """Raises: UserError where a port is taken already, before the models are loaded for nothing."""
    for kind, port in (("rest", settings.rest_port), ("grpc", settings.grpc_port)):
        try:
            family, _, _, _, address = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            raise UserError(port_message(settings.host, kind, port, error)) from error
    if settings.rest_port == settings.grpc_port != 0:
        raise UserError(f"--rest_port and --grpc_port are both {settings.rest_port}; they need one each.")


def port_message(host: str, kind: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"--host={host} is no address of this machine: {error.strerror}."
    why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened: {error.strerror}"
    return f"{host}:{port} {why}. Choose another with --{kind}_port=PORT (0: any free one)."


def versions(folder: Path) -> dict[int, Path]:
    """Version -> its folder, of those that hold a saved_model.pb."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return {}
    return {int(p.name): p for p in entries
            if p.name.isascii() and p.name.isdigit() and len(p.name) < 19 and (p / "saved_model.pb").is_file()}


def wanted(model: ModelSettings, found: list[int]) -> list[int]:
    """The versions that the policy wants of those found, newest first."""
    newest_first = sorted(found, reverse=True)
    if model.specific:
        return [version for version in newest_first if version in model.specific]
    return newest_first[:model.latest or None]


def batching_of(folder: Path, default: Batching) -> Batching:
    """`default` with what batching_params.pbtxt in a version's folder says.

    That is TF Serving's BatchingParameters: lines such as 'max_batch_size { value: 32 }'. A batch here never waits and is
    never padded to a size, so that batch_timeout_micros and allowed_batch_sizes have no effect.
    """
    try:
        text = (folder / "batching_params.pbtxt").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return default
    text = re.sub(r"#.*", "", text)
    found = re.findall(r"(\w+)\s*:?\s*\{\s*value\s*:\s*(\d+)\s*\}", text)
    known = {"max_batch_size", "max_enqueued_batches", "num_batch_threads"}
    return dataclasses.replace(default, **{name: max(1, int(value)) for name, value in found if name in known})
