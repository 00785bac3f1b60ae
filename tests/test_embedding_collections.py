"""Training on collections, and searching whole ones in evaluations."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, run

from tfft.config import resolve
from tfft.data.collections import open_collection
from tfft.data.retrieval import METRICS, retrieval_scores
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.run.fine_tune import resolve_assets
from tfft.run.judge import judge
from tfft.run.sequence import judge_sequence
from tfft.tasks.embedding.rows import row_columns, row_fields, texts_of

WORDS = ["good", "bad", "fine", "poor", "film", "a", "the", ",", "."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("beir")
    write_collection(folder)
    return folder


def write_collection(folder: Path) -> None:
    """40 documents; 30 training and 12 test queries, which are words of a document; grades 0 to 3; a judged document is not
    there, and a query has no relevant document that is."""
    draw = random.Random(0)
    texts = list(dict.fromkeys(" ".join(draw.choices(WORDS, k=draw.randrange(4, 9))) for _ in range(60)))[:40]
    documents = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join([*draw.sample(texts[i % 40].split(), 3), WORDS[i % 9]])} for i in range(42)]
    judged = [(f"q{i}", f"d{doc}", grade) for i in range(42)
              for doc, grade in {**{draw.randrange(40): draw.randrange(4) for _ in range(5)}, i % 40: 3}.items()]
    judged += [("q41", "d99", 2)]
    for name, lines in (("corpus", documents), ("queries", [*queries, {"_id": "q77", "text": "bad"}])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "qrels").mkdir(exist_ok=True)
    for split, chosen in (("train", range(30)), ("test", range(30, 42))):
        lines = [f"{q}\t{d}\t{grade}" for q, d, grade in judged if int(q[1:]) in chosen] + ["q77\td98\t1"] * (split == "train")
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))


def experiment(train: str, **data):
    return resolve({"task": {"name": "embedding"}, "data": {"train": train, "max_length": 16, "validation": "", **data}})


def of(folder: Path, **data):
    return experiment(f"beir:{folder}#train", **{"negative_columns": ("negative",), **data})


def source(chosen, spec: str) -> Source:
    return Source(spec, chosen.data, row_fields(chosen, Path()), Path())


def test_rows_are_queries_with_what_answers_them(folder, tmp_path):
    chosen = of(folder, id_column="id")
    read = source(chosen, chosen.data.train)
    rows = list(read.rows())
    found = open_collection(chosen.data.train)
    texts, judged = dict(found.documents()), found.judgements()
    assert [row.id for row in rows] == [f"q{i}" for i in range(30)]
    assert rows[3].file.endswith("queries.jsonl") and rows[3].line == 4
    for row in rows:
        graded = judged[row.id].items()
        assert texts_of(row.values) == [(0, found.queries()[row.id]), *((1, texts[d]) for d, grade in graded if grade > 0),
                                        *((2, texts[d]) for d, grade in graded if grade == 0)]
        assert row.values["grade"] == [grade for _, grade in graded if grade > 0]
    assert row_columns(rows)["grade"].lengths.tolist() == row_columns(rows)["positives"].tolist()
    told = "\n".join(read.told())
    assert "train.tsv: 1 document (d98) is judged but not among the documents" in told
    assert "queries without a relevant document that has a text, left out: 1 (q77)" in told
    assert [row.id for row in source(chosen, f"{chosen.data.train}[:10%]").rows()] == ["q0", "q1", "q2"]
    documents = source(chosen, f"documents:beir:{folder}").rows(asked_only=True)
    assert [(row.id, row.values["text"]) for row in documents] == list(texts.items())


def test_rows_have_the_columns_that_other_files_have(folder):
    """A run that learnt from files with columns of other names is evaluated on a collection."""
    plain = of(folder)
    other = of(folder, text_column="query", text_pair_column="pos", negative_columns=("neg", "more"), id_column="_id")
    rows, others = (list(source(chosen, chosen.data.train).rows()) for chosen in (plain, other))
    assert [texts_of(row.values) for row in rows] == [texts_of(row.values) for row in others]
    assert others[0].id == "q0" and others[0].record.keys() == {"_id", "query", "pos", "neg", "more"}


def test_a_changed_judgement_makes_other_rows(folder):
    chosen = of(folder)
    before, file = source(chosen, chosen.data.train).fingerprint(), folder / "qrels" / "train.tsv"
    text = file.read_text()
    file.write_text(text + "\nq1\td2\t1")
    assert source(chosen, chosen.data.train).fingerprint() != before
    file.write_text(text)
    assert source(chosen, chosen.data.train).fingerprint() == before != source(chosen, f"beir:{folder}#test").fingerprint()


@pytest.mark.parametrize("value, texts, grades", [
    ([{"text": "a", "grade": 2}, {"text": " "}, "b"], ["a", "b"], [2, 1]), ({"text": "a"}, ["a"], [1]),
    ('[{"text": "a", "grade": 0.5}]', ["a"], [0.5])])
def test_texts_with_grades(tmp_path, value, texts, grades):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "q", "text_pair": value}))
    chosen = experiment(f"{tmp_path}/a.jsonl")
    row, = source(chosen, chosen.data.train).rows()
    assert row.values["text_pair"] == texts and row.values["grade"] == grades


@pytest.mark.parametrize("data, message", [
    ({"corpus": "csv:a.csv"}, "config.data.corpus=csv:a.csv is no collection"),
    ({"corpus": "beir:a", "score_column": "s", "negative_columns": ()}, "which scored rows do not have")])
def test_a_corpus_that_does_not_fit(folder, data, message):
    with pytest.raises(UserError, match=message):
        of(folder, **data)


def test_a_missing_corpus_is_told_before_anything_is_loaded(folder):
    with pytest.raises(UserError, match="beir:nowhere: No such file or folder"):
        resolve_assets(of(folder, corpus="beir:nowhere"))


def test_a_grade_of_nothing_is_no_text_that_belongs(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "q", "text_pair": {"text": "a", "grade": 0}}')
    chosen = experiment(f"{tmp_path}/a.jsonl")
    with pytest.raises(UserError, match=r"a.jsonl:1: .* column 'text_pair' holds the grade 0"):
        list(source(chosen, chosen.data.train).rows())


def test_the_whole_corpus_is_searched(folder, tiny_preset, tmp_path):
    """As by the ids of all documents, each embedded by itself."""
    import tensorflow as tf

    from tfft.config import Model
    from tfft.data.prepare import Preparer, load_splits
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.embedding.task import EmbeddingTask

    chosen = of(folder, validation=f"beir:{folder}#test", corpus=f"beir:{folder}")
    tokenizer = load_tokenizer(tiny_preset)
    reading = EmbeddingTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), tmp_path)
    preparer = Preparer(chosen.data, reading, tmp_path, lambda text: None)
    splits = load_splits(preparer)
    train = splits["train"]
    task = EmbeddingTask(chosen.task, EmbeddingTask.infer(chosen, train.store, train.rows, tmp_path))
    model = task.build_model(load_backbone(tiny_preset, precision="float32", dropout=0.0), Model(head_dropout=0.0), seed=0)

    def evaluated(split) -> dict:
        evaluator = Evaluator(model, task, split.store, split.rows, pad_id=0, batch_size=8, max_length=16,
                              strategy=tf.distribute.get_strategy())
        made = evaluator.evaluate()
        assert evaluator.report.judged == 12
        return {name: value for name, value in made.items() if name != "loss"}

    asked = tf.function(lambda texts: reading.encoder.asked(texts))

    def vectors(texts: dict[str, str]) -> np.ndarray:
        made, _ = asked(tf.constant(list(texts.values())))
        tokens = made["tokens"].to_tensor()
        there = tf.sequence_mask(made["length"], tokens.shape[1], tf.int32)
        return model({"token_ids": tokens, "segment_ids": tf.zeros_like(tokens), "padding_mask": there}).numpy()

    collection = open_collection(chosen.data.validation)
    documents, queries = dict(collection.documents()), collection.queries()
    similar = vectors(queries) @ vectors(documents).T
    ranked = {query: [list(documents)[i] for i in np.argsort(-similar[row])] for row, query in enumerate(queries)}
    judgements = {query: {doc: grade for doc, grade in graded.items() if doc in documents}
                  for query, graded in collection.judgements().items()}
    judged = preparer.judged_with(splits["validation"])
    assert len(judged.rows) == 12 + 40
    whole = evaluated(judged)
    assert whole == pytest.approx(retrieval_scores(ranked, judgements), abs=1e-5)
    assert evaluated(splits["validation"])["mrr_at_10"] > whole["mrr_at_10"]  # among fewer texts


def test_train_and_evaluate(folder, tiny_preset, tmp_path):
    """With a share of the training queries as validation; then on other queries."""
    _, said = run(["train", f"--config={ROOT}/configs/my_pairs.py:beir:{folder}#train", f"--workdir={tmp_path}/run",
                   f"--config.data.corpus=beir:{folder}", f"--config.model.backbone={tiny_preset}",
                   "--config.data.max_length=16", "--config.data.validation=30%", "--config.train.global_batch_size=8",
                   "--config.train.epochs=1"], str(tmp_path / "cache"))
    assert "left out: 1 (q77)" in said and "documents:beir:" in said
    run(["evaluate", f"--workdir={tmp_path}/run", f"--data=beir:{folder}#test"], str(tmp_path / "cache"))
    report, = (json.loads(file.read_text()) for file in (tmp_path / "run").glob("evaluation-*.json"))
    assert report["rows"] == 12 and report["metrics"].keys() == {*METRICS, "loss"}
    assert report["metrics"]["recall_at_100"] == 1 and report["metrics"]["precision_at_10"] > 0
    one, two = str(tmp_path / "run"), str(tmp_path / "sequence.json")  # of a sequence of runs too the whole corpus is searched
    judge(one, data="", split="validation", weights="", output=str(tmp_path / "one.json"))
    judge_sequence([one, one], split="validation", weights="", output=two)
    found = json.loads((tmp_path / "one.json").read_text())["metrics"], json.loads(Path(two).read_text())
    assert found[1]["scores"] == [[found[0][found[1]["metric"]]] * 2] * 2
