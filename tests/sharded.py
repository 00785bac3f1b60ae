"""Rows for every task, and a comparison of two caches' stores: for the tests of preparation in shards."""

import filecmp
import json
from pathlib import Path

import choices
import numpy as np
from conftest import write_reviews
from test_embedding_collections import write_collection
from test_question_answering_run import write_squad
from test_token_commands import sentences

from tfft.config import resolve
from tfft.data.store import TokenStore

TASKS = ("text_classification", "token_classification", "question_answering", "embedding", "multiple_choice", "masked_lm")


def data_of(task: str, folder: Path) -> dict:
    """Writes rows, and names them as config.data does."""
    if task == "text_classification":
        write_reviews(folder / "0.csv", 40)
        (folder / "1.csv").write_text("text,label\n,pos\n\"good,\nfilm\",fine\nbad film,\n", "utf-8")
        write_reviews(folder / "2.csv", 25, seed=1)
        write_reviews(folder / "validation.csv", 31, seed=2)
        return {"train": f"csv:{folder}/[0-2].csv", "validation": f"csv:{folder}/validation.csv", "on_broken_row": "skip"}
    if task == "token_classification":
        blocks = ("".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True)) for words, tags, _ in sentences(40))
        (folder / "conll.txt").write_text("\n".join(blocks), "utf-8")
        return {"train": f"conll:{folder}/conll.txt", "words_column": "0", "tags_column": "1", "window_overlap": 4,
                "validation": "20%"}
    if task == "question_answering":
        write_squad(folder / "squad.json", 30)
        return {"train": f"squad:{folder}/squad.json", "max_length": 24, "window_overlap": 8, "validation": ""}
    if task == "embedding":
        write_collection(folder)
        return {"train": f"beir:{folder}#train", "validation": f"beir:{folder}#test", "negative_columns": ("negative",)}
    if task == "multiple_choice":
        return {"train": f"jsonl:{choices.write(folder / 'choices.jsonl', choices.rows(30))}"}
    for number in range(3):
        (folder / f"{number}.txt").write_text("\n\n".join(f"good film {i} , a bad" * (i % 5 + 1) for i in range(9)), "utf-8")
    return {"train": f"text:{folder}/*.txt", "validation": ""}


def experiment_of(task: str, folder: Path, preset: str, cache: Path):
    folder.mkdir(exist_ok=True)
    return resolve({"task": {"name": task}, "model": {"backbone": preset},
                    "data": {"max_length": 16, "cache": str(cache), **data_of(task, folder)}})


def stores(cache: Path) -> dict[str, TokenStore]:
    return {path.name: TokenStore(path) for path in sorted((cache / "stores").iterdir())}


def assert_same(one: TokenStore, other: TokenStore) -> None:
    """Both stores give the same, column by column and bit by bit."""
    assert len(one) == len(other) and one.fields == other.fields and one.meta["columns"].keys() == other.meta["columns"].keys()
    for name in one.meta["columns"]:
        a, b = np.asarray(one.column(name)), np.asarray(other.column(name))
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    for key in ("names", "files", "fields"):
        assert json.dumps(one.meta[key]) == json.dumps(other.meta[key]), key
    told = [path.read_text() if path.exists() else "" for path in (one.folder / "told.txt", other.folder / "told.txt")]
    assert told[0] == told[1]


def assert_same_files(one: Path, other: Path) -> None:
    """Two folders hold the same files, byte by byte."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) for folder in (one, other)]
    assert names[0] == names[1] and len(names[0]) > 10
    assert filecmp.cmpfiles(one, other, names[0], shallow=False)[1:] == ([], [])
