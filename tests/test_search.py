"""From a run on disk to results: an index is whole or absent, goes on where it was, and belongs to its weights."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from commands import run, start, wait_for
from tiny_search import make_cross, make_embedder, write_corpus

from tfft.assets import cache_folder
from tfft.data.collections import open_collection
from tfft.errors import UserError
from tfft.run.workdir import Workdir, open_run
from tfft.serving.prediction import Predictor, answer_file, print_answers
from tfft.serving.search import build
from tfft.serving.search.build import build_index
from tfft.serving.search.checks import check_embeds, check_mines, check_reranks, workdir_of
from tfft.serving.search.corpus import Corpus
from tfft.serving.search.find import Reranker, Searcher, _positive, open_index
from tfft.serving.search.judged import judge_search
from tfft.serving.search.mining import Mining, mine
from tfft.vectors.exact import unit
from tfft.vectors.folder import Index, read_manifest


def make(workdir, corpus, output, **changed) -> int:
    data, text = Workdir(workdir).experiment().data, changed.pop("text_column", "text")
    read = Corpus(str(corpus), data, cache_folder(data.cache), id_column="", text_column=text, reading={}, say=print)
    return build_index(str(workdir), read, str(output), **{
        "weights": "", "dimensions": 0, "approximate_from": 10**6, "recall": 0.95, "batch_size": 16, **changed})


@pytest.fixture(scope="module")
def made(tiny_preset, tmp_path_factory):
    """(folder with run/, c.jsonl and exact/, the corpus's texts)"""
    folder = tmp_path_factory.mktemp("search")
    make_embedder(tiny_preset, folder / "run")
    texts = write_corpus(folder / "c.jsonl", 300)
    make(folder / "run", folder / "c.jsonl", folder / "exact")
    return folder, texts


@pytest.fixture(scope="module")
def searcher(made):
    index, embedder, _ = open_index(made[0] / "exact")
    return Searcher(index, embedder, 5)


def test_an_index_has_the_vectors_of_passages(made, searcher):
    folder, texts = made
    index, manifest = searcher.index, read_manifest(folder / "exact")
    assert [index.id(i) for i in range(300)] == [f"d{i}" for i in range(300)] and index.text(17) == texts[17]
    wanted = Predictor(open_run(folder / "run"))([{"text_pair": text} for text in texts])["embedding"]
    np.testing.assert_allclose(index.vectors, unit(wanted), atol=1e-5)
    assert manifest["documents"] == 300 and manifest["dimensions"] == 8 and manifest["step"] == 7
    assert (manifest["query_prompt"], manifest["passage_prompt"]) == ("a ", "the ") and manifest["approximate"] is None
    assert not list(folder.glob(".exact*")) and {path.name for path in (folder / "exact").iterdir()} == {
        "manifest.json", "vectors.npy", "documents"}


def test_results_are_those_of_a_plain_search(searcher, capsys):
    queries = ["good film", "the bad , poor"]
    vectors = searcher.embedder.queries(queries)
    assert np.abs(vectors - searcher.embedder.passages(queries)).max() > 1e-3  # other prompts
    wanted = np.argsort(-(vectors @ searcher.index.vectors.T), axis=1, kind="stable")[:, :5]
    assert [[hit.place for hit in hits] for hits in searcher(queries)] == wanted.tolist()
    assert searcher.answers([]) == []
    print_answers(searcher, [{"text": query} for query in [*queries, " "]])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first = lines[0]["results"][0]
    assert first["id"] == f"d{wanted[0, 0]}" and first["text"] == searcher.index.text(wanted[0, 0])
    assert first.keys() == {"id", "score", "text"} and lines[2]["results"] is None


def test_dimensions_and_an_approximate_index(made, tmp_path, capsys):
    folder, texts = made
    make(folder / "run", folder / "c.jsonl", tmp_path / "x", dimensions=4, approximate_from=100)
    told, found = capsys.readouterr().out, read_manifest(tmp_path / "x")["approximate"]
    assert found["recall_at_10"] >= 0.95 and found["queries"] == 200 and found["kind"] == "IVF6,SQ8"
    assert f"recall@10 of the approximate index against exact search {found['recall_at_10']:.3f}" in told
    whole, cut = Index(folder / "exact"), Index(tmp_path / "x")
    np.testing.assert_allclose(cut.vectors, unit(whole.vectors[:, :4]), atol=1e-5)
    assert cut.search(cut.vectors[:3], 1)[0][:, 0].tolist() == [0, 1, 2]


def test_killed_it_goes_on_where_it_was(made, tmp_path, capsys, monkeypatch):
    """A process is killed in the middle; the next one embeds the rest only, and the index is that of an uninterrupted one."""
    folder, _ = made
    texts = write_corpus(tmp_path / "c.jsonl", 20_000)
    making = tmp_path / ".x.making" / "done.json"
    process = start(["index", f"--workdir={folder}/run", f"--corpus={tmp_path}/c.jsonl", f"--output={tmp_path}/x",
                     "--batch_size=8"], str(tmp_path / "cache"))
    wait_for(making.exists, process)
    process.kill()
    process.communicate()
    chunks = int(making.read_text())
    assert 0 < chunks < 5 and not (tmp_path / "x").exists()
    embedded, original = [], build.Embedder.passages
    monkeypatch.setattr(build.Embedder, "passages", lambda self, chunk: embedded.append(len(chunk)) or original(self, chunk))
    make(folder / "run", tmp_path / "c.jsonl", tmp_path / "x", batch_size=512)
    assert len(embedded) == 5 - chunks and "documents are embedded already" in capsys.readouterr().err
    index = Index(tmp_path / "x")
    places = np.random.default_rng(0).permutation(20_000)[:500].tolist()
    wanted = original(open_index(tmp_path / "x")[1], [texts[place] for place in places])
    np.testing.assert_allclose(index.vectors[places], wanted, atol=1e-5)


def test_what_was_there_stays_until_the_new_one_is_whole(made, tmp_path, capsys):
    folder, _ = made
    shutil.copytree(folder / "exact", tmp_path / "x")
    before = (tmp_path / "x" / "manifest.json").read_text()
    (tmp_path / "twice.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n{"id": 1, "text": "c"}\n')
    with pytest.raises(UserError, match="The id '1' is that of two documents, number 1 and 3. Name the column"):
        make(folder / "run", tmp_path / "twice.jsonl", tmp_path / "x")
    assert (tmp_path / "x" / "manifest.json").read_text() == before
    (tmp_path / "new.csv").write_text("body\ngood film\n\nbad\n")
    make(folder / "run", tmp_path / "new.csv", tmp_path / "x", text_column="body")
    index = Index(tmp_path / "x")
    assert [(index.id(i), index.text(i)) for i in range(len(index))] == [("1", "good film"), ("2", "bad")]
    assert "begun with other rows, weights or settings" in capsys.readouterr().err and not list(tmp_path.glob(".x*"))


@pytest.mark.parametrize("text, column, wanted", [
    ('{"id": 1, "txt": "a"}\n', "text", "--text_column: Unknown column 'text'. Did you mean 'txt'?"),
    ('{"id": 1, "text": " "}\n', "text", "The corpus has no documents"),
])
def test_corpora_that_cannot_be_read(made, tmp_path, text, column, wanted):
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(UserError, match=wanted):
        make(made[0] / "run", tmp_path / "c.jsonl", tmp_path / "x", text_column=column)
    (tmp_path / "y").write_text("a letter")
    with pytest.raises(UserError, match="is there already and no index"):
        make(made[0] / "run", made[0] / "c.jsonl", tmp_path / "y")


def test_an_index_of_other_weights_is_refused(made, tiny_preset, tmp_path):
    folder, _ = made
    shutil.copytree(folder / "exact", tmp_path / "exact")
    make_embedder(tiny_preset, tmp_path / "run", seed=2)
    with pytest.raises(UserError, match=r"was made with other weights than .* Make it anew: tfft index --workdir="):
        open_index(tmp_path / "exact")
    assert len(open_index(tmp_path / "exact", str(folder / "run"))[0]) == 300
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match="cannot be used: .* is not the workdir of a run.* name it: --workdir="):
        workdir_of(read_manifest(tmp_path / "exact"), tmp_path / "exact")


def test_runs_that_do_not_fit_are_refused(made, tiny_preset, tmp_path):
    folder, _ = made
    experiment = open_run(folder / "run").experiment
    check_embeds(experiment, "run", 4)
    check_mines(experiment, "run")
    scored = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, score_column="score"))
    with pytest.raises(UserError, match="run was trained on scored rows: negatives are mined for pairs"):
        check_mines(scored, "run")
    with pytest.raises(UserError, match="--dimensions=3: this run was not trained for .* so many values, but for 4"):
        check_embeds(experiment, "run", 3)
    with pytest.raises(UserError, match="was trained for embedding: re-ranking takes a run of text_classification on pairs"):
        check_reranks(str(folder / "run"))


@pytest.mark.parametrize("problem, answer", [("single_label", "pos"), ("regression", "")])
def test_reranking_orders_the_candidates_by_what_a_run_of_pairs_says(made, searcher, tiny_preset, tmp_path, problem, answer):
    make_cross(tiny_preset, tmp_path / "cross", problem)
    check_reranks(str(tmp_path / "cross"))
    cross = open_run(tmp_path / "cross")
    reranker = Reranker(cross)
    predictor, both = reranker.predictor, Searcher(searcher.index, searcher.embedder, 5, reranker, 20)
    queries = ["good film"]
    before = searcher.found(queries, 20)
    for query, hits, found in zip(queries, both(queries), before, strict=True):
        rows = [{"text": query, "text_pair": searcher.index.text(hit.place)} for hit in found]
        said = [each[answer] if answer else made["predicted_value"] for made, each in predictor.answers(rows)]
        order = np.argsort(-np.array(said), kind="stable")[:5].tolist()
        assert [hit.place for hit in hits] == [found[i].place for i in order] != [hit.place for hit in found[:5]]
        assert [hit.score for hit in hits] == pytest.approx([said[i] for i in order], abs=1e-5)
        assert [hit.similarity for hit in hits] == [found[i].similarity for i in order]
    fused = Searcher(searcher.index, searcher.embedder, 20, reranker, 20, fuse=True)(queries)[0]
    places = {hit.place: i + 1 for i, hit in enumerate(before[0])}
    new = {before[0][i].place: place + 1 for place, i in enumerate(np.argsort(-np.array(said), kind="stable"))}
    sums = [1 / (60 + places[hit.place]) + 1 / (60 + new[hit.place]) for hit in fused]
    assert [hit.score for hit in fused] == pytest.approx(sums)
    assert [hit.score for hit in fused] == sorted((hit.score for hit in fused), reverse=True) and len(fused) == 20


def test_a_file_of_queries_keeps_its_rows(made, searcher, tmp_path):
    (tmp_path / "in.csv").write_text("n,text\n1,good film\n2,\n")
    answer_file(open_run(made[0] / "run"), searcher, str(tmp_path / "in.csv"), tmp_path / "out.csv", False, "empty", {})
    with open(tmp_path / "out.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["n"] for line in lines] == ["1", "2"] and lines[1]["results"] == ""
    assert [one["id"] for one in json.loads(lines[0]["results"])] == [
        searcher.index.id(hit.place) for hit in searcher(["good film"])[0]]


@pytest.mark.parametrize("labels, chosen, wanted", [
    (["0", "1"], "", "1"), (["No", "Yes"], "", "Yes"), (["a", "b"], "b", "b"), ([], "", ""),
    (["a", "b"], "", "answers a, b: say which label .*: --positive_label=b"), (["a", "b"], "c", "there is no label 'c'"),
    ([], "c", "answers numbers: there is no label 'c'")])
def test_the_label_that_means_yes(labels, chosen, wanted):
    if wanted in (*labels, ""):
        assert _positive(labels, chosen, "runs/cross") == wanted
        return
    with pytest.raises(UserError, match=wanted):
        _positive(labels, chosen, "runs/cross")


@pytest.fixture(scope="module")
def collection(made, searcher, tmp_path_factory):
    """A BEIR folder with the corpus, and three queries, of which each second result is right and a document is not there."""
    folder, texts = tmp_path_factory.mktemp("beir"), made[1]
    (folder / "qrels").mkdir()
    queries = ["good film", "the bad , poor", "a fine"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{i}", "title": "", "text": text}) + "\n"
                                                 for i, text in enumerate(texts)))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": query}) + "\n"
                                                  for i, query in enumerate(queries)))
    lines = [f"q{i}\td{hits[1].place}\t1\n" for i, hits in enumerate(searcher.found(queries, 2))]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines) + "q0\tgone\t1\n")
    return folder


def test_search_is_judged_before_and_after_reranking(made, searcher, collection, tmp_path, capsys):
    def closer(pairs):  # a reranker that puts the second result first
        return [-abs(i % 20 - 1) for i in range(len(pairs))]

    both = Searcher(searcher.index, searcher.embedder, 5, lambda pairs: np.array(closer(pairs)), 20)
    judge_search(both, open_collection(f"beir:{collection}#test"), tmp_path / "report.json")
    said, report = capsys.readouterr(), json.loads((tmp_path / "report.json").read_text())["metrics"]
    assert report["retrieved"]["mrr_at_10"] == 0.5 and report["re-ranked"]["mrr_at_10"] == 1
    assert report["retrieved"]["recall_at_10"] == pytest.approx((0.5 + 1 + 1) / 3) and report["retrieved"]["recall_at_1"] == 0
    assert report["fused"]["mrr_at_10"] == 1  # (1, 2) and (2, 1) have the same sum: then as re-ranked
    assert "3 queries, 300 documents, the first 20 re-ranked" in said.out and "re-ranked" in said.out.split("mrr_at_10")[0]
    judged = {line.split("\t")[1] for line in (collection / "qrels" / "test.tsv").read_text().splitlines()[1:]}
    assert f"1 of {len(judged)} judged documents are not in the index, e.g. 'gone'" in said.err
    make(made[0] / "run", f"beir:{collection}", tmp_path / "x")
    assert Index(tmp_path / "x").id(3) == "d3"
    (collection / "qrels" / "other.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tnone\t1\n")
    with pytest.raises(UserError, match="has none of the 1 documents that .* judges, such as 'none'"):
        judge_search(searcher, open_collection(f"beir:{collection}#other"), None)


def mined(made, searcher, path, capsys, **changed) -> list[dict]:
    run = open_run(made[0] / "run")
    mine(run, searcher.index, searcher.embedder, str(path), path.with_name("mined.jsonl"), Mining(**changed), {})
    return [json.loads(line) for line in path.with_name("mined.jsonl").read_text().splitlines()]


def test_mined_negatives_are_near_but_no_positives(made, searcher, tmp_path, capsys):
    """Two rows of one query: what belongs to it in either is no negative, nor is the query, nor what is the same text."""
    query, (first, second, *_) = "good film", [searcher.index.text(hit.place) for hit in searcher(["good film"])[0]]
    rows = [{"text": query, "text_pair": first}, {"text": query, "text_pair": [second, "a"]},
            {"text": "bad", "text_pair": "bad"}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = mined(made, searcher, tmp_path / "pairs.jsonl", capsys, share=0.0, duplicate=2.0, negatives=3)
    assert [(line["text"], line["text_pair"]) for line in lines] == [(row["text"], row["text_pair"]) for row in rows]
    for line in lines[:2]:
        assert not {first, second, "a", query} & set(line["negative"]) and len(set(line["negative"])) == 3
    assert lines[0]["negative"] == lines[1]["negative"] and "bad" not in lines[2]["negative"]
    said = capsys.readouterr()
    assert "results belong to the query, and are no negatives" in said.err and "3 rows in" in said.out
    assert "--config.data.negative_columns=" in said.out


def test_what_is_too_near_is_left_out(made, searcher, tmp_path, capsys):
    """Each setting leaves out just what it says; the middle of what was found is where it is set."""
    (tmp_path / "pairs.jsonl").write_text('{"text": "good film", "text_pair": "film good"}\n')
    hits = searcher.found(["good film"], 100)[0]
    texts, scores = [searcher.index.text(hit.place) for hit in hits], np.array([hit.score for hit in hits])
    query, positive = searcher.embedder.queries(["good film"])[0], searcher.embedder.passages(["film good"])[0]
    alike, own = searcher.index.vectors[[hit.place for hit in hits]] @ positive, float(query @ positive)
    middle, near = float(scores[50]) - 1e-4, float(np.median(alike)) + 1e-6

    def negatives(**changed) -> list[str]:
        line, = mined(made, searcher, tmp_path / "pairs.jsonl", capsys, **{"share": 0.0, "duplicate": 2.0, "negatives": 200,
                                                                          **changed})
        return line["negative"]

    def wanted(kept: np.ndarray) -> list[str]:
        return [text for text in dict.fromkeys(text for text, there in zip(texts, kept, strict=True) if there)
                if text not in ("good film", "film good")]

    every, rank = negatives(), np.arange(1, 101)
    assert every == wanted(rank > 0) and len(every) > 50
    assert negatives(share=1 + (middle - own) / abs(own)) == wanted(scores <= middle)
    assert negatives(duplicate=near) == wanted(alike < near)
    assert negatives(first=11, last=40, negatives=5) == wanted((rank > 10) & (rank <= 40))[:5]
    drawn = negatives(random=True, seed=3, negatives=5)
    assert drawn == negatives(random=True, seed=3, negatives=5) != negatives(random=True, seed=4, negatives=5)
    assert set(drawn) < set(every)


@pytest.mark.slow
def test_the_command_line(made, tiny_preset, tmp_path):
    folder, _ = made
    cache = str(tmp_path / "cache")
    make_cross(tiny_preset, tmp_path / "cross")
    out, _ = run(["search", f"--index={folder}/exact", "--query=good film", f"--rerank={tmp_path}/cross", "--results=2",
                  "--fuse"], cache)
    assert [one.keys() for one in json.loads(out)["results"]] == [{"id", "score", "similarity", "text"}] * 2
    assert "--fuse joins two orders" in run(["search", f"--index={tmp_path}", "--query=a", "--fuse"], cache, code=2)[1]
    assert "is no index" in run(["search", f"--index={tmp_path}", "--query=a"], cache, code=2)[1]
    assert "Name the run, the documents and the index" in run(["index"], cache, code=2)[1]
