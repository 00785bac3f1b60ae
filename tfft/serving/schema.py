"""signatures.json: what each signature takes and answers over REST, as JSON schemas."""

import json
from pathlib import Path

from tfft.serving.saved_model import METHODS, ServedModel
from tfft.serving.server.version import PAGE
from tfft.tasks.base import Task

TYPES = {"string": {"type": "string"}, "int32": {"type": "integer"}, "int64": {"type": "integer"},
         "float32": {"type": "number"}, "float64": {"type": "number"}}
TEXT = {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
                                       "required": ["b64"], "additionalProperties": False}]}


def write_schema(folder: Path, served: ServedModel) -> None:
    """Writes signatures.json."""
    defaults = served.defaults
    made = {name: {"method": name if name in METHODS else "predict",
                   "inputs": _tensors(function.structured_input_signature[1]),
                   "outputs": _tensors(function.structured_outputs),
                   **(_examples(served.fields, name) if name in METHODS else _rows(name, function, defaults.get(name, {})))}
            for name, function in served.signatures.items()}
    (folder / "signatures.json").write_text(json.dumps({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "signatures": made}, indent=1) + "\n", encoding="utf-8")


def write_page(folder: Path, task: Task, fields: tuple[str, ...]) -> None:
    """page.json: what the page of `tfft serve` asks for, and how it shows the answer."""
    path = folder / PAGE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"fields": list(fields), "shows": task.page}) + "\n", encoding="utf-8")


def _tensors(specs) -> dict:
    return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in sorted(specs.items())}


def _rows(name: str, function, defaults: dict) -> dict:
    """Request and answer of :predict in the row format. defaults: of inputs that may be left out."""
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    usual = {key: {"default": value[0].item()} for key, value in defaults.items()}
    row = _object({key: {**_of(spec, len(spec.shape) - 1, TEXT), **usual.get(key, {})} for key, spec in inputs.items()})
    row["required"] = [key for key in inputs if key not in defaults]
    if len(inputs) == 1:  # a row may be the bare value then
        row = {"oneOf": [row, *row["properties"].values()]}
    answer = {key: _of(spec, len(spec.shape) - 1) for key, spec in outputs.items()}
    answered = _object(answer) if len(answer) > 1 else next(iter(answer.values()))  # TensorFlow Serving drops a lone name
    signature = {"const": name} if name != "serving_default" else {"const": name, "default": name}
    request = _object({"instances": {"type": "array", "minItems": 1, "items": row}, "signature_name": signature})
    request["required"] = ["instances"] if name == "serving_default" else ["instances", "signature_name"]
    return {"request": request, "answer": _object({"predictions": {"type": "array", "items": answered}})}


def _examples(features: tuple[str, ...], name: str) -> dict:
    """Request and answer of :classify and :regress."""
    example = _object({feature: TEXT for feature in features})
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "minItems": 2, "maxItems": 2}
    result = {"type": "array", "items": {"type": "array", "items": pair} if name == "classify" else {"type": "number"}}
    request = _object({"signature_name": {"const": name}, "context": {"type": "object"},
                       "examples": {"type": "array", "minItems": 1, "items": example}})
    request["required"] = ["examples", "signature_name"]
    return {"request": request, "answer": _object({"results": result})}


def _of(spec, axes: int, string=TYPES["string"]) -> dict:
    made = string if spec.dtype.name == "string" else TYPES[spec.dtype.name]
    for _ in range(axes):
        made = {"type": "array", "items": made}
    return made


def _object(properties: dict) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
