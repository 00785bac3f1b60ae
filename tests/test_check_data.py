"""tfft check_data: mistakes planted in rows are found, and rows without any are let be."""

import csv
import json
import random

import choices
import embeddings
import language
import numpy as np
import pytest
from commands import ROOT, arguments, run

from tfft.checks.characters import double_encoded, repaired
from tfft.checks.findings import CHECKS, check_names
from tfft.checks.nearly import Sets, groups, near_pairs, pairs_of
from tfft.checks.suspects import confident
from tfft.config import resolve
from tfft.data.prepare import Preparer, open_splits
from tfft.data.row_tokens import digests, row_tokens
from tfft.data.store import Ragged
from tfft.errors import UserError
from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
from tfft.run.check_data import look_over, told
from tfft.tasks.table import TASKS
from tfft.training.summaries import Console

KINDS = {"pos": ["good", "fine"], "neg": ["bad", "poor"]}


def checked(experiment, preset: str, cache, similarity: float = 0.8):
    """All findings of an experiment, through the real store."""
    tokenizer, kind = load_tokenizer(preset), TASKS[experiment.task.name]
    reading = kind.readings(experiment, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    splits = open_splits(Preparer(experiment.data, reading, cache, lambda text: None))
    train = splits["train"]
    task = kind(experiment.task, kind.infer(experiment, train.store, train.rows, cache))
    return look_over(task, splits, None, Console(quiet=True), similarity)


def by_name(findings) -> dict:
    made: dict = {}
    for one in findings.found:
        made.setdefault(one.name, []).append(one)
    return made


def clean(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different texts of 12 words, of which one tells the label."""
    draw, made = random.Random(seed), []
    for i in range(count):
        label = "pos" if i % 2 else "neg"
        words = [draw.choice(KINDS[label]), *draw.choices(["film", "a", "the", ",", "."], k=11)]
        made.append((" ".join(draw.sample(words, len(words))), label))
    return made


def write(path, rows) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def experiment(tmp_path, rows, validation=(), task=None, **data):
    settings = {"train": write(tmp_path / "train.csv", rows), "max_length": 24, "validation": "", **data}
    if validation:
        settings["validation"] = write(tmp_path / "validation.csv", validation)
    return resolve({"task": task or {}, "data": settings})


def test_rows_without_mistakes_have_nothing_odd(tmp_path, tiny_preset):
    found = checked(experiment(tmp_path, clean(300), clean(100, seed=1)), tiny_preset, tmp_path, similarity=0.95)
    assert not [one for one in found.found if one.severity != "note"], told(found)
    assert found.splits == {"train": 300, "validation": 100}
    assert found.answers["counts"]["train"] == {"neg": 150, "pos": 150}
    assert found.simple["a linear model of TF-IDF features"]["accuracy"] == 1 and "100.0%" in found.told[0]


def test_flipped_labels_are_doubted(tmp_path, tiny_preset):
    rows = clean(600)
    flipped = random.Random(0).sample(range(600), 12)
    for i in flipped:
        rows[i] = (rows[i][0], "neg" if rows[i][1] == "pos" else "pos")
    found, = by_name(checked(experiment(tmp_path, rows), tiny_preset, tmp_path))["suspect"]
    lines = {int(one.place.rpartition(":")[2]) - 2 for one in found.examples}
    assert lines == set(flipped) and found.count == 12
    assert found.examples[0].note in ("'pos', rather 'neg'?", "'neg', rather 'pos'?")


def test_a_label_that_is_lacking_among_several_is_doubted(tmp_path, tiny_preset):
    rows = [(f"{text} zebra", f"{label},wild") if i % 3 else (text, label) for i, (text, label) in enumerate(clean(600))]
    lacking = [i for i in range(0, 600, 50)]
    for i in lacking:
        rows[i] = (rows[i][0], rows[i][1].replace("neg", "").strip(","))
    found, = by_name(checked(experiment(tmp_path, rows, task={"problem": "multi_label"}), tiny_preset, tmp_path))["suspect"]
    lines = [int(one.place.rpartition(":")[2]) - 2 for one in found.examples]
    assert set(lines) <= set(lacking) and len(lines) >= 10 and "and 'neg'?" in found.examples[0].note


def test_values_far_from_what_is_expected(tmp_path, tiny_preset):
    rows = [(text, {"pos": 4.0, "neg": 1.0}[label] + i % 7 / 10) for i, (text, label) in enumerate(clean(300))]
    rows[40] = (rows[40][0], 40.0)
    found, = by_name(checked(experiment(tmp_path, rows, task={"problem": "regression"}), tiny_preset, tmp_path))["suspect"]
    assert found.examples[0].place.endswith("train.csv:42") and "40, expected about" in found.examples[0].note


def test_labels_that_texts_do_not_tell_are_not_doubted(tmp_path, tiny_preset):
    rows = [(text, "ab"[i // 2 % 2]) for i, (text, _) in enumerate(clean(300))]
    findings = checked(experiment(tmp_path, rows), tiny_preset, tmp_path)
    assert "suspect" not in by_name(findings) and "labels are not doubted: a linear model gets" in findings.told[0]


@pytest.mark.parametrize("texts", [["the film"], [f"word{i}" for i in range(99)]])
def test_texts_that_nothing_tells_apart_are_no_ground_for_doubts(tmp_path, tiny_preset, texts):
    """A column that says the same in each row, or that the tokenizer knows no word of."""
    rows = [(texts[i % len(texts)], "ab"[i % 2]) for i in range(99)]
    findings = checked(experiment(tmp_path, rows), tiny_preset, tmp_path, similarity=0)
    assert "suspect" not in by_name(findings) and "have nothing that tells them apart" in findings.told[0]


def test_leaks_copies_and_conflicts(tmp_path, tiny_preset):
    rows, validation = clean(300), clean(60, seed=1)
    validation[5] = rows[7]                                              # exact
    validation[6] = (f"{rows[9][0]} zebra", rows[9][1])                  # near: one token more
    rows[20] = (rows[21][0], "pos" if rows[21][1] == "neg" else "neg")   # a conflict, and a copy
    rows[30] = (f"{rows[31][0]} zebra", rows[31][1])                     # a near copy
    findings = checked(experiment(tmp_path, rows, validation), tiny_preset, tmp_path, similarity=0.7)
    found = by_name(findings)
    leak, conflict, duplicate = found["leak"][0], found["conflict"][0], found["duplicate"][0]
    assert leak.count == 1 and leak.severity == "error" and leak.examples[0].place.endswith("validation.csv:7")
    assert "train.csv:9" in leak.examples[0].note
    assert "validation.csv:8" in {one.place.rpartition("/")[2] for one in found["near_leak"][0].examples}
    assert conflict.count == 2 and "1 text (2 rows) with different labels" in conflict.what
    assert conflict.examples[0].place.endswith("train.csv:22") and "train, line 23" in conflict.examples[0].note
    assert duplicate.count == 1 and duplicate.examples[0].place.endswith("train.csv:23")
    assert any("train.csv:33" in one.note or one.place.endswith("train.csv:33") for one in found["near_duplicate"][0].examples)
    shown = told(findings)
    assert shown.index("error: leak") < shown.index("error: conflict") < shown.index("note: duplicate")
    assert str(tmp_path) not in shown  # places are as short as they can be


def test_a_label_whose_texts_are_cut_and_one_that_is_rare(tmp_path, tiny_preset):
    rows = [*clean(300), *((f"{text} {text} {text}", "long") for text, _ in clean(40, seed=2)), ("fine film .", "odd")]
    found = by_name(checked(experiment(tmp_path, rows, [*clean(40, seed=3), ("the film", "new")]), tiny_preset, tmp_path))
    cut, rare, unseen = found["truncated"][0], found["rare"][0], found["unseen"][0]
    assert cut.count == 40 and "above all 'long' 100%" in cut.what
    assert cut.details["by_answer"]["long"] == {"cut": 40, "rows": 40}
    assert "'odd' 1" in rare.what and "unknown labels: 'new'" in unseen.what and unseen.count == 1


def test_texts_that_the_tokenizer_does_not_know_are_not_taken_for_copies(tmp_path, tiny_preset):
    rows = [*clean(60), *((f"zebra{i} lion{i} tiger{i}", "pos") for i in range(10))]
    found = by_name(checked(experiment(tmp_path, rows), tiny_preset, tmp_path))
    assert "near_duplicate" not in found or all(int(one.place.rpartition(":")[2]) < 62 for one in
                                                found["near_duplicate"][0].examples)
    assert found["unknown"][0].count == 10 and found["unknown"][0].severity == "warning"


def test_odd_characters_markup_and_scripts(tmp_path, tiny_preset):
    rows = clean(200)
    odd = {"characters": ["good\x07 film", "bad\u200b film", "poor \ufffd film"], "mojibake": ["fine caf\u00c3\u00a9 film"],
           "markup": ["good &amp; fine", "good <br/> film", "see https://a.example"], "wordless": [":-("],
           "language": ["\u0445\u043e\u0440\u043e\u0448\u0438\u0439 \u0444\u0438\u043b\u044c\u043c"]}
    texts = [text for several in odd.values() for text in several]
    rows += [(text, "pos") for text in texts] + [("caf\u00e9 \u2014 \u201cgood\u201d \u00c3O", "pos")]
    found = by_name(checked(experiment(tmp_path, rows), tiny_preset, tmp_path))
    lines = {text: 202 + i for i, text in enumerate(texts)}
    for name, several in odd.items():
        places = {int(one.place.rpartition(":")[2]) for finding in found[name] for one in finding.examples}
        assert places == {lines[text] for text in several}, name
        assert sum(one.count for one in found[name]) == len(several)
    notes = [one.note for finding in found["characters"] for one in finding.examples]
    assert sorted(notes) == ["U+0007", "U+200B", "U+FFFD"]
    assert found["mojibake"][0].examples[0].note == "was 'fine caf\u00e9 film'" and "Cyrillic 1" in found["language"][0].what
    assert found["unknown"][0].count >= 1


def test_repairing_what_was_read_in_another_encoding():
    for text in ("caf\u00e9", "\u201cyes\u201d \u2013 no", "\u4f60\u597d", "\U0001f600 ok"):
        broken = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in text.encode())
        assert repaired(broken) == text and repaired(text) == text
    byte = np.array([0, 0xC3, 0xA9, 0, 0xE2, 0x80, 0x94, 0xC3, 0, 0xF0, 0x9F, 0x98, 0x80, 0xE2, 0x80], np.uint8)
    assert double_encoded(byte).tolist() == [1, 4, 9]
    assert double_encoded(byte[:0]).tolist() == []


# ---- the parts

def test_near_pairs_are_those_that_all_against_all_finds():
    draw = np.random.default_rng(0)
    texts = [draw.integers(5, 200, draw.integers(1, 40)) for _ in range(300)]
    for i in range(0, 300, 3):  # copies with one to four tokens changed
        copy = texts[i].copy()
        copy[draw.integers(0, len(copy), 1 + i % 4)] = 300
        texts[i + 1] = copy
    lengths = np.array([len(text) for text in texts])
    sets = Sets(300, int(lengths.sum()))
    for part in (slice(0, 100), slice(100, 300)):
        sets.add(Ragged(np.concatenate(texts[part]), lengths[part]))
    each = [frozenset(zip(text, text[1:])) or frozenset([(text[0], 0)]) for text in texts]
    alike = {(i, j): len(each[i] & each[j]) / len(each[i] | each[j]) for i in range(300) for j in range(i)}
    for similarity in (0.6, 0.8, 1.0):
        expected = {pair[::-1] for pair, value in alike.items() if value >= similarity}
        first, second, value = near_pairs(sets, similarity)
        assert set(zip(first.tolist(), second.tolist())) <= expected and len(expected) > 5
        assert len(first) >= (0.97 if similarity > 0.7 else 0.85) * len(expected)
        assert all(alike[j, i] == pytest.approx(v) for i, j, v in zip(first.tolist(), second.tolist(), value))
    salted = Sets(2, 8)
    salted.add(Ragged(np.array([1, 2, 3, 4, 1, 2, 3, 4]), np.array([4, 4])), np.array([1, 2], np.uint64))
    assert not len(near_pairs(salted, 0.1)[0])  # what differs in context has nothing in common
    assert groups(4, np.array([0, 2]), np.array([1, 1])).tolist() == [0, 0, 0, 1]


def test_pairs_of_tokens():
    values, row = pairs_of(Ragged(np.array([5, 7, 5, 7, 9, 3, 3]), np.array([4, 1, 0, 2])))
    assert row.tolist() == [0, 0, 1, 3] and len(set(values.tolist())) == 4


def test_digests_tell_order_length_and_zeros_apart():
    made = digests(Ragged(np.array([1, 2, 2, 1, 0, 0, 0, 1, 2]), np.array([2, 2, 1, 2, 0, 2])))
    assert len(set(made.tolist())) == 5 and made[0] == made[5]


def test_confident_learning_on_four_rows():
    """The worked example: thresholds are the mean probabilities of the rows of a label; row 3 is another label's."""
    goals = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.05, 0.95]], np.float32)
    doubted, margin, better = confident(goals, scores, np.ones(4, bool))
    assert doubted.tolist() == [False, False, False, True] and better[3] == 1 and margin.argmin() == 3
    assert not confident(goals, scores, np.array([True, True, True, False]))[0].any()


def test_names_of_checks():
    assert check_names(["leak", " conflict "]) == ("leak", "conflict") and check_names(["all"]) == tuple(CHECKS)
    with pytest.raises(UserError, match="--fail_on: Unknown check 'leek'. Did you mean 'leak'?"):
        check_names(["leek"])


# ---- other tasks

def test_questions_with_contexts(tmp_path, tiny_preset):
    def row(question, context, answer):
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        return {"question": question, "context": context, "answers": answers}

    context = "the good film , a fine film . " * 3
    train = [row(f"the film {'good ' * (i % 9)}a {'bad ' * (i // 9)}", context, "good film") for i in range(30)]
    train.append(row(train[3]["question"], context, "fine film"))
    other = [row("a poor film , the good", context, "fine"), row("the film", "a bad film", "bad")]
    for name, rows in (("train", train), ("dev", other)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = resolve({"task": {"name": "question_answering"}, "data": {
        "train": str(tmp_path / "train.jsonl"), "validation": str(tmp_path / "dev.jsonl"), "max_length": 24,
        "window_overlap": 4}})
    found = by_name(checked(made, tiny_preset, tmp_path))
    assert "1 text (2 rows) with different answers" in found["conflict"][0].what
    assert "'good film', but 'fine film'" in found["conflict"][0].examples[0].note
    assert found["shared"][0].count == 1 and found["shared"][0].examples[0].place.endswith("dev.jsonl:1")
    assert "leak" not in found and "truncated" not in found


def test_words_with_tags(tmp_path, tiny_preset):
    rows = [{"words": ["good", "film", *["a"] * (i % 7), *["the"] * (i // 7)],
             "tags": ["B-X", "I-X", *["O"] * (i % 7 + i // 7)]} for i in range(40)]
    rows.append({"words": rows[0]["words"], "tags": ["B-Y", "O"]})
    rows.append({"words": ["bad", "good", "film"], "tags": ["O", "O", "O"]})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = resolve({"task": {"name": "token_classification"}, "data": {
        "train": str(tmp_path / "a.jsonl"), "validation": "", "max_length": 16, "window_overlap": 4}})
    findings = checked(made, tiny_preset, tmp_path)
    found = by_name(findings)
    assert findings.answers["counts"]["train"] == {"X": 40, "Y": 1} and "'Y' 1" in found["rare"][0].what
    assert found["conflict"][0].examples[0].note.startswith("'good film' X, but 'good' Y in")
    doubted, = found["suspect"]
    assert doubted.count == 1 and doubted.examples[0].place.endswith("a.jsonl:42")
    assert doubted.examples[0].note == "'good film' no entity, but X in 40 of 41 places"


@pytest.mark.parametrize("kind", ["pairs", "scored", "labelled"])
def test_embeddings(tmp_path, tiny_preset, kind):
    path = embeddings.write(tmp_path / "a.jsonl", 80)
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    rows.append({**rows[4], "s": 99, "l": "label 9"})
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = by_name(checked(embeddings.experiment(path, kind), tiny_preset, tmp_path))
    assert found["duplicate"][0].count >= 1
    assert any("a.jsonl:81" in one.place or "line 81" in one.note for finding in found.get("conflict", [])
               for one in finding.examples) == (kind != "pairs")


def test_questions_with_candidates(tmp_path, tiny_preset):
    rows = choices.rows(40)
    rows.append({**rows[0], "label": 1 - min(1, rows[0]["label"])})
    path = choices.write(tmp_path / "a.jsonl", rows)
    made = resolve({"task": {"name": "multiple_choice"}, "data": {"train": path, "max_length": 16, "validation": ""}})
    findings = checked(made, tiny_preset, tmp_path)
    assert "different right candidates" in by_name(findings)["conflict"][0].what and "rare" not in by_name(findings)


def test_language_models(tmp_path, tiny_preset):
    preset = str(language.write(tmp_path / "llama"))
    rows = [{"prompt": f"good {'bad ' * (i % 9)}user{i}", "response": f"bad {i}"} for i in range(20)]
    rows += [{**rows[3], "response": "good"}, rows[5]]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = resolve({"task": {"name": "causal_lm"}, "model": {"backbone": preset}, "data": {
        "train": str(tmp_path / "a.jsonl"), "validation": "", "max_length": 64}})
    found = by_name(checked(made, preset, tmp_path))
    assert found["conflict"][0].severity == "note" and "'bad 3', but 'good' in" in found["conflict"][0].examples[0].note
    assert found["duplicate"][0].count == 1
    (tmp_path / "a.txt").write_text("\n".join([*(f"good film {'bad ' * i}" for i in range(20)), "good film bad"]))
    made = resolve({"task": {"name": "masked_lm"}, "model": {"backbone": tiny_preset}, "data": {
        "train": f"text:{tmp_path / 'a.txt'}", "validation": "", "max_length": 8}})
    found = by_name(checked(made, tiny_preset, tmp_path))
    assert found["duplicate"][0].count == 1 and not {"truncated", "conflict"} & found.keys()


def test_sources_with_targets(tmp_path, tiny_preset):
    rows = [{"source": f"good {'bad ' * (i % 9)}user{i}", "target": "bad"} for i in range(20)]
    rows += [{**rows[3], "target": "good"}, rows[5], {"source": "odd film", "target": "good " * 30}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = resolve({"task": {"name": "seq2seq", "decoder_layers": 1, "max_new_tokens": 8}, "model": {"backbone": tiny_preset},
                    "data": {"train": str(tmp_path / "a.jsonl"), "validation": "", "max_length": 64, "max_target_length": 16}})
    found = by_name(checked(made, tiny_preset, tmp_path))
    assert found["conflict"][0].severity == "note" and "'bad', but 'good' in" in found["conflict"][0].examples[0].note
    assert found["duplicate"][0].count == 1 and found["truncated"][0].count == 1
    assert found["truncated"][0].examples[0].place.endswith("a.jsonl:23")


def test_a_mixture_is_checked_as_a_whole(tmp_path, tiny_preset):
    rows = clean(100)
    sources = {"one": {"train": write(tmp_path / "a.csv", rows)}, "two": {"train": write(tmp_path / "b.csv", [rows[3]] * 2)}}
    made = resolve({"data": {"sources": sources, "validation": "", "max_length": 24}})
    found = by_name(checked(made, tiny_preset, tmp_path))
    assert found["duplicate"][0].count == 2 and found["duplicate"][0].examples[0].place.endswith("b.csv:2")


def test_rows_of_splits_of_one_file(tmp_path, tiny_preset):
    made = experiment(tmp_path, clean(100))
    tokenizer = load_tokenizer(tiny_preset)
    reading = TASKS["text_classification"].reading(made, tokenizer, "f", tmp_path)
    store = open_splits(Preparer(made.data, reading, tmp_path, lambda text: None))["train"].store
    some = np.array([2, 3, 50])
    flat, lengths = row_tokens(store, some)
    assert [flat[end - n:end].tolist() for end, n in zip(np.cumsum(lengths), lengths)] == [
        store.values("tokens", row).tolist() for row in some]


# ---- the command

def test_the_command_on_a_config_and_on_a_run(tmp_path, thin_preset):
    rows, cache = clean(300), str(tmp_path / "cache")
    rows[11] = (rows[12][0], "pos")
    rows[40] = (rows[40][0], "pos")
    data = write(tmp_path / "train.csv", rows)
    settings = arguments(thin_preset, data, tmp_path / "run")
    config = [one for one in settings[1:] if not one.startswith("--workdir")]
    out, said = run(["check_data", *config, f"--output={tmp_path}/found.json", "--fail_on=mojibake"], cache)
    assert "error: conflict: 1 text (2 rows) with different labels" in " ".join(out.split()) and "tokenising" in said
    kept = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert [one["name"] for one in kept["findings"]][0] == "conflict" and kept["splits"]["train"] > 200
    run(settings, cache)
    out, said = run(["check_data", f"--workdir={tmp_path}/run", "--fail_on=conflict,leak"], cache, code=1)
    assert "tokenising" not in said and out.rstrip().endswith("(--fail_on)") and "failed: conflict" in out
    assert "a linear model and the run's model both call wrong" in " ".join(out.split()) and "train.csv:42" in out


@pytest.mark.parametrize("flags, message", [
    (["--fail_on=leek"], "--fail_on: Unknown check 'leek'. Did you mean 'leak'?"),
    (["--fail_on=leak", "--workdir=nowhere"], "nowhere"),
    ([], "Name an experiment"),
    (["--config=my_tasks"], "is of several tasks"),
    (["--config=imdb", "--workdir=runs/a"], "Give --config or --workdir, not both"),
])
def test_mistakes_are_told_before_tensorflow_is_loaded(tmp_path, flags, message):
    _, error = run(["check_data", *flags], str(tmp_path), code=2)
    assert message in error and "loading TensorFlow" not in error


def test_the_documentation_names_every_check():
    text = (ROOT / "docs" / "knowing.md").read_text("utf-8")
    assert not [name for name in CHECKS if f"`{name}`" not in text]
