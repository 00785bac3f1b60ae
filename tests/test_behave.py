"""evaluate --tests, --swap and --robustness on trained runs: what is planted in the rows is found."""

import csv
import json
import random

import commands
import pytest

from tfft.behaviour.perturb import changed
from tfft.data.conversation import Message
from tfft.errors import UserError
from tfft.run import robustness
from tfft.run.workdir import open_run
from tfft.tasks.causal_lm.rows import disturbed as disturbed_prompt
from tfft.tasks.token_classification.rows import disturbed
from tfft.training.summaries import Console

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Ann", "Bob", "is", "good", "bad", "film", "the", "a", "he", "she"]
SUITE = """tests:
  - name: praise
    kind: minimum
    template: "Ann is {what} the film"
    slots: {what: [good, bad]}
    expect: {label: pos}
  - name: names
    kind: invariance
    test_rows: 20
    change: {swap: names.csv}
    allowed: 10%
  - name: what counts should count
    kind: direction
    texts: [Bob is bad film]
    change: {replace: {bad: good}}
    raise: pos
    by: 0.5
"""


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """The folder of a run and its cache; of its rows the name alone tells the label, and the tokenizer knows names as they are
    written."""
    import keras
    import keras_hub

    folder = tmp_path_factory.mktemp("biased")
    keras.utils.set_random_seed(7)
    backbone = keras_hub.models.BertBackbone(vocabulary_size=len(WORDS), num_layers=1, num_heads=2, hidden_dim=8,
                                             intermediate_dim=16, dropout=0.0, max_sequence_length=32)
    backbone.save_to_preset(str(folder / "preset"))
    keras_hub.models.BertTokenizer(vocabulary=WORDS, lowercase=False).save_to_preset(str(folder / "preset"))
    draw = random.Random(0)
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(240):
            name = draw.choice(["Ann", "Bob"])
            rest = [draw.choice(WORDS[7:]) for _ in range(draw.randrange(3, 6))]
            writer.writerow([" ".join([name, *rest]), "pos" if name == "Ann" else "neg"])
    (folder / "names.csv").write_text("Ann,Bob\n")
    (folder / "others.csv").write_text("# male,female\nhe,she\n")
    (folder / "tests.yaml").write_text(SUITE)
    cache = str(folder / "cache")
    commands.run([*commands.arguments(str(folder / "preset"), str(folder / "rows.csv"), folder / "run"),
                  "--config.train.peak_learning_rate=0.03", "--config.train.epochs=6", "--config.data.test=20%"], cache)
    return folder, cache


def test_a_name_that_decides_is_found(biased):
    folder, cache = biased
    out, _ = commands.run(["evaluate", f"--workdir={folder}/run", f"--tests={folder}/tests.yaml", "--rows=30",
                           f"--swap={folder}/names.csv"], cache, code=1)
    assert "failed: names, what counts should count" in out and "Ann / Bob" in out
    report = json.loads((folder / "run" / "behaviour.json").read_text())
    praise, names, counts = report["tests"]
    assert praise["passed"] and praise["cases"] == 2 and (names["cases"], names["failed"]) == (20, 20)
    assert not counts["passed"] and names["examples"][0]["change"] == "swap Ann / Bob"
    flips, = report["swap"]["columns"]
    assert (report["swap"]["asked"], flips["rows"], flips["flipped"]) == (30, 30, 30) and report["split"] == "test"
    one = flips["examples"][0]
    assert one["asked"].replace("Ann", "Bob") == one["changed"].replace("Ann", "Bob") and one["before"] != one["answer"]


def test_words_that_tell_nothing_flip_nothing_and_the_case_that_counts_is_found(biased):
    folder, cache = biased
    out, _ = commands.run(["evaluate", f"--workdir={folder}/run", f"--swap={folder}/others.csv", "--robustness",
                           f"--output={folder}/noise.json"], cache)
    report = json.loads((folder / "noise.json").read_text())
    flips, = report["swap"]["columns"]
    assert flips["pair"] == "male / female" and flips["rows"] > 20 and not flips["flipped"]
    noise = {(one["noise"], one["strength"]): one for one in report["robustness"]["noise"]}
    clean = report["robustness"]["metrics"]["accuracy"]
    assert len(noise) == 10 and clean > 0.95 and "lower" in out
    assert noise["case", "lower"]["metrics"]["accuracy"] < 0.7 > noise["case", "upper"]["metrics"]["accuracy"]
    assert noise["punctuation", "100%"]["changed"] == 0 and noise["punctuation", "100%"]["metrics"]["accuracy"] == clean
    assert noise["case", "lower"]["changed"] == report["robustness"]["rows"] == noise["typos", "15%"]["changed"]


def test_where_no_noise_leaves_a_right_answer_it_is_told(biased, monkeypatch):
    monkeypatch.setattr(robustness, "NOISES", ())
    with pytest.raises(UserError, match="--robustness: what config.task.name=text_classification is judged by changes"):
        robustness.measure(open_run(biased[0] / "run"), "test", 8, 0, Console())
    with pytest.raises(UserError, match="The run has no dev split: name another --split"):
        robustness.measure(open_run(biased[0] / "run"), "dev", 8, 0, Console())


@pytest.mark.parametrize("arguments, message", [
    (["--tests={folder}/absent.yaml"], "absent.yaml cannot be read"),
    (["--swap={folder}/absent.csv"], "absent.csv cannot be read"),
    (["--tests={folder}/two.yaml"], "two.yaml, line 4: Unknown field 'question'. Did you mean"),
    (["--robustness", "--data=csv:x.csv"], "go with the run's own rows (--split)"),
    (["--robustness", "--protected=age"], "run tfft evaluate once for each"),
    (["--robustness", "--server=http://localhost:1/x"], "Name one run, --workdir=runs/imdb, or with --tests a served model")])
def test_mistakes_are_told_before_tensorflow_is_loaded(biased, arguments, message):
    folder, cache = biased
    (folder / "two.yaml").write_text(
        "tests:\n  - name: n\n    kind: minimum\n    texts: [{question: a}]\n    expect: {label: x}\n")
    given = [one.format(folder=folder) for one in arguments]
    _, error = commands.run(["evaluate", f"--workdir={folder}/run", *given], cache, code=2)
    assert message.rpartition(" Did")[0] in error and "loading TensorFlow" not in error


def test_words_and_spans_keep_their_tags():
    words = {"text": ["Ann", "saw", "Paris", "."], "tags": ("B-P", "O", "B-L", "O")}
    made = disturbed(words, "typos", 1, 0)
    assert made["tags"] == words["tags"] and len(made["text"]) == 4 and made["text"] != words["text"] and made["text"][3] == "."
    assert disturbed(words, "words", 1, 0) is None
    text = {"text": "Ann saw Paris.", "spans": [(0, 3, "P"), (8, 13, "L")]}
    for seed in range(20):
        made = disturbed(text, "typos", 1, seed)
        person, saw, place = made["text"].rstrip(".").split()
        assert [made["text"][start:end] for start, end, _ in made["spans"]] == [person, place] and saw != "saw"


def test_of_conversations_what_the_user_says_is_changed():
    row = {"prompt": "", "messages": (Message("user", "say hello"), Message("assistant", "hello"))}
    made = disturbed_prompt(row, "upper", 1, 0)["messages"]
    assert [one.content for one in made] == ["SAY HELLO", "hello"]
    assert disturbed_prompt({"prompt": "say it", "response": "it"}, "upper", 1, 0) == {"prompt": "SAY IT", "response": "it"}
    assert disturbed_prompt({"prompt": "a plain text"}, "upper", 1, 0) is None and changed("a", "upper", 1, 0) == "A"
