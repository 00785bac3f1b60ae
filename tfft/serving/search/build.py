"""A corpus to an index. Killed at any point it goes on where it was; what was there before stays until the new one is whole."""

import fcntl
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tfft import __version__
from tfft.data.splits import split_hash
from tfft.data.store import TokenStore, Writer
from tfft.errors import UserError
from tfft.files import is_remote, local_path, write_text
from tfft.run.workdir import PACKAGES, Run, open_run, versions
from tfft.serving.prediction import tell_unknown
from tfft.serving.search.corpus import Corpus
from tfft.serving.search.embedder import Embedder
from tfft.training.summaries import Console
from tfft.vectors import approximate
from tfft.vectors.folder import DOCUMENTS, FAISS, MANIFEST, VECTORS, write_manifest

CHUNK = 4096        # documents whose vectors are written together
ASKED, WORDS = 200, 10  # documents whose first words are asked, for recall


class Building:
    """The folder that an index is made in, beside its place; one process at a time.

    made_from: all that decides what is in it. What another index left there is removed.
    """

    def __init__(self, target: Path, made_from: dict, say: Callable[[str], None]):
        self.target, self.folder = target, target.with_name(f".{target.name}.making")
        if target.exists() and not (target.is_dir() and ((target / MANIFEST).exists() or not any(target.iterdir()))):
            raise UserError(f"--output={target} is there already and no index. Choose another place.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / ".lock", "a")  # noqa: SIM115 - held, and released, by the process
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"Another process is making {target}. Wait for it, or choose another --output.") from error
        before = self._read("made_from.json")
        if before != made_from:
            if before is not None:
                say(f"{self.folder} was begun with other rows, weights or settings: it is begun anew")
            for path in self.folder.iterdir():
                if path.name != ".lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_text(self.folder / "made_from.json", json.dumps(made_from))

    def _read(self, name: str):
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def done(self) -> int:
        """Chunks whose vectors are written."""
        return self._read("done.json") or 0

    def set_done(self, chunks: int) -> None:
        write_text(self.folder / "done.json", str(chunks))

    def documents(self, rows: Callable[[], Iterable[tuple[str, str]]], console: Console) -> TokenStore:
        """The corpus's ids and texts, written once. Raises: UserError for an id that stands twice, or no documents."""
        folder, temporary = self.folder / DOCUMENTS, self.folder / "documents.making"
        if not folder.exists():
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _write_documents(temporary, rows(), console)
            temporary.rename(folder)
        return TokenStore(folder)

    def publish(self) -> None:
        """Puts the finished index in its place."""
        old = self.target.with_name(f".{self.target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.target.exists():
            self.target.rename(old)
        self.folder.rename(self.target)
        shutil.rmtree(old, ignore_errors=True)
        for name in ("made_from.json", "done.json", ".lock"):
            (self.target / name).unlink()


def _write_documents(folder: Path, rows: Iterable[tuple[str, str]], console: Console) -> None:
    writer, count, chunk = Writer(folder), 0, []

    def write() -> None:
        ids, texts = zip(*chunk, strict=True)
        writer.append_strings("id", list(ids))
        writer.append_strings("text", list(texts))
        writer.append("id_hash", np.array([split_hash(one, 0) for one in ids], np.uint64))
        console.now_and_then(f"{count:,} documents read")
        chunk.clear()

    try:
        for count, document in enumerate(rows, 1):  # noqa: B007 - told by write()
            chunk.append(document)
            if len(chunk) == CHUNK:
                write()
        if chunk:
            write()
        if not count:
            raise UserError("The corpus has no documents.")
        writer.finish({"rows": count, "fields": ["text"]})
    finally:
        writer.close()
    store = TokenStore(folder)
    order = np.argsort(store.column("id_hash"), kind="stable")
    hashes = store.column("id_hash")[order]
    twice = np.flatnonzero(hashes[1:] == hashes[:-1])
    if len(twice):
        first, second = sorted(order[twice[0]:twice[0] + 2].tolist())
        more = f", and {len(twice) - 1:,} more stand twice" if len(twice) > 1 else ""
        raise UserError(f"The id {store.string('id', first)!r} is that of two documents, number {first + 1:,} and "
                        f"{second + 1:,}{more}. Name the column of ids with --id_column, or mend the corpus.")


def embed(documents: TokenStore, embedder: Embedder, building: Building, console: Console) -> np.ndarray:
    """Writes vectors.npy: float32[n,D]. Chunks are of documents of like length, in a seeded order, so that little is padded and
    the time left is told well."""
    path, count = building.folder / VECTORS, len(documents)
    done = building.done()
    if done and path.exists():
        vectors = np.lib.format.open_memmap(path, mode="r+")
    else:
        done, vectors = 0, np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, embedder.dimensions))
        with open(path, "r+b") as file:  # a full disk is told now: what is mapped could not tell it
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    order = np.argsort(np.diff(documents.column("text_offsets")), kind="stable")
    chunks = np.array_split(order, -(-count // CHUNK))
    turns = np.random.default_rng(0).permutation(len(chunks))
    written = sum(len(chunks[turn]) for turn in turns[:done])
    if done:
        console.say(f"{written:,} of {count:,} documents are embedded already")
    begin, before = time.monotonic(), written
    console.start("embedding", count, written)
    for number, turn in enumerate(turns[done:].tolist(), done + 1):
        places = np.sort(chunks[turn])
        vectors[places] = embedder.passages([documents.string("text", place) for place in places.tolist()])
        vectors.flush()
        building.set_done(number)
        written += len(places)
        console.advance(written, f"{(written - before) / max(1e-9, time.monotonic() - begin):,.0f} documents/s")
    console.stop()
    return vectors


def first_words(documents: TokenStore) -> list[str]:
    """The first words of some documents: what is asked where no queries are known."""
    places = np.random.default_rng(1).permutation(len(documents))[:ASKED]
    return [" ".join(documents.string("text", place).split()[:WORDS]) for place in np.sort(places).tolist()]


def build_index(workdir: str, corpus: Corpus, output: str, *, weights: str, dimensions: int, approximate_from: int,
                recall: float, batch_size: int) -> int:
    """Writes the index of a corpus, whole or not at all. Raises: UserError."""
    target, console = local_path(output, "--output"), Console()
    run = open_run(workdir, weights)
    embedder = Embedder(run, dimensions, batch_size)
    task = run.experiment.task
    made_from = {"weights": run.fingerprint(), "corpus": corpus.fingerprint(), "text_column": corpus.text_column,
                 "id_column": corpus.id_column, "dimensions": embedder.dimensions, "tfft": __version__}
    building = Building(target, made_from, console.say)
    documents = building.documents(corpus.documents, console)
    for line in corpus.told():
        console.say(line)
    vectors = embed(documents, embedder, building, console)
    tell_unknown(embedder, corpus.spec, console)
    flags = {"workdir": workdir, "corpus": corpus.spec, "output": output, "text_column": corpus.text_column,
             "id_column": corpus.id_column, "dimensions": dimensions or "", **corpus.reading}
    found = None
    if len(documents) >= approximate_from:
        found = _approximate(building.folder / FAISS, vectors, embedder, documents, recall, console)
    write_manifest(building.folder, {
        "tfft": __version__, "run": _place_of(run, target), "which": run.which, "step": run.step, **made_from,
        "query_prompt": task.query_prompt, "passage_prompt": task.passage_prompt, "documents": len(documents),
        "source": corpus.spec, "similarity": "cosine", "approximate": found, "packages": versions(PACKAGES),
        "command": shlex.join(["tfft", "index", *(f"--{name}={value}" for name, value in flags.items() if value)])})
    building.publish()
    print(f"{len(documents):,} documents in {target}, vectors of {embedder.dimensions} values; "
          + (_told(found) if found else "search is exact"))
    print(f"next:\n  tfft search --index={shlex.quote(str(target))} --query='...'")
    return 0


def _approximate(path: Path, vectors: np.ndarray, embedder: Embedder, documents: TokenStore, recall: float,
                 console: Console) -> dict | None:
    """Makes the approximate index, and measures it; None where FAISS is not there."""
    try:
        approximate.library()
    except UserError:
        console.say("FAISS is not installed, so that every search is exact: pip install faiss-cpu")
        return None
    console.say("making the approximate index")
    made = approximate.build(vectors, path)
    queries = embedder.queries(first_words(documents))
    index = approximate.Approximate(path, vectors, 1)
    reached = index.tune(queries, recall)
    made |= {"probes": index.probes, "recall_at_10": reached, "queries": len(queries),
             "asked": f"the first {WORDS} words of {len(queries)} documents"}
    if reached < recall:
        console.say(f"the approximate index reaches a recall of {reached:.3f}, less than --recall={recall}; --exact "
                    "searches exactly")
    return made


def _told(found: dict) -> str:
    return (f"recall@10 of the approximate index against exact search {found['recall_at_10']:.3f}, looking into "
            f"{found['probes']} of {found['lists']} lists, on {found['asked']}")


def _place_of(run: Run, target: Path) -> str:
    """The run as seen from the index, so that both can be moved together; an object store by its name."""
    path = run.workdir.path
    return str(path) if is_remote(path) else os.path.relpath(path, target)
