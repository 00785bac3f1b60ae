"""Question answering in one process: settings, reading, windows with their answers, loss, judging, responses."""

import json
import math
import random
import re

import families
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Model, default_config, resolve
from tfft.data.prepare import Preparer, load_splits
from tfft.errors import UserError
from tfft.evaluation.evaluator import Evaluator
from tfft.evaluation.slices import by_length
from tfft.models.backbone import load_backbone
from tfft.tasks.base import Context
from tfft.tasks.question_answering import serving
from tfft.tasks.question_answering.learnt import Answers
from tfft.tasks.question_answering.scoring import score
from tfft.tasks.question_answering.task import QuestionAnsweringTask
from tfft.tpu import lower

LENGTH = 24
WORDS = ["good", "bad", "fine", "poor", "film", "a", "the", "strange"]


def experiment(tmp_path, rows=(), task=None, **data):
    """An experiment whose training rows are these."""
    config = default_config("question_answering")
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    with config.unlocked():
        for name, value in {"train": str(path), "max_length": LENGTH, "validation": "", **data}.items():
            config.data[name] = value
        for name, value in (task or {}).items():
            config.task[name] = value
    return resolve(config)


def store_of(made, tokenizer, cache, said=None):
    said = [] if said is None else said
    reading = QuestionAnsweringTask.reading(made, tokenizer, type(tokenizer).__name__, cache)
    return Preparer(made.data, reading, cache, said.append).store(made.data.train)


def row(context: str, *answers, question: str = "good film ?") -> dict:
    """answers: texts, each where it first stands, or (text, start)."""
    placed = [(one, context.find(one)) if isinstance(one, str) else one for one in answers]
    return {"question": question, "context": context, "answers": [{"text": t, "answer_start": s} for t, s in placed]}


def drawn(count: int, seed: int = 0) -> list[dict]:
    """Rows of contexts of 1 to 60 words and signs; the answers of a third have no place, or there are none."""
    draw = random.Random(seed)
    made = []
    for i in range(count):
        words = [draw.choice(WORDS) + draw.choice(["", "", ",", "'s"]) for _ in range(draw.randrange(1, 60))]
        context = " ".join(words)
        parts = list(re.finditer(r"\w+|[^\w\s]", context))
        first = draw.randrange(len(parts))
        last = min(len(parts) - 1, first + draw.randrange(3))
        begin, end = parts[first].start(), parts[last].end()
        answers = [(context[begin:end], begin)] * (i % 5 > 0) + [("fine", -1)] * (i % 3 == 0) + [("nowhere", -1)] * (i % 7 == 0)
        made.append(row(context, *answers, question=" ".join(draw.choices(WORDS, k=draw.randrange(1, 30)))))
    return made


# ---- settings

@pytest.mark.parametrize("data, message", [
    ({"question_column": ""}, "question_column is empty"),
    ({"answers_column": ""}, "answers_column is empty"),
    ({"context_column": "question"}, "question_column and context_column are both 'question'"),
    ({"max_length": 8}, "config.data.max_length"),
])
def test_settings_that_do_not_fit_are_told(tmp_path, data, message):
    with pytest.raises(UserError, match=message):
        experiment(tmp_path, **data)


def test_metric_of_another_task_is_told():
    config = default_config("question_answering")
    config.data.train, config.eval.metric = "my.jsonl", "accuracy"
    with pytest.raises(UserError, match="Unknown metric 'accuracy'"):
        resolve(config)
    config.eval.metric = "auto"
    assert resolve(config).eval.metric == "f1"


def test_windows_that_leave_no_room_are_told(tmp_path, tiny_tokenizer):
    with pytest.raises(UserError, match="window_overlap=30 must be less than the tokens"):
        experiment(tmp_path, [row("good", "good")], window_overlap=30)


@pytest.mark.parametrize("length", [16, 17, 24, 64, 384])
def test_windows_fit_whatever_the_length(tmp_path, tiny_tokenizer, length):
    made = experiment(tmp_path, [row("good " * 50, "good")], max_length=length)
    assert store_of(made, tiny_tokenizer, tmp_path).lengths.max() <= length


# ---- reading

ANN = "Ann is 7. She has a cat."
SQUAD = {"version": "2.0", "data": [{"title": "Ann", "paragraphs": [{"context": ANN, "qas": [
    {"id": "a", "question": "How old?", "answers": [{"text": "7", "answer_start": 7}]},
    {"id": "b", "question": "A dog?", "is_impossible": True, "answers": []}]}]}]}
ROWS = [{"question": "How old?", "context": ANN, "answers": {"text": ["7"], "answer_start": [7]}},
        {"question": "A dog?", "context": ANN, "answers": {"text": [], "answer_start": []}}]
CSV = f'question,context,answers,start\nHow old?,"{ANN}",7,7\nA dog?,"{ANN}",,\n'


@pytest.mark.parametrize("kind, text, settings", [
    ("squad", json.dumps(SQUAD), {}),
    ("json", json.dumps(SQUAD, indent=1), {}),
    ("json", json.dumps(ROWS), {}),
    ("jsonl", "\n".join(map(json.dumps, ROWS)), {}),
    ("csv", CSV, {"answer_start_column": "start"}),
    ("csv", CSV, {}),
])
def test_every_format_gives_the_same_rows(tmp_path, tiny_tokenizer, kind, text, settings):
    path = tmp_path / "data"
    path.write_text(text, "utf-8")
    made = experiment(tmp_path, train=f"{kind}:{path}", **settings)
    store = store_of(made, tiny_tokenizer, tmp_path)
    assert [store.texts(i) for i in range(len(store))] == [["How old?", ANN], ["A dog?", ANN]]
    assert [store.values(name, 0).tolist() for name in ("answer_start", "answer_end")] == [[7], [8]]
    assert len(store.values("answer_start", 1)) == 0
    task = QuestionAnsweringTask.infer(made, store, np.arange(2), tmp_path)
    assert (task.no_answer, task.empty, task.rows) == (True, 1, 2)


@pytest.mark.parametrize("kind, text, message", [
    ("squad", '{"data": [', r"data:1 is not valid JSON"),
    ("squad", '[{"question": "q"}]', "is JSON, but not SQuAD's"),
    ("squad", json.dumps({"data": [{"paragraphs": [{"context": "A.", "qas": [{"id": 1}]}]}]}),
     "data:1: this row is broken: in article 1, paragraph 1, question 1 .id 1. has a member 'question' that is missing"),
    ("jsonl", json.dumps({**ROWS[0], "answers": None}), "data:1: .* column 'answers' .its answers. is missing"),
    ("jsonl", json.dumps({**ROWS[0], "answers": {"text": ["a", "b"], "answer_start": [1]}}),
     "data:1: .*: column 'answers': the question has 2 answer texts but 1 answer starts"),
    ("jsonl", json.dumps({**ROWS[0], "context": " "}), "column 'context' .its text. is blank"),
    ("jsonl", json.dumps({"question": "q", "context": "c"}), "config.data.answers_column: Unknown column 'answers'"),
])
def test_malformed_input_is_told_with_its_place(tmp_path, tiny_tokenizer, kind, text, message):
    path = tmp_path / "data"
    path.write_text(text, "utf-8")
    made = experiment(tmp_path, train=f"{kind}:{path}")
    with pytest.raises(UserError, match=message):
        store = store_of(made, tiny_tokenizer, tmp_path)
        QuestionAnsweringTask.infer(made, store, np.arange(len(store)), tmp_path)


def test_broken_questions_are_left_out_and_the_others_kept(tmp_path, tiny_tokenizer):
    document = json.loads(json.dumps(SQUAD))
    document["data"][0]["paragraphs"][0]["qas"].insert(1, {"id": "x", "question": 5})
    document["data"].append({"paragraphs": [{"qas": []}, {"context": 3, "qas": [1, 2]}]})
    path = tmp_path / "data"
    path.write_text(json.dumps(document), "utf-8")
    said: list[str] = []
    store = store_of(experiment(tmp_path, train=f"squad:{path}", on_broken_row="skip"), tiny_tokenizer, tmp_path, said)
    assert [store.texts(i)[0] for i in range(len(store))] == ["How old?", "A dog?"] and store.place(1) == f"{path}:3"
    assert any("broken rows skipped" in line and "question 2 (id 'x')" in line for line in said)


def test_misplaced_answers_are_found_and_counted(tmp_path, tiny_tokenizer):
    rows = [row("a fine film", "film"), row("a fine film", ("film", 3)), row("a fine film", ("Film", -1)), row("a poor film"),
            row("film", ("nowhere", 2), ("film", 0)), row("wonderful film", ("wonder", 0))]
    made = experiment(tmp_path, rows)
    store = store_of(made, tiny_tokenizer, tmp_path)
    learnt = QuestionAnsweringTask.infer(made, store, np.arange(len(rows)), tmp_path)
    assert learnt.kinds == {"exact": 3, "re-aligned": 2, "absent": 1} and (learnt.empty, learnt.widened) == (1, 1)
    told = QuestionAnsweringTask(made.task, learnt).describe()
    assert "3 where they say, 2 found elsewhere, 1 not in their context; 1 questions have none" in told
    assert "1 answers begin or end inside a word" in told and "rows.jsonl:2" in told
    learnt.save(tmp_path)
    assert QuestionAnsweringTask.load(tmp_path) == learnt


def test_training_rows_without_a_certain_answer_follow_on_broken_row(tmp_path, tiny_tokenizer):
    rows = [row("a fine film", "film"), row("film film", ("film", -1)), row("a poor film", ("nowhere", 0))]
    for kept, message in ((slice(1, 2), "is at several places of its context"), (slice(2, 3), "is not in its context")):
        made = experiment(tmp_path, rows)
        store = store_of(made, tiny_tokenizer, tmp_path)
        with pytest.raises(UserError, match=f"rows.jsonl:{kept.start + 1}: the answer .* {message}.*on_broken_row=skip"):
            QuestionAnsweringTask.infer(made, store, np.arange(3)[kept], tmp_path)
    made = experiment(tmp_path, rows, on_broken_row="skip")
    store = store_of(made, tiny_tokenizer, tmp_path)
    learnt = QuestionAnsweringTask.infer(made, store, np.arange(3), tmp_path)
    assert learnt.unplaced == 2 and not learnt.no_answer
    task = QuestionAnsweringTask(made.task, learnt)
    examples = np.arange(len(store.lengths))
    assert task.targets(store, weighted=True)(examples, LENGTH)[1].tolist() == [1, 0, 0]
    assert task.targets(store, weighted=False)(examples, LENGTH)[1].tolist() == [1, 1, 1]
    with pytest.raises(UserError, match="No answer of the 2 training rows is in its context"):
        QuestionAnsweringTask.infer(made, store, np.arange(1, 3), tmp_path)


def test_contexts_as_ids_are_on_one_side_of_a_split(tmp_path, tiny_tokenizer):
    rows = [row(f"a fine film {i // 3}", "fine", question=f"which {i} ?") for i in range(90)]
    made = experiment(tmp_path, rows, id_column="context", validation="30%", test="20%")
    reading = QuestionAnsweringTask.reading(made, tiny_tokenizer, "tiny", tmp_path)
    splits = load_splits(Preparer(made.data, reading, tmp_path, lambda text: None))
    sides = [{split.store.string("context", i) for i in split.rows} for split in splits.values()]
    assert len(sides) == 3 and all(sides) and sum(map(len, sides)) == 30 and sum(len(s.rows) for s in splits.values()) == 90


# ---- windows and targets

def test_the_answer_is_in_just_those_windows_that_hold_it_whole(tmp_path, tiny_tokenizer):
    rows = drawn(150)
    made = experiment(tmp_path, rows)
    store = store_of(made, tiny_tokenizer, tmp_path)
    task = QuestionAnsweringTask(made.task, Answers(True))
    examples = np.arange(len(store.lengths))
    targets, _ = task.targets(store, weighted=True)(examples, LENGTH)
    pieces_of_word = tf.function(lambda word: tiny_tokenizer(word), input_signature=[tf.TensorSpec([None], tf.string)])
    found, several = 0, 0
    for i, source in enumerate(rows):
        parts = list(re.finditer(r"\w+|[^\w\s]", source["context"]))
        cut = [list(ids) for ids in pieces_of_word(tf.constant([part.group() for part in parts])).to_list()]
        places = [(word, piece) for word, ids in enumerate(cut) for piece in ids]
        mine = np.flatnonzero(store.row_of(examples) == i)
        several += len(mine) > 1
        wanted = next((a for a in zip(store.values("answer_start", i), store.values("answer_end", i)) if a[0] >= 0), None)
        for example in mine:
            tokens = store.values("tokens", example).tolist()
            first, begin = int(store.column("first_length")[example]), int(store.column("begin")[example])
            body = tokens[first:-1]
            assert body == [piece for _, piece in places[begin:begin + len(body)]] and len(tokens) <= LENGTH
            expected = (0, 0)
            if wanted:
                inside = [k for k, (word, _) in enumerate(places)
                          if parts[word].start() < wanted[1] and parts[word].end() > wanted[0]]
                if begin <= inside[0] and inside[-1] < begin + len(body):
                    expected = inside[0] - begin + first, inside[-1] - begin + first
                    found += 1
            assert (targets["start"][example], targets["end"][example]) == expected
    assert found > 100 and several > 50


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_offsets_are_of_the_original_string_in_every_family(family):
    """The pieces of an answer lead back to its characters."""
    from tfft.tasks.question_answering.encoder import QuestionEncoder

    encoder = QuestionEncoder(families.tokenizer(family), max_length=24, overlap=4, question_limit=6, split="punctuation")
    context = "The GOOD film\u2019s caf\u00e9, \U0001f600 was (good)\r\nand\u00a0fine: 24\u201310."
    examples, rows = tf.function(encoder.asked)(question=tf.constant(["was it good?"]), context=tf.constant([context]))
    words = rows["piece_word"].to_list()[0]
    starts, ends = rows["word_start"].to_list()[0], rows["word_end"].to_list()[0]
    for word in ("GOOD", "film", "caf\u00e9", "good", "fine", "24", "10", "."):
        at = [context[starts[w]:ends[w]] for w in words]
        assert word in at, at
    seen: set[int] = set()
    for tokens, first, begin in zip(examples["tokens"].to_list(), examples["first_length"].numpy(), examples["begin"].numpy()):
        seen |= set(range(begin, begin + len(tokens) - 1 - first))
    assert seen == set(range(len(words)))


# ---- loss

def test_loss_by_hand():
    task = QuestionAnsweringTask(resolve_task(), Answers(True))
    logits = np.array([[[1, 0], [9, 9], [9, 9], [2, 1], [0, 3], [9, 9]], [[0.5, 0], [9, 9], [1, 2], [0, 0], [9, 9], [9, 9]]],
                      np.float32)
    targets = {name: tf.constant(values, tf.int32) for name, values in
               {"start": [3, 0], "end": [4, 0], "first_length": [3, 2], "length": [6, 5]}.items()}

    def cross_entropy(values, place):
        return math.log(sum(map(math.exp, values))) - values[place]

    expected = [(cross_entropy([1, 2, 0], 1) + cross_entropy([0, 1, 3], 2)) / 2,
                (cross_entropy([0.5, 1, 0], 0) + cross_entropy([0, 2, 0], 0)) / 2]
    np.testing.assert_allclose(task.loss(targets, tf.constant(logits)), expected, rtol=1e-5)


def resolve_task(**settings):
    return resolve({"task": {"name": "question_answering", **settings}, "data": {"train": "x.jsonl"}}).task


# ---- evaluation

@pytest.fixture(scope="module")
def model(tiny_preset):
    task = QuestionAnsweringTask(resolve_task(), Answers(True))
    made = task.build_model(load_backbone(tiny_preset, precision="float32", dropout=0.0), Model(head_dropout=0.0), seed=1)
    made.get_layer("head").set_weights([np.random.default_rng(3).normal(0, 2, (8, 2)), np.array([0.3, -0.2])])
    return made


def brute_force(made, store, model) -> list[tuple[str, float]]:
    """(the best answer, no_answer_score) of each row, by trying every span of every window."""
    found = []
    for i in range(len(store)):
        best, null = None, math.inf
        for example in np.flatnonzero(store.row_of(np.arange(len(store.lengths))) == i):
            tokens = store.values("tokens", example).astype(np.int32)
            first, begin = int(store.column("first_length")[example]), int(store.column("begin")[example])
            inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens),
                      "segment_ids": (np.arange(len(tokens)) >= first).astype(np.int32)}
            logits = model({name: value[np.newaxis] for name, value in inputs.items()}).numpy()[0]
            null = min(null, float(logits[0].sum()))
            for start in range(first, len(tokens) - 1):
                for end in range(start, min(len(tokens) - 1, start + made.task.max_answer_tokens)):
                    value = float(logits[start, 0] + logits[end, 1])
                    if best is None or value > best[0] + 1e-6:
                        best = value, start - first + begin, end - first + begin
        word = store.values("piece_word", i)
        start, end = store.values("word_start", i)[word[best[1]]], store.values("word_end", i)[word[best[2]]]
        found.append((store.string("context", i)[start:end], 1 / (1 + math.exp(best[0] - null))))
    return found


def test_evaluation_is_that_of_all_spans_of_all_windows(tmp_path, tiny_tokenizer, model):
    rows = drawn(60, seed=1)
    made = experiment(tmp_path, rows, {"max_answer_tokens": 3})
    store = store_of(made, tiny_tokenizer, tmp_path)
    assert store.column("piece_word_offsets").shape == (61,) and len(store.lengths) > 80
    best = brute_force(made, store, model)
    golds = [[a["text"] for a in source["answers"]] for source in rows]

    def figures(threshold: float) -> tuple[float, float]:
        each = [(not gold,) * 2 if p > threshold else score(text, gold) for (text, p), gold in zip(best, golds, strict=True)]
        return tuple(np.mean(each, axis=0))

    def evaluated(learnt, tune=False, tuned=None):
        task = QuestionAnsweringTask(made.task, learnt)
        evaluator = Evaluator(model, task, store, np.arange(60), pad_id=0, batch_size=7, max_length=LENGTH,
                              strategy=tf.distribute.get_strategy(), tune=tune and task.tunes, tuned=tuned)
        evaluator.evaluate()
        return evaluator.report

    always = evaluated(Answers(False))
    assert (always.metrics["exact_match"], always.metrics["f1"]) == pytest.approx(figures(2))
    assert always.tuned is None
    usual = evaluated(Answers(True))
    assert (usual.metrics["exact_match"], usual.metrics["f1"]) == pytest.approx(figures(0.5))
    tuned = evaluated(Answers(True), tune=True)
    threshold = tuned.tuned["no_answer_threshold"][0]
    assert tuned.metrics["f1"] == pytest.approx(figures(threshold)[1])
    assert tuned.metrics["f1"] == pytest.approx(max(figures(t)[1] for _, p in best for t in (p - 1e-9, p + 1e-9, 2, -1)))
    assert tuned.metrics["f1"] > usual.metrics["f1"]
    again = evaluated(Answers(True), tuned=tuned.tuned)
    assert again.metrics == pytest.approx(tuned.metrics)
    assert again.judged == 60 and again.metrics["has_answer_f1"] >= 0 and again.details["no_answer_threshold"] == threshold
    by_place = {place: (right, given) for place, _, right, given in again.mistakes}
    assert 5 < len(by_place) <= 20
    for place, (right, given) in by_place.items():
        number = int(place.split(":")[-1]) - 1
        assert given == ("" if best[number][1] > threshold else best[number][0])
        assert right == " / ".join(dict.fromkeys(golds[number]))
    of_all = again.evidence.figures(np.arange(60))
    assert of_all == pytest.approx({name: again.metrics[name] for name in of_all}) and {"f1", "exact_match"} <= of_all.keys()
    parts = by_length(again.evidence, lambda rows: np.asarray(store.column("full_length")[rows]))
    assert sum(part["rows"] for part in parts) == 60 and len(parts) == 4
    assert sum(part["rows"] * part["metrics"]["f1"] for part in parts) / 60 == pytest.approx(again.metrics["f1"])


def test_response_is_what_evaluation_judges(tmp_path, tiny_tokenizer, model):
    rows = drawn(40, seed=2)
    made = experiment(tmp_path, rows, {"max_answer_tokens": 3})
    store = store_of(made, tiny_tokenizer, tmp_path)
    best = brute_force(made, store, model)
    task = QuestionAnsweringTask(made.task, Answers(True))
    response = asked(task, made, tiny_tokenizer, model, rows, Context())
    for i, (text, no_answer) in enumerate(best):
        assert response["answers"][i][0].decode() == text
        assert response["no_answer_score"][i] == pytest.approx(no_answer, abs=1e-5)
        assert response["answer"][i].decode() == ("" if no_answer > 0.5 else text)
        start, end = response["start"][i], response["end"][i]
        assert (start, end) == (-1, -1) if no_answer > 0.5 else rows[i]["context"][start:end] == text
        for j in range(5):
            shown = rows[i]["context"][max(0, response["starts"][i][j]):max(0, response["ends"][i][j])]
            assert response["answers"][i][j].decode() == shown
        assert list(response["scores"][i]) == sorted(response["scores"][i], reverse=True)
    none = asked(task, made, tiny_tokenizer, model, rows, Context(tuned={"no_answer_threshold": [-1.0]}))
    assert set(none["answer"]) == {b""} and (none["start"] == -1).all()
    answers = QuestionAnsweringTask.answers({name: np.vectorize(lambda v: v.decode(), otypes=[object])(value)
                                             if value.dtype == object else value for name, value in response.items()})
    assert answers[0][0]["n_best"][0]["answer"] == best[0][0] and answers[0][1] == {}


def test_blank_and_odd_contexts_are_answered(tmp_path, tiny_tokenizer, model):
    made = experiment(tmp_path)
    contexts = ["", " \n", "good", b"\xff good \xc3", "\U0001f600 good\r\nfilm"]
    response = asked(QuestionAnsweringTask(made.task, Answers(False)), made, tiny_tokenizer, model,
                     [{"question": "", "context": context} for context in contexts], Context())
    assert response["answer"][0] == response["answer"][1] == b"" and response["no_answer_score"][:2].tolist() == [1, 1]
    assert response["start"][:2].tolist() == [-1, -1] and response["answer"][2] == b"good"
    for i, context in enumerate(contexts[2:], 2):
        text = context.decode("utf-8", "replace") if isinstance(context, bytes) else context
        assert response["answer"][i].decode() == text[response["start"][i]:response["end"][i]] != ""
    assert np.isfinite(response["scores"]).all()
    nothing = asked(QuestionAnsweringTask(made.task, Answers(False)), made, tiny_tokenizer, model, [], Context())
    assert nothing["answer"].shape == (0,) and nothing["scores"].shape == (0, 5)


def asked(task, made, tokenizer, model, rows, context) -> dict:
    """The response to rows, in a graph, all windows at once."""
    from tfft.data.tokenize import features

    encoder = QuestionAnsweringTask.reading(made, tokenizer, "tiny", None).encoder

    @tf.function
    def answer(**strings):
        examples, of_rows = encoder.asked(**strings)
        units = task.emit(model(features(examples, 0, tuple(model.input)), training=False), task.extras(examples))
        return task.respond(examples, of_rows, tf.reshape(units, [-1, 3]), context)

    return {name: value.numpy() for name, value in answer(**encoder.strings(rows)).items()}


# ---- comparison, compilation

def response_of(**changes) -> dict:
    made = {"answer": [b"x"], "score": [0.5], "start": [4], "end": [5], "no_answer_score": [0.1], "answers": [[b"x", b"y"]],
            "scores": [[0.5, 0.3]], "starts": [[4, 8]], "ends": [[5, 9]], **changes}
    return {name: np.array(value) for name, value in made.items()}


@pytest.mark.parametrize("changes, apart", [
    ({}, 0),
    ({"score": [0.5001], "scores": [[0.5001, 0.3]]}, 1e-4),
    ({"no_answer_score": [0.2]}, 0.1),
    ({"starts": [[4, 7]]}, 0),  # another last answer, as good as the last
    ({"starts": [[4, 7]], "scores": [[0.5, 0.35]]}, 0.05),
    ({"starts": [[8, 4]], "ends": [[9, 5]], "start": [8], "end": [9]}, 0.2),  # the other answer chosen
    ({"starts": [[6, 4]], "ends": [[7, 5]], "start": [6], "end": [7], "scores": [[0.5, 0.5]]}, 0.2),  # that was not among them
    ({"start": [6], "end": [7]}, np.inf),
    ({"starts": [[4, -1]], "ends": [[5, -1]], "scores": [[0.5, 0]]}, np.inf),
    ({"start": [-1], "end": [-1], "answer": [b""]}, np.inf),  # no answer, by the same score
    ({"start": [-1], "end": [-1], "answer": [b""], "no_answer_score": [0.15], "score": [0.1]}, 0.05),
    ({"score": [np.nan]}, np.inf),
])
def test_difference(changes, apart):
    expected, got = response_of(), response_of(**changes)
    assert serving.difference(expected, got, [0])[0] == pytest.approx(apart)


def test_what_is_evaluated_compiles_with_static_shapes():
    task = QuestionAnsweringTask(resolve_task(), Answers(True))
    model = task.build_model(families.backbone("bert", 0.0), Model(), seed=0)
    spec = lower.batch_spec(model, task, 4, 16)
    hlo = lower.hlo_of(lambda inputs, targets, weights, indices: (
        task.emit(model(inputs, training=False), targets), task.loss(targets, model(inputs, training=False))), spec)
    assert len(hlo) > 10_000 and b"set-dimension-size" not in hlo
