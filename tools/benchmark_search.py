"""Search in a judged collection, cross-validated by query: as the weights come, fine-tuned on other queries, and re-ranked.

    python tools/benchmark_search.py --collection=trec:cranfield --output=found.jsonl          runs what found.jsonl has not yet
    python tools/benchmark_search.py --collection=trec:cranfield --output=found.jsonl --table  the means over all queries

Query number i is judged in fold i % folds, by runs that were trained on the queries of all others; nothing is chosen by any
score: epochs are given, and weights are the last. For each fold, by tfft's own commands: configs/my_pairs.py, an index of all
documents, nDCG of its test queries; pairs for configs/my_csv.py (what answers a training query, and --negatives of what the
index finds for it that does not), and the first --candidates re-ranked by that run.
"""

import argparse
import json
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def command(*arguments: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", *arguments], env=env, check=True)


def lines(path: pathlib.Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def make_folds(spec: str, folds: int, folder: pathlib.Path) -> tuple[dict[str, str], dict[str, str], dict]:
    """Writes the collection in BEIR's layout, with qrels/train0.tsv, qrels/test0.tsv, ... of the folds' queries. Returns its
    documents, queries and judgements."""
    sys.path.insert(0, str(ROOT))
    from tfft.data.collections import open_collection

    collection = open_collection(spec)
    documents, judgements = dict(collection.documents()), collection.judgements()
    queries = {query: text for query, text in collection.queries().items() if query in judgements}
    lines(folder / "corpus.jsonl", ({"_id": one, "title": "", "text": text} for one, text in documents.items()))
    lines(folder / "queries.jsonl", ({"_id": one, "text": text} for one, text in queries.items()))
    (folder / "qrels").mkdir(exist_ok=True)
    for fold in range(folds):
        for part in ("train", "test"):
            with open(folder / "qrels" / f"{part}{fold}.tsv", "w", encoding="utf-8") as file:
                file.write("query-id\tcorpus-id\tscore\n")
                file.writelines(f"{query}\t{document}\t{grade}\n" for i, query in enumerate(queries)
                                if (i % folds == fold) == (part == "test") for document, grade in judgements[query].items())
    return documents, queries, judgements


def train(folder: pathlib.Path, fold: int, workdir: pathlib.Path, arguments: argparse.Namespace, learn: bool) -> None:
    """The embedder of a fold; without `learn` the weights stay as they come."""
    length = {"steps": 0, "epochs": arguments.epochs} if learn else {"steps": 1, "peak_learning_rate": 0.0}
    command("tfft.train", f"--config={ROOT / 'configs' / 'my_pairs.py'}:beir:{folder}#train{fold}", f"--workdir={workdir}",
            "--config.data.validation=", f"--config.train.seed={arguments.seed}", "--config.train.checkpoint_minutes=0",
            *(f"--config.train.{name}={value}" for name, value in length.items()), *arguments.embedder)


def search(folder: pathlib.Path, fold: int, index: pathlib.Path, more: list[str]) -> dict:
    """Metrics of the fold's test queries."""
    command("tfft.search", f"--index={index}", f"--judged=beir:{folder}#test{fold}", f"--output={index}.json", *more)
    return json.loads(pathlib.Path(f"{index}.json").read_text())


def make_pairs(fold: int, index: pathlib.Path, parts: tuple, path: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Rows for the re-ranker: what answers a training query as 1; as 0 what the index finds for it that does not, drawn."""
    documents, queries, judgements = parts
    asked = {query: text for i, (query, text) in enumerate(queries.items()) if i % arguments.folds != fold}
    wanted, found = path.with_name("asked.jsonl"), path.with_name("found.jsonl")
    lines(wanted, ({"id": query, "text": text} for query, text in asked.items()))
    command("tfft.search", f"--index={index}", f"--input={wanted}", f"--output={found}", f"--results={arguments.candidates}")
    draw, rows = random.Random(arguments.seed), []
    for query, line in zip(asked, found.read_text().splitlines(), strict=True):
        right = [one for one, grade in judgements[query].items() if grade > 0 and one in documents]
        wrong = [hit["id"] for hit in json.loads(line)["results"] if hit["id"] not in right]
        drawn = draw.sample(wrong, min(len(wrong), arguments.negatives * len(right)))
        rows += [{"id": query, "text": asked[query], "text_pair": documents[one], "label": str(int(one in right))}
                 for one in [*right, *drawn]]
    lines(path, rows)


def run_fold(fold: int, folder: pathlib.Path, parts: tuple, arguments: argparse.Namespace) -> dict:
    """{"queries": ..., "untrained": metrics, "fine-tuned": ...}, and with a re-ranker "untrained, re-ranked", ..."""
    made: dict = {}
    for name, learn in (("untrained", False), ("fine-tuned", True)):
        workdir = folder / f"{name}{fold}"
        if (folder / f"index-{name}{fold}" / "manifest.json").exists():  # of a --folder that was used before
            continue
        train(folder, fold, workdir, arguments, learn)
        command("tfft.index", f"--workdir={workdir}", f"--corpus=beir:{folder}", f"--output={folder / f'index-{name}{fold}'}",
                "--weights=last")
    if not arguments.cross_epochs:
        for name in ("untrained", "fine-tuned"):
            found = search(folder, fold, folder / f"index-{name}{fold}", [])
            made |= {"queries": found["queries"], name: found["metrics"]["retrieved"]}
        return made
    pairs, cross = folder / f"pairs{fold}" / "pairs.jsonl", folder / f"cross{fold}"
    pairs.parent.mkdir(exist_ok=True)
    make_pairs(fold, folder / f"index-fine-tuned{fold}", parts, pairs, arguments)
    command("tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}", f"--config.data.train=jsonl:{pairs}",
            "--config.data.text_pair_column=text_pair", "--config.data.validation=10%", "--config.data.id_column=id",
            f"--workdir={cross}", f"--config.train.seed={arguments.seed}", "--config.train.checkpoint_minutes=0",
            "--config.eval.baseline=false", f"--config.train.epochs={arguments.cross_epochs}", *arguments.cross)
    for name in ("untrained", "fine-tuned"):
        index = folder / f"index-{name}{fold}"
        found = search(folder, fold, index, [f"--rerank={cross}", f"--candidates={arguments.candidates}"])
        made |= {"queries": found["queries"], name: found["metrics"]["retrieved"],
                 f"{name}, re-ranked": found["metrics"]["re-ranked"], f"{name}, fused": found["metrics"]["fused"]}
    return made


def table(found: list[dict]) -> str:
    """The means over all queries."""
    names = [name for name in found[0] if isinstance(found[0][name], dict)]
    total = sum(each["queries"] for each in found)
    made = [f"{len(found)} folds, {total} queries", f"| | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    for metric in found[0][names[0]]:
        means = [sum(each[name][metric] * each["queries"] for each in found) / total for name in names]
        made.append(f"| {metric} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    return "\n".join(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", required=True, help="beir:FOLDER#SPLIT or trec:FOLDER")
    parser.add_argument("--output", required=True, help="JSON lines, a fold each")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15, help="of the embedder")
    parser.add_argument("--cross_epochs", type=int, default=2, help="of the re-ranker; 0: there is none")
    parser.add_argument("--negatives", type=int, default=2, help="of the re-ranker, for each document that answers a query")
    parser.add_argument("--candidates", type=int, default=50, help="documents that are re-ranked")
    parser.add_argument("--embedder", type=shlex.split, default=[], help="more flags of its training")
    parser.add_argument("--cross", type=shlex.split, default=[], help="more flags of the re-ranker's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="for runs and indexes, which a later call then has; default: a temporary one")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    path = pathlib.Path(arguments.output)
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if arguments.table:
        print(table(found))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(arguments.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        parts = make_folds(arguments.collection, arguments.folds, folder)
        for fold in sorted(set(range(arguments.folds)) - {each["fold"] for each in found}):
            began = time.monotonic()
            made = {"fold": fold, **run_fold(fold, folder, parts, arguments),
                    "minutes": (time.monotonic() - began) / 60}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(made) + "\n")
            found.append(made)
            print(table(found), flush=True)


if __name__ == "__main__":
    main()
