"""One loaded version of a model: its own graph and session, as TF Serving holds it."""

import contextlib
import ctypes
import dataclasses
import gc
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the tokenizers' ops

from tfft.serving.server import file_ops
from tfft.serving.server.refusal import BY_NUMBER, Code, Refusal, invalid
from tfft.serving.server.shared import share

PREDICT, CLASSIFY, REGRESS = (tf.saved_model.PREDICT_METHOD_NAME, tf.saved_model.CLASSIFY_METHOD_NAME,
                              tf.saved_model.REGRESS_METHOD_NAME)
PAGE, CHAT = "assets.extra/page.json", "assets.extra/chat.json"
OWN = ("__saved_model_init_op", "__saved_model_train_op")  # signatures that are TensorFlow's, not the user's


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a signature. shape is None where even the rank is unknown; a dimension may be None."""
    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None

    @classmethod
    def of(cls, info) -> "Tensor":
        shape = None if info.tensor_shape.unknown_rank else tuple(None if d.size < 0 else d.size
                                                                  for d in info.tensor_shape.dim)
        return cls(info.name, tf.as_dtype(info.dtype), shape)

    @property
    def by_row(self) -> bool:
        """Whether the first dimension is a batch of any size."""
        return bool(self.shape) and self.shape[0] is None

    def misfit(self, array: np.ndarray) -> str:
        """What is wrong with an array for this input; '' if it fits."""
        if self.shape is not None and (len(array.shape) != len(self.shape) or any(
                wanted is not None and wanted != got for wanted, got in zip(self.shape, array.shape))):
            shown = ",".join("?" if d is None else str(d) for d in self.shape)
            return f"shape [{','.join(map(str, array.shape))}] does not fit [{shown}]"
        return ""


class Signature:
    """Inputs and outputs by name, and a call that runs them. `batched` is whether rows of several requests may be joined,
    `divisible` whether one's may be computed apart. defaults: what stands for inputs that a request leaves out."""

    def __init__(self, name: str, definition, session):
        self.name, self.definition, self.method = name, definition, definition.method_name
        self.inputs = {key: Tensor.of(info) for key, info in sorted(definition.inputs.items())}
        self.outputs = {key: Tensor.of(info) for key, info in sorted(definition.outputs.items())}
        self.defaults = {key: tf.make_ndarray(proto) for key, proto in definition.defaults.items() if key in self.inputs}
        self.divisible = True
        self.batched = bool(self.inputs) and all(t.by_row for t in (*self.inputs.values(), *self.outputs.values()))
        self._call = session.make_callable([t.name for t in self.outputs.values()], [t.name for t in self.inputs.values()])

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name. Raises: Refusal with TensorFlow's own code and message."""
        try:
            return dict(zip(self.outputs, self._call(*(arrays[name] for name in self.inputs))))
        except tf.errors.OpError as error:
            raise Refusal(BY_NUMBER.get(error.error_code, Code.UNKNOWN), plain(error.message)) from error
        except (ValueError, TypeError) as error:  # numpy's or the feed's
            raise invalid(f"signature {self.name!r}: {error}") from error
        except MemoryError as error:
            raise Refusal(Code.RESOURCE_EXHAUSTED, "not enough memory for this request") from error


def plain(message: str | None) -> str:
    """The first lines of a TensorFlow message, without its appendix of graph locations."""
    text = (message or "no message").split("\n\nOriginal stack trace")[0].split("\n\nErrors may have originated")[0]
    return text.strip()[:1000]


class Version:
    """A SavedModel of tag "serve" in a session of its own; closing it gives the memory back."""

    def __init__(self, name: str, number: int, folder: Path, threads: int = 0, allow_file_ops: bool = False):
        """Raises: Refusal where the folder holds no whole SavedModel, or one that is not allowed."""
        self.name, self.number, self.folder = name, number, folder
        self.requests = 0  # being answered; counted by the event loop
        self.given_up = False  # the server is leaving: what warms it up ends
        self.page = _page(folder)
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, allow_soft_placement=True)
        self._graph = tf.Graph()
        try:
            meta_graph = _meta_graph(folder, allow_file_ops)
            self._session = tf.compat.v1.Session(graph=self._graph, config=config)
            try:
                with self._graph.as_default():
                    tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(folder))
                    self.shared = share(self._session, self._graph, meta_graph.graph_def)  # bytes
                    self.signatures = {key: Signature(key, definition, self._session)
                                       for key, definition in sorted(meta_graph.signature_def.items())
                                       if key not in OWN and _dense(definition)}
            except BaseException:
                self._session.close()
                raise
        except Refusal:
            raise
        except tf.errors.OpError as error:
            raise Refusal(BY_NUMBER.get(error.error_code, Code.UNKNOWN), plain(error.message)) from error
        except Exception as error:  # whatever a broken file makes TensorFlow's Python raise
            raise Refusal(Code.DATA_LOSS, f"{type(error).__name__}: {plain(str(error))}") from error

    def signature(self, name: str) -> Signature:
        """The named signature; '' is the default one. Raises: Refusal."""
        found = self.signatures.get(name or "serving_default")
        if found is None:
            raise invalid(f'Serving signature name: "{name or "serving_default"}" not found in signature def; '
                          f"there are: {', '.join(self.signatures)}")
        return found

    @contextlib.contextmanager
    def in_use(self):
        """Counts a request; the version is not closed before it has ended."""
        self.requests += 1
        try:
            yield self
        finally:
            self.requests -= 1

    def close(self) -> None:
        """Ends the session and gives the memory back. No request may be running."""
        self._session.close()
        self.signatures = {}
        del self._session, self._graph
        give_back()


def give_back() -> None:
    """Gives free memory back to the machine, which glibc keeps for itself."""
    gc.collect()  # a graph is full of cycles, and too large to wait for Python's own time
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _page(folder: Path) -> dict:
    """What an export says of its page, with "chat" where it is a language model's; {} where it says nothing."""
    made, chat = _object(folder / PAGE), _object(folder / CHAT)
    return {**made, "chat": {name: chat.get(name) for name in ("texts", "max_new_tokens", "usual")}} if chat else made


def _object(path: Path) -> dict:
    """A JSON object in a file; {} where there is none."""
    try:
        made = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return made if isinstance(made, dict) else {}


def _dense(definition) -> bool:
    """Whether all tensors are plain ones: a sparse or ragged one has parts instead of a name, and cannot be asked for."""
    return all(info.name for info in (*definition.inputs.values(), *definition.outputs.values()))


def _meta_graph(folder: Path, allow_file_ops: bool):
    """The MetaGraphDef of tag "serve". Raises: Refusal."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise Refusal(Code.DATA_LOSS, f"{folder / 'saved_model.pb'} is no whole SavedModel: {error}") from error
    except OSError as error:
        raise Refusal(Code.NOT_FOUND, f"{folder / 'saved_model.pb'}: {error.strerror}") from error
    for meta_graph in saved.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            break
    else:
        raise Refusal(Code.NOT_FOUND, f"{folder} holds no graph with the tag 'serve'")
    refused = [] if allow_file_ops else file_ops.refused_ops(meta_graph)
    if refused:
        raise Refusal(Code.PERMISSION_DENIED, f"{folder} may read or write files, or worse: {', '.join(refused[:5])}. If you "
                      "trust where it comes from, start the server with --allow_file_ops")
    return meta_graph
