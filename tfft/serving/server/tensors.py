"""Between protos and arrays, trusting nothing that a client sends."""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from tfft.serving.server.refusal import invalid
from tfft.serving.server.version import Signature

# where TensorProto keeps the values of each type whose values are not packed bits
VALUES = {
    tf.float32: lambda proto: proto.float_val, tf.float64: lambda proto: proto.double_val,
    tf.int8: lambda proto: proto.int_val, tf.int16: lambda proto: proto.int_val, tf.int32: lambda proto: proto.int_val,
    tf.uint8: lambda proto: proto.int_val, tf.uint16: lambda proto: proto.int_val,
    tf.int64: lambda proto: proto.int64_val, tf.uint32: lambda proto: proto.uint32_val,
    tf.uint64: lambda proto: proto.uint64_val, tf.bool: lambda proto: proto.bool_val,
    tf.string: lambda proto: proto.string_val,
}


def arrays(inputs, max_bytes: int) -> dict[str, np.ndarray]:
    """Arrays of a map of TensorProtos. Raises: Refusal."""
    return {name: array(name, proto, max_bytes) for name, proto in inputs.items()}


def array(name: str, proto, max_bytes: int) -> np.ndarray:
    """The array of a TensorProto; strings are an object array of bytes. As TensorFlow, a last value is repeated.

    Raises: Refusal where the proto contradicts itself, or would unfold to more than max_bytes.
    """
    try:
        dtype = tf.as_dtype(proto.dtype)
    except TypeError as error:
        raise invalid(f"input {name!r}: {error}") from error
    sizes = [d.size for d in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise invalid(f"input {name!r}: the shape {sizes} is not known in full")
    count = math.prod(sizes)
    width = 8 if dtype == tf.string else dtype.size
    if not width or math.prod(max(1, size) for size in sizes) * width > max_bytes:
        raise invalid(f"input {name!r}: {dtype.name}{sizes} is larger than the server takes")
    if dtype == tf.string:
        if proto.tensor_content:
            raise invalid(f"input {name!r}: strings come in string_val, not in tensor_content")
        values = proto.string_val
    elif proto.tensor_content:
        if len(proto.tensor_content) != count * width:
            raise invalid(f"input {name!r}: tensor_content has {len(proto.tensor_content)} bytes, {dtype.name}{sizes} "
                          f"has {count * width}")
        return np.frombuffer(proto.tensor_content, dtype.as_numpy_dtype).reshape(sizes)
    elif dtype in VALUES:
        values = VALUES[dtype](proto)
    elif dtype in (tf.float16, tf.bfloat16):
        values = np.array(proto.half_val, np.int64)
        if len(values) and not 0 <= values.min() <= values.max() < 1 << 16:
            raise invalid(f"input {name!r}: half_val beyond 16 bits")
        values = values.astype(np.uint16).view(dtype.as_numpy_dtype)
    else:
        raise invalid(f"input {name!r}: tensors of type {dtype.name} are not taken")
    if len(values) > count or (len(values) == 0) != (count == 0):
        raise invalid(f"input {name!r}: {len(values)} values for the shape {sizes}")
    try:
        flat = np.array(list(values), dtype.as_numpy_dtype if dtype != tf.string else object)
    except (OverflowError, ValueError) as error:
        raise invalid(f"input {name!r}: {error}") from error
    if len(flat) < count:
        flat = np.concatenate([flat, np.repeat(flat[-1:], count - len(flat))])
    return flat.reshape(sizes)


def checked(signature: Signature, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`given`, with the defaults of what is left out, if its names, types and shapes are the signature's. Raises: Refusal."""
    left_out, extra = signature.inputs.keys() - given, sorted(given.keys() - signature.inputs)
    missing = sorted(left_out - signature.defaults.keys())
    if missing or extra:
        raise invalid(f"input size does not match signature {signature.name!r}: "
                      f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}.")
    if left_out:
        rows = max((len(value) for value in given.values() if value.ndim), default=1)
        given = {**given, **{name: _default(signature, name, rows) for name in left_out}}
    for name, spec in signature.inputs.items():
        value = given[name]
        dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
        if dtype != spec.dtype:
            raise invalid(f"input {name!r}: expects {spec.dtype.name} but {dtype.name} is provided")
        misfit = spec.misfit(value)
        if misfit:
            raise invalid(f"input {name!r}: {misfit}")
    if signature.batched:
        rows = {name: len(given[name]) for name in signature.inputs}
        if len(set(rows.values())) > 1:
            raise invalid(f"the inputs differ in their number of rows: {rows}")
        if not next(iter(rows.values())):
            raise invalid("the request has no rows")
    return given


def _default(signature: Signature, name: str, rows: int) -> np.ndarray:
    """Of an input that is left out; where it is one of each row, for all of them."""
    value = signature.defaults[name]
    return np.repeat(value, rows, axis=0) if signature.inputs[name].by_row and len(value) == 1 else value


def proto(array: np.ndarray) -> TensorProto:
    """A TensorProto whose values are in the typed fields, as TF Serving answers."""
    if array.dtype == object or array.dtype.kind in "SU":
        dtype = tf.string
    else:
        dtype = tf.as_dtype(array.dtype)
    made = TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        made.tensor_shape.dim.add().size = size
    if dtype in (tf.float16, tf.bfloat16):
        made.half_val.extend(array.ravel().view(np.uint16).tolist())
    elif dtype in VALUES:
        VALUES[dtype](made).extend(array.ravel().tolist())
    else:
        return tf.make_tensor_proto(array)
    return made


def examples(given) -> np.ndarray:
    """Serialized tf.Examples, string[B], of TF Serving's Input proto; a context is merged into each. Raises: Refusal."""
    kind = given.WhichOneof("kind")
    if kind == "example_list":
        made = [example.SerializeToString() for example in given.example_list.examples]
    elif kind == "example_list_with_context":
        context = given.example_list_with_context.context
        made = []
        for example in given.example_list_with_context.examples:
            merged = tf.train.Example()
            merged.CopyFrom(context)
            for name, feature in example.features.feature.items():
                merged.features.feature[name].CopyFrom(feature)
            made.append(merged.SerializeToString())
    else:
        made = []
    if not made:
        raise invalid("Input is empty.")
    return np.array(made, object)
