"""Python's own docstrings as a data set of summaries: what a function is documented to do -> its summary line.

    python tools/make_summaries.py --output=docstrings.jsonl
    python -m tfft.train --config=configs/summaries.py:docstrings.jsonl --workdir=runs/summaries

Reads the standard library of the Python that runs it: a row for each docstring with a summary line and a paragraph after it,
"source" (all but the line), "target" (the line) and "module", by which the split keeps files together. Files that cannot be
parsed are left out, as are rows that are there already.
"""

import argparse
import ast
import inspect
import json
import pathlib
import sysconfig

SHORTEST, LONGEST = 80, 4000  # characters of a source
WORDS = 3                     # of a target at least


def docstrings(path: pathlib.Path):
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)) and (
                text := ast.get_docstring(node, clean=False)):
            yield inspect.cleandoc(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--library", type=pathlib.Path, default=pathlib.Path(sysconfig.get_path("stdlib")))
    arguments = parser.parse_args()
    rows, seen = [], set()
    for path in sorted(arguments.library.rglob("*.py")):
        module = path.relative_to(arguments.library).as_posix()
        if "site-packages" in module or "/test" in f"/{module}" or "idlelib" in module:
            continue
        for text in docstrings(path):
            line, _, rest = text.partition("\n\n")
            rest = rest.strip()
            if "\n" in line or len(line.split()) < WORDS or not SHORTEST <= len(rest) <= LONGEST or rest in seen:
                continue
            seen.add(rest)
            rows.append({"module": module, "source": rest, "target": line.strip()})
    arguments.output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    print(f"{len(rows):,} rows of {len({row['module'] for row in rows}):,} files -> {arguments.output}")


if __name__ == "__main__":
    main()
