"""TF Serving's JSON: rows ("instances") and columns ("inputs") to arrays, arrays to "predictions" and "outputs"."""

import base64
import binascii
import json
import math

import numpy as np
import tensorflow as tf

from tfft.serving.server.refusal import Code, Refusal, invalid, utf8
from tfft.serving.server.version import Signature, Tensor

MAX_RANK = 16
INTEGERS = {tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64}


def parse(body: bytes) -> dict:
    """The JSON object of a request's body; NaN and Infinity are numbers. Raises: Refusal."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8"))
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except (ValueError, UnicodeError) as error:  # JSONDecodeError is one; so is a number of too many digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid("JSON Value is not an object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid("JSON Value not formatted correctly. 'signature_name' key must be a string value.")
    return document


def inputs(document: dict, signature: Signature) -> dict[str, np.ndarray]:
    """Arrays by input name. Raises: Refusal."""
    if ("instances" in document) == ("inputs" in document):
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
                      if "inputs" in document else "Missing 'inputs' or 'instances' key")
    specs = signature.inputs
    if "inputs" in document:
        return _columns(document["inputs"], specs, signature.defaults)
    rows = document["instances"]
    if not isinstance(rows, list) or not rows:
        raise invalid("Expecting 'instances' to be a list with at least one value")
    return _rows(rows, specs, signature.defaults)


def _rows(rows: list, specs: dict[str, Tensor], defaults: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A row may leave out what has a default."""
    if not _is_object(rows[0]):
        if len(specs) != 1:
            raise invalid("instances is a plain list, but expecting list of objects as multiple input tensors required: "
                          f"{', '.join(specs)}")
        for i, row in enumerate(rows):
            if _is_object(row):
                raise invalid(f"Expecting value/list but got object at item {i} of input list")
        name, spec = next(iter(specs.items()))
        return {name: array(rows, name, spec)}
    for i, row in enumerate(rows):
        if not _is_object(row):
            raise invalid(f"Expecting object but got {_kind(row)} at item {i} of input list")
        if row.keys() - specs or specs.keys() - row.keys() - defaults.keys():
            raise invalid(f"Failed to process element: {i} of 'instances' list. JSON object: keys must be equal to: "
                          f"{','.join(specs)}; got {','.join(map(str, list(row)[:20]))[:200]}")
    return {name: array([row[name] if name in row else defaults[name][0].tolist() for row in rows], name, spec)
            for name, spec in specs.items() if name not in defaults or any(name in row for row in rows)}


def _columns(value, specs: dict[str, Tensor], defaults: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(specs) != 1:
            raise invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required: "
                          f"{', '.join(specs)}")
        name, spec = next(iter(specs.items()))
        return {name: array(value, name, spec)}
    missing = [name for name in specs if name not in value and name not in defaults]
    if missing:
        raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: array(value[name], name, spec) for name, spec in specs.items() if name in value}


def array(value, name: str, spec: Tensor) -> np.ndarray:
    """A nested list of one shape as an array of the input's type. Raises: Refusal."""
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list):
        size = len(flat[0])
        if len(shape) == MAX_RANK:
            raise invalid(f"input {name!r}: lists nested more than {MAX_RANK} deep")
        for part in flat:
            if not isinstance(part, list) or len(part) != size:
                got = f"a list of {len(part)}" if isinstance(part, list) else _kind(part)
                raise invalid(f"input {name!r}: Expecting lists of {size} at level {len(shape)}, got {got}")
        shape.append(size)
        flat = [item for part in flat for item in part]
    return _flat(flat, name, spec.dtype).reshape(shape)


def _flat(values: list, name: str, dtype: tf.DType) -> np.ndarray:
    if dtype == tf.string:
        made = np.empty(len(values), object)
        for i, value in enumerate(values):
            made[i] = _bytes(value, name)
        return made
    if dtype == tf.bool:
        allowed = (bool,)
    elif dtype in INTEGERS:
        allowed = (int,)
    elif dtype in (tf.float32, tf.float64):
        allowed = (int, float)
    else:
        raise Refusal(Code.INVALID_ARGUMENT, f"input {name!r}: type {dtype.name} cannot be given as JSON")
    for value in values:
        if type(value) not in allowed:
            raise invalid(f"input {name!r}: JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: "
                          f"{dtype.name}")
    try:
        with np.errstate(over="ignore"):  # told below
            made = np.array(values, dtype.as_numpy_dtype)
    except (OverflowError, ValueError) as error:
        raise invalid(f"input {name!r}: a number does not fit {dtype.name}") from error
    if dtype == tf.float32 and any(np.isinf(made[i]) and not math.isinf(values[i]) for i in np.flatnonzero(np.isinf(made))):
        raise invalid(f"input {name!r}: Cannot convert a JSON value to float without loss of precision.")
    return made


def _bytes(value, name: str) -> bytes:
    if isinstance(value, str):
        return utf8(value, f"input {name!r}: ")
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        return decoded(value["b64"])
    raise invalid(f"input {name!r}: JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: string")


def decoded(text: str) -> bytes:
    """Base64, padded or not, in either alphabet. Raises: Refusal."""
    try:
        text = text.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def predictions(outputs: dict[str, np.ndarray], by_row: bool) -> bytes:
    """The answer's body: {"predictions": [...]} by row, {"outputs": ...} by column. A lone output goes without its name."""
    values = {name: _values(name, made) for name, made in outputs.items()}
    if not by_row:
        return dumps({"outputs": next(iter(values.values())) if len(values) == 1 else values})
    counts = {made.shape[0] if made.ndim else None for made in outputs.values()}
    if len(counts) != 1 or None in counts:
        raise invalid("the outputs differ in their first dimension: ask with \"inputs\" (columns) instead of \"instances\"")
    if len(values) == 1:
        return dumps({"predictions": next(iter(values.values()))})
    return dumps({"predictions": [dict(zip(values, row)) for row in zip(*values.values())]})


def classifications(classes: np.ndarray | None, scores: np.ndarray | None) -> bytes:
    """{"results": [[[label, score], ...], ...]}."""
    labels = _values("classes", classes) if classes is not None else None
    numbers = _values("scores", scores) if scores is not None else None
    labels = labels if labels is not None else [[""] * len(row) for row in numbers]
    numbers = numbers if numbers is not None else [[0.0] * len(row) for row in labels]
    return dumps({"results": [[list(pair) for pair in zip(*row)] for row in zip(labels, numbers)]})


def regressions(values: np.ndarray) -> bytes:
    return dumps({"results": _values("outputs", values)})


def dumps(document) -> bytes:
    """JSON with NaN, Infinity and -Infinity as they are, as TF Serving writes them."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def _values(name: str, made: np.ndarray):
    """Nested lists. float32 has its own shortest digits; strings named *_bytes are base64, others text."""
    if made.dtype == object:
        if name.endswith("_bytes"):
            flat = [{"b64": base64.b64encode(value).decode("ascii")} for value in made.ravel()]
        else:
            flat = [value.decode("utf-8", "replace") for value in made.ravel()]
    elif made.dtype in (np.float32, np.float16) or made.dtype.name == "bfloat16":
        flat = [float(str(value)) for value in made.ravel().astype(np.float32)]
    else:
        flat = made.ravel().tolist()
    return _nested(flat, made.shape)


def _nested(flat: list, shape: tuple[int, ...]):
    if not shape:
        return flat[0]
    for size in reversed(shape[1:]):
        flat = [flat[i:i + size] for i in range(0, len(flat), size)] if size else [[] for _ in range(shape[0])]
    return flat


def _is_object(value) -> bool:
    """A dict that names tensors, which {"b64": "..."} does not."""
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


def _kind(value) -> str:
    kinds = {type(None): "Null", bool: "Bool", dict: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")


def _shown(value) -> str:
    text = repr(value) if not isinstance(value, (list, dict)) else _kind(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
