"""What a source's spec says: "csv:data/*.csv.gz[:90%]" -> kind, files, part."""

import fractions
import glob
import os
import pathlib
import re

from tfft import assets
from tfft.data import content
from tfft.errors import UserError, unknown
from tfft.files import find, is_remote

COLLECTIONS = ("beir", "trec", "documents")
SCHEMES = ("csv", "tsv", "jsonl", "json", "parquet", "conll", "props", "parallel", "squad", "text", "files", "tfds", "pypi",
           *COLLECTIONS)
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
            ".conll": "conll", ".conllu": "conll", ".iob": "conll", ".iob2": "conll", ".bio": "conll"}
KINDS = (*dict.fromkeys(SUFFIXES.values()), "props", "parallel", "squad", "text", "files")
SLICE = re.compile(r"\[(\d+|\d+(?:\.\d+)?%)?:(\d+|\d+(?:\.\d+)?%)?\]$")
PYPI_BODY = re.compile(r"(pypi:[^#]*(?:#sha256=[^#]*)?)(?:#(.*))?")
JSON_MEMBER = re.compile(r"\.json(?:\.(?:gz|bz2|xz|zst|zip))?#")


def split_slice(spec: str) -> tuple[str, tuple[str, str]]:
    """Cuts a trailing slice off: "csv:a.csv[:90%]" -> ("csv:a.csv", ("", "90%"))."""
    match = SLICE.search(spec)
    if not match:
        return spec, ("", "")
    start, stop = match[1] or "", match[2] or ""
    shares = [float(end[:-1]) for end in (start, stop) if end.endswith("%")]
    if max(shares, default=0) > 100:
        raise UserError(f"{spec}: a slice cannot go beyond 100%.")
    alike = start and stop and start.endswith("%") == stop.endswith("%")
    if alike and float(start.strip("%")) >= float(stop.strip("%")):
        raise UserError(f"{spec}: the slice ends before it begins, so it holds no row.")
    return spec[:match.start()], (start, stop)


def position(end: str, count: int) -> int:
    """The row at which a slice's end falls; exact, so that [:90%] and [90%:] share no row and lose none."""
    return int(fractions.Fraction(end[:-1]) * count / 100) if end.endswith("%") else int(end)


def parse(body: str, spec: str) -> tuple[str, str, str]:
    """(kind, path or name, json member or tfds split) of a spec without its slice."""
    match = re.match(r"([A-Za-z][\w+.-]*):", body)
    scheme = match[1] if match and not is_remote(body) else ""
    if scheme and scheme not in SCHEMES and not os.path.exists(os.path.expanduser(body)):
        raise UserError(f"{spec!r}: {unknown('kind of source', scheme, SCHEMES)} Write e.g. csv:train.csv.")
    if scheme in COLLECTIONS:
        return scheme, body.removeprefix("documents:"), ""
    if scheme == "tfds":
        name, _, split = body.removeprefix("tfds:").partition("#")
        if not name or not split:
            raise UserError(f"{spec!r} names no {'split' if name else 'dataset'}. Write e.g. tfds:imdb_reviews#train.")
        return "tfds", name, split
    path = body[len(scheme) + 1:] if scheme in KINDS else body
    key = ""
    if path.startswith("pypi:"):
        path, key = PYPI_BODY.fullmatch(path).groups(default="")
    elif not os.path.exists(os.path.expanduser(path)) and (scheme == "json" or JSON_MEMBER.search(path)):
        path, _, key = path.partition("#")
    if not path:
        raise UserError(f"{spec!r} names no file. Write e.g. csv:train.csv.")
    kind = scheme if scheme in KINDS else SUFFIXES.get(_suffix(path.split("#")[0] if path.startswith("pypi:") else path), "")
    if not kind:
        content.refuse_by_name(os.path.expanduser(path))
        raise UserError(f"{spec!r} does not say what kind of file it is. Known suffixes: {', '.join(SUFFIXES)}, and those of "
                        f"packed files after them ({', '.join(content.PACKED_SUFFIXES)}). For another one write the kind "
                        f"before it, e.g. csv:{path}.")
    if key and kind != "json":
        raise UserError(f"{spec!r}: only a json file has members to pick with #{key}.")
    return kind, path, key


def matching(pattern: str, spec: str) -> list[str]:
    """The files a path or glob pattern names, sorted."""
    if is_remote(pattern):
        if found := find(pattern):
            return found
        raise UserError(f"{spec}: there is no file {pattern}, or no right to see it.")
    full = os.path.expanduser(pattern)
    if os.path.isdir(full):
        raise UserError(f"{spec}: {full} is a folder. Name its files, e.g. {pattern.rstrip('/')}/*.")
    found = [full] if os.path.exists(full) else sorted(f for f in glob.glob(full, recursive=True) if os.path.isfile(f))
    if not found:
        raise UserError(f"{spec}: {assets.missing_path(pattern)}")
    return found


def _suffix(path: str) -> str:
    """What a file's name says of its kind: that of a.jsonl.gz is .jsonl."""
    suffixes = [suffix.lower() for suffix in pathlib.PurePath(path).suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in content.PACKED_SUFFIXES), "")
