"""Lists and objects that a program has written into one field of a table: by JSON, by Python, or as numpy prints an array."""

import ast
import io
import json
import re
import tokenize
from typing import Any

NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:e[+-][0-9]+)?|True|False"
PRINTED = re.compile(rf"\[\s*(?:{NUMBER})(?:\s+(?:{NUMBER}))+\s*\]")  # [3 0 7], [1. 0. 1.], [ True False]
CLOSE = re.compile(r"""['"]\s*[bBrRuU]{0,2}['"]""")  # where strings may stand side by side
ARRAYS = ("array", "np.array", "numpy.array", "tensor", "torch.tensor")
STARTS = ("[", "(", "{", "set(", *(f"{name}(" for name in ARRAYS))


def literal(text: str) -> Any:
    """The value that a text in brackets spells out. Raises: ValueError.

    '["a", 1]', "('a', 1)" -> a list; "['a' 'b']", "array(['a', 'b'], dtype=object)" -> ["a", "b"]; "set()" -> set();
    "{'a': array([1])}" -> {"a": [1]}
    """
    text = text.strip()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if PRINTED.fullmatch(text):
        return [ast.literal_eval(number) for number in text[1:-1].split()]
    try:
        strings = _side_by_side(text) if CLOSE.search(text) else None
        return strings if strings is not None else _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError, TypeError, tokenize.TokenError) as error:
        raise ValueError(f"no list or object: {text!r:.60}") from error


def looks_literal(text: str) -> bool:
    """Whether a text is in brackets as such a value is, and worth reading."""
    text = text.strip()
    return text.startswith(STARTS) and text.endswith(("]", ")", "}"))


def _side_by_side(text: str) -> list[str] | None:
    """The strings of ['a' 'b'], which Python would join to one; None where no two stand side by side. Raises: ValueError where
    others are parted by commas: one is missing."""
    skipped = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    found = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in skipped]
    kinds = [token.type for token in found]
    if not any(pair == (tokenize.STRING, tokenize.STRING) for pair in zip(kinds, kinds[1:])):
        return None
    if found[0].string != "[" or found[-1].string != "]" or any(kind != tokenize.STRING for kind in kinds[1:-1]):
        raise ValueError(f"strings side by side: {text!r:.60}")
    return [ast.literal_eval(token.string) for token in found[1:-1]]


def _value(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(one) for one in node.elts]
    if isinstance(node, ast.Set):
        return {_value(one) for one in node.elts}
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name) and node.id == "nan":
        return None
    if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in (*ARRAYS, "set"):
        if name != "set" and node.args:
            return _value(node.args[0])
        if name == "set" and not node.args:
            return set()
    return ast.literal_eval(node)
