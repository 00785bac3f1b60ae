"""Token classification through the command line, from files to served answers: softmax and CRF, spans with labels, resume."""

import csv
import json
import random

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of, run

pytestmark = pytest.mark.slow
TAGS = {"good": "B-X", "fine": "I-X", "bad": "B-Y", "poor": "I-Y"}  # fine stands after good alone, poor after bad
SETTINGS = ("--config.data.max_length=16", "--config.data.window_overlap=4", "--config.train.global_batch_size=16",
            "--config.train.peak_learning_rate=0.03", "--config.model.dropout=0", "--config.model.head_dropout=0")


def sentences(count: int) -> list[tuple[list[str], list[str], str]]:
    """(words, IOB2 tags, label) of 1 to 30 words, all different; the label tells which entities there are more of."""
    draw, made = random.Random(3), []
    for i in range(count):
        words = []
        while len(words) < draw.choice((1, 3, 6, 12, 30)):
            words.append(draw.choice(["good", "bad", "film", "the", "a", ","]))
            if words[-1] in ("good", "bad") and draw.random() < 0.5:
                words.append("fine" if words[-1] == "good" else "poor")
        words.append(f"Zo\u00eb{i}")
        tags = [TAGS.get(word, "O") for word in words]
        made.append((words, tags, "many" if sum(t[0] == "B" for t in tags) > 1 else "few"))
    return made


def entities(words, tags) -> list[tuple[int, int, str]]:
    """Spans of characters in the words joined by blanks."""
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    made = []
    for i, tag in enumerate(tags):
        if tag[0] == "B":
            made.append([int(starts[i]), 0, tag[2:]])
        if tag != "O":
            made[-1][1] = int(starts[i]) + len(words[i])
    return [tuple(span) for span in made]


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    """folder with conll.txt, spans.jsonl, both runs, both evaluated and exported; what the commands said."""
    folder = tmp_path_factory.mktemp("tokens")
    cache, rows = str(folder / "cache"), sentences(400)
    (folder / "conll.txt").write_text("\n".join("".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True))
                                                for words, tags, _ in rows))
    (folder / "spans.jsonl").write_text("".join(json.dumps({
        "text": " ".join(words), "spans": entities(words, tags), "intent": label}) + "\n" for words, tags, label in rows))
    said = {}
    for name, settings in {
        "conll": [f"--config={ROOT}/configs/my_entities.py", f"--config.data.train=conll:{folder}/conll.txt",
                  "--config.data.validation=20%"],
        "spans": [f"--config={ROOT}/configs/my_entities.py", f"--config.data.train=jsonl:{folder}/spans.jsonl",
                  "--config.data.words_column=", "--config.data.text_column=text", "--config.data.label_column=intent",
                  "--config.data.validation=20%", "--config.task.head=crf", "--config.task.scheme=IOBES"],
    }.items():
        command = ["train", *settings, *SETTINGS, f"--config.model.backbone={tiny_preset}", f"--workdir={folder}/{name}",
                   "--config.train.epochs=20", "--config.eval.every_steps=200"]
        said[name] = [run(command, cache)[1], run(["evaluate", f"--workdir={folder}/{name}"], cache)[0],
                      run(["export", f"--workdir={folder}/{name}"], cache)[0]]
    return folder, cache, said


@pytest.mark.parametrize("name", ["conll", "spans"])
def test_entities_are_learnt(trained, name):
    folder, _, said = trained
    assert {"How good", "Slices", "Details", "Training", "Data"} <= set(page_of(folder / name))
    report = json.loads((folder / name / "evaluation-validation.json").read_text())
    assert report["metrics"]["f1"] > 0.9 and report["metrics"]["token_accuracy"] > 0.95
    assert "entities (IOB2, learnt as IO" in said[name][0] and "X (" in said[name][0]
    assert "precision" in said[name][1] and "wrong boundary" in said[name][1] and " to " in said[name][1]  # slices by length
    assert all(part["metrics"].keys() == report["metrics"].keys() for part in report["slices"]) and len(report["slices"]) > 1
    if name == "spans":
        assert report["metrics"]["sentence_accuracy"] > 0.7 and report["metrics"]["exact"] > 0.5
    assert "serving_default: count int32" in said[name][2] and "words: count int32" in said[name][2]
    assert "proven on" in said[name][2] and (folder / name / "export" / "1" / "signatures.json").exists()
    card = (folder / name / "export" / "1" / "model_card.md").read_text()
    assert "Answers texts with the entities in them, of 2 types" in card and "windows that share 4" in card


NASTY = "good fine  na\u00efve \U0001f600\r\nbad\tpoor"


@pytest.mark.parametrize("name", ["conll", "spans"])
def test_answers_of_the_run_and_of_its_export(trained, name):
    folder, cache, _ = trained
    texts = [NASTY, "good fine " + "the bad poor , " * 40 + "good", "the the"]
    out, _ = run(["predict", f"--workdir={folder}/{name}", *(f"--text={text}" for text in texts)], cache)
    answers = [json.loads(line) for line in out.strip().split("\n")]
    assert [(e["text"], e["type"], e["start"], e["end"]) for e in answers[0]["entities"]] == [
        ("good fine", "X", 0, 9), ("bad\tpoor", "Y", 20, 28)]
    long = answers[1]["entities"]
    assert len(long) == 42 and answers[2]["entities"] == []
    assert all(one["end"] <= other["start"] for one, other in zip(long, long[1:], strict=False))  # doubled by no window
    served = tf.saved_model.load(str(folder / name / "export" / "1")).signatures["serving_default"](text=tf.constant(texts))
    for i, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        assert served["count"][i] == len(answer["entities"]) and answer["text"] == text
        for j, found in enumerate(answer["entities"]):
            assert text[found["start"]:found["end"]] == found["text"] == served["entity"][i, j].numpy().decode()
            assert found["start"] == served["start"][i, j] and found["type"] == served["type"][i, j].numpy().decode()
            assert found["score"] == pytest.approx(float(served["score"][i, j]), abs=1e-4)
        if name == "spans":
            assert served["label"][i].numpy().decode() == answer["label"]
            assert answer["label_probability"] == pytest.approx(float(served["label_score"][i]), abs=1e-4)


def test_files_of_every_kind_are_answered(trained, tmp_path):
    folder, cache, _ = trained
    words = ["good", "fine", "of", "caf\u00e9", "bad"]
    (tmp_path / "a.txt").write_text("".join(f"{word} O\n" for word in words) + "\nthe O\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"0": words, "id": 7}) + "\n" + json.dumps({"0": []}) + "\n")
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "note"], [" ".join(words), "x"], ["", "empty"], ["the", "y"]])
    expected = [("good fine", "X", 0, 9), ("bad", "Y", 18, 21)]

    def answers(source, output):
        run(["predict", f"--workdir={folder}/conll", f"--input={source}", f"--output={tmp_path}/{output}"], cache)
        if output.endswith(".jsonl"):
            return [json.loads(line) for line in (tmp_path / output).read_text().splitlines()]
        with open(tmp_path / output, newline="") as file:
            return [{**row, "entities": json.loads(row["entities"]) if row["entities"] else None}
                    for row in csv.DictReader(file)]

    def told(answer):
        return [(e["text"], e["type"], e["start"], e["end"]) for e in answer["entities"]]

    from_conll = answers(f"conll:{tmp_path}/a.txt", "conll.jsonl")
    assert told(from_conll[0]) == expected and from_conll[1]["entities"] == [] and from_conll[0]["0"] == words
    from_json = answers(f"jsonl:{tmp_path}/a.jsonl", "json.jsonl")
    assert told(from_json[0]) == expected and from_json[0]["id"] == 7 and from_json[1]["entities"] is None
    from_csv = answers(f"csv:{tmp_path}/a.csv", "csv.csv")
    assert told(from_csv[0]) == expected and [row["note"] for row in from_csv] == ["x", "empty", "y"]
    assert from_csv[1]["entities"] is None and from_csv[2]["entities"] == []


def test_other_rows_are_judged(trained, tmp_path):
    folder, cache, _ = trained
    (tmp_path / "more.txt").write_text("good B-X\nfine I-X\nodd B-Q\n\nbad B-Y\n")
    out, said = run(["evaluate", f"--workdir={folder}/conll", f"--data=conll:{tmp_path}/more.txt"], cache)
    assert "unknown types: 'Q' (1)" in said and "2 rows" in out
    assert json.loads(next(iter((folder / "conll").glob("evaluation-conll*.json"))).read_text())["metrics"]["recall"] == 1
    (tmp_path / "more.txt").write_text("good B-X\n\nbad L-Y\n")
    _, said = run(["evaluate", f"--workdir={folder}/conll", f"--data=conll:{tmp_path}/more.txt"], cache, code=2)
    assert f"{tmp_path}/more.txt:3: 'L-Y' is no tag of scheme IOB2" in said and "Traceback" not in said
    (tmp_path / "more.txt").write_text("good B-X\n\nbad\n")
    _, said = run(["evaluate", f"--workdir={folder}/conll", f"--data=conll:{tmp_path}/more.txt"], cache, code=2)
    assert f"{tmp_path}/more.txt:3: this row is broken" in said


def test_parts_of_speech_are_found_out(trained, tiny_preset, tmp_path):
    """A file without prefixes trains as it stands, though its metric was chosen before it was read."""
    _, cache, _ = trained
    (tmp_path / "pos.txt").write_text("\n".join(
        "".join(f"{word} {word[0].upper()}\n" for word in words) for words, *_ in sentences(120)))
    command = ["train", f"--config={ROOT}/configs/my_entities.py:{tmp_path}/pos.txt", *SETTINGS, "--config.train.epochs=1",
               f"--config.model.backbone={tiny_preset}", f"--workdir={tmp_path}/run"]
    _, said = run(command, cache)
    assert "tags: " in said and "validation f1" in said
    out, _ = run(["evaluate", f"--workdir={tmp_path}/run"], cache)
    assert "token_accuracy" in out and "wrong boundary" not in out


def test_killed_and_resumed_with_the_same_bits(trained, tiny_preset, tmp_path):
    folder, cache, _ = trained
    settings = [f"--config={ROOT}/configs/my_entities.py:{folder}/conll.txt", *SETTINGS, "--config.train.epochs=3",
                f"--config.model.backbone={tiny_preset}", "--config.task.head=crf", "--config.train.global_batch_size=8",
                "--config.train.checkpoint_every_steps=10", "--config.train.accumulation=2", "--config.model.head_dropout=0.1",
                "--config.eval.every_steps=60"]
    names = killed_is_like_whole(settings, cache, tmp_path, step=40)
    assert any("transitions" in name for name in names)
