"""The signatures of every problem, what is refused, and what a failed export leaves behind. Whole exports: test_commands.py."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tiny_run import make_run

from tfft.errors import UserError
from tfft.serving import export as module
from tfft.serving import prove as gate
from tfft.serving.export import export, publish
from tfft.serving.prediction import Predictor
from tfft.serving.prove import check_ops, make_batches
from tfft.serving.saved_model import ServedModel
from tfft.tasks.base import NASTY
from tfft.tasks.text_classification.calibration import Calibration
from tfft.tasks.text_classification.serving import scaled_thresholds

TEXTS = ["good film", "bad", "", "a fine film, the good film"]
ROWS = [{"text": text} for text in TEXTS]


@pytest.fixture(scope="module", autouse=True)
def exports_are_proven_in_forks():
    """Not here: in processes of their own."""


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def opened(run, monkeypatch):
    monkeypatch.setattr(module, "open_run", lambda *_: run)
    return run


def serve(served: ServedModel, texts: list[str]) -> dict[str, tf.Tensor]:
    return served.signatures["serving_default"](text=tf.constant(texts))


def example(**texts) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature={
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])) for name, text in texts.items()
    })).SerializeToString()


# ---- signatures


def test_one_label(run):
    made = serve(ServedModel(run), TEXTS)
    expected = Predictor(run)(ROWS)["scores"]
    np.testing.assert_allclose(made["scores"], expected, atol=1e-6)
    assert made["label"].numpy().tolist() == [(b"neg", b"pos")[k] for k in expected.argmax(axis=1)]
    assert made["label_names"].numpy().tolist() == [[b"neg", b"pos"]] * 4 and set(made) == {"scores", "label", "label_names"}


@pytest.mark.parametrize("problem, second", [("single_label", "classify"), ("multi_label", "classify"),
                                             ("regression", "regress")])
def test_all_signatures_agree(tiny_preset, tmp_path, problem, second):
    run = make_run(tiny_preset, tmp_path / "run", problem)
    served = ServedModel(run)
    assert list(served.signatures) == ["serving_default", "tokens", second]
    plain = serve(served, TEXTS)
    ids = gate._token_ids(Predictor(run), run, ROWS)
    tokens = served.signatures["tokens"](**{name: tf.constant(rows, tf.int32) for name, rows in ids.items()})
    assert plain.keys() == tokens.keys()
    for name in plain:
        assert plain[name].numpy().tolist() == tokens[name].numpy().tolist()
    other = served.signatures[second](inputs=tf.constant([example(text=text) for text in TEXTS]))
    if problem == "regression":
        np.testing.assert_array_equal(other["outputs"], plain["value"].numpy().astype(np.float32))
        assert other["outputs"].shape == [4]
    else:
        np.testing.assert_array_equal(other["scores"], plain["scores"])
        assert other["classes"].numpy().tolist() == plain["label_names"].numpy().tolist()


def test_pairs_take_two_texts(tiny_preset, tmp_path):
    run = make_run(tiny_preset, tmp_path / "run", text_pair_column="other")
    served = ServedModel(run)
    first, second = ["good film", "bad"], ["fine", "a poor film"]
    made = served.signatures["serving_default"](text=tf.constant(first), text_pair=tf.constant(second))
    rows = [{"text": a, "text_pair": b} for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(made["scores"], Predictor(run)(rows)["scores"], atol=1e-6)
    examples = tf.constant([example(text=a, text_pair=b) for a, b in zip(first, second, strict=True)])
    np.testing.assert_array_equal(served.signatures["classify"](inputs=examples)["scores"], made["scores"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="text_pair"):
        served.signatures["classify"](inputs=tf.constant([example(text="alone")]))


@pytest.mark.parametrize("tuned, selected", [(None, 0.5), ({"thresholds": [0.0, 1.0]}, [0.0, 1.0])])
def test_labels_are_selected_by_the_same_thresholds_as_in_prediction(tiny_preset, tmp_path, tuned, selected):
    run = make_run(tiny_preset, tmp_path / "run", "multi_label", tuned)
    texts = ["good film", "bad", ""]
    made = serve(ServedModel(run), texts)
    assert made["selected"].numpy().tolist() == (made["scores"].numpy() >= selected).astype(int).tolist()
    answers = [",".join(a["predicted_labels"]) for a, _ in Predictor(run).answers([{"text": text} for text in texts])]
    assert [label.decode() for label in made["label"].numpy()] == answers


# ---- calibration


def test_temperature_and_abstaining_are_in_the_graph(run):
    warmed = Predictor(run, calibration=Calibration(7, 9, 3.0, 0.2, 0.1))
    cold, warm = Predictor(run)(ROWS)["scores"], warmed(ROWS)["scores"]
    between = float(np.sort(warm.max(axis=1))[1:3].mean())
    calibration = Calibration(7, 9, 3.0, 0.2, 0.1, between, 0.9, 0.5)
    made = serve(ServedModel(run, calibration=calibration), TEXTS)
    np.testing.assert_allclose(made["scores"], warm, atol=1e-6)
    assert np.abs(cold - warm).max() > 0.01
    withheld = warm.max(axis=1) < between
    assert made["abstained"].numpy().tolist() == withheld.astype(int).tolist() and withheld.sum() == 2
    assert [label == b"" for label in made["label"].numpy()] == withheld.tolist()
    expected = Predictor(run, calibration=calibration)(ROWS)  # what the gate compares with
    assert expected["abstained"].tolist() == withheld.tolist() and expected["label"].tolist() == made["label"].numpy().tolist()


def test_thresholds_move_with_the_temperature():
    logits = np.array([-4.0, -1.0, 0.0, 2.0])
    thresholds = 1 / (1 + np.exp(-np.array([-2.0, 1.0])))
    for index, threshold in enumerate(thresholds):
        before = 1 / (1 + np.exp(-logits)) >= threshold
        after = 1 / (1 + np.exp(-logits / 2.5)) >= scaled_thresholds(thresholds, 2.5).numpy()[index]
        assert before.tolist() == after.tolist()
    assert scaled_thresholds(np.array([0.0, 1.0]), 2.0).numpy().tolist() == [0.0, 1.0]


def test_only_the_calibration_of_these_weights_is_baked_in(opened, tmp_path):
    with pytest.raises(UserError, match="--calibrated: this run was not calibrated yet: python -m tfft.calibrate --workdir="):
        export("run", str(tmp_path / "out"), "", calibrated=True)
    opened.workdir.calibration.write_text(Calibration(6, 9, 3.0, 0.2, 0.1).to_json())
    try:
        with pytest.raises(UserError, match="is of the weights of step 6, these are of step 7. Run again"):
            export("run", str(tmp_path / "out"), "", calibrated=True)
    finally:
        opened.workdir.calibration.unlink()


# ---- dtypes


@pytest.mark.parametrize("dtype, error", [("bfloat16", 0.05), ("float16", 0.005)])
def test_half_precision_halves_the_matrices_and_answers_in_float32(run, dtype, error):
    served = ServedModel(run, dtype)
    kinds = {str(kept.dtype.name) for kept in served.weights.kept.values() if len(kept.shape) > 1}
    assert kinds == {dtype}
    assert all(kept.dtype.name != dtype for kept in served.weights.kept.values() if len(kept.shape) < 2)
    made = serve(served, TEXTS)
    difference = np.abs(made["scores"].numpy() - Predictor(run)(ROWS)["scores"]).max()
    assert made["scores"].dtype == tf.float32 and 0 < difference < error
    # a table's rows are taken before they are cast: no cast has the table's shape
    graph = served.signatures["serving_default"].graph
    bodies = [graph, *(graph._get_function(name).graph for name in graph._functions)]
    cast = {tuple(op.outputs[0].shape) for body in bodies for op in body.get_operations() if op.type == "Cast"
            and op.outputs[0].shape.rank}
    assert (8, 24) in cast and (15, 8) not in cast  # the joined kernel of query, key and value; the table of 15 words


# ---- the gates


def test_batches_hold_every_row_alone_and_mixed():
    batches = make_batches(5, 40, (1, 2, 7, 32))
    assert sorted(row for batch in batches if len(batch) == 1 for row in batch) == sorted([*range(40), 4])  # 4: 5 is odd
    assert len({row for batch in batches if len(batch) == 7 for row in batch}) == 35
    assert [batch for batch in batches if len(batch) == 2][:2] == [[0, 1], [2, 3]]  # nasty ones among themselves
    assert {row for batch in batches if len(batch) == 32 for row in batch} == set(range(40))
    assert len(batches[-1]) == 32


def test_ops_that_servers_lack_are_named():
    check_ops({"core": ["MatMul"], "text": ["TFText>Tokenize"], "unknown": []})
    with pytest.raises(UserError, match="ops that TensorFlow Serving lacks: Mine, PyFunc. Only those"):
        check_ops({"core": ["MatMul", "PyFunc"], "text": [], "unknown": ["Mine"]})


class Answers:
    """Stands for the proving process: the trained model's own answers, and what a test changes in them."""

    def __init__(self, run):
        self.right = Predictor(run)([{"text": text} for text in NASTY])["scores"]
        self.questions, self.change = [], lambda values: values
        self.ops = {"core": ["MatMul"], "text": [], "unknown": []}

    def __call__(self, question):
        self.questions.append(question)
        made = [{"scores": self.change(self.right[rows].copy()).tolist()} for rows in question["batches"]]
        reference = {"scores": self.right[question["reference"]].tolist()}
        return {"ops": self.ops, "batches": made,
                "signatures": dict.fromkeys(("serving_default", "tokens", "classify"), reference)}


@pytest.fixture
def asked(opened, monkeypatch):
    answers = Answers(opened)
    monkeypatch.setattr(gate, "_ask", answers)
    monkeypatch.setattr(ServedModel, "save", lambda served, folder: folder.mkdir())
    return answers


def shifted(by):
    def change(values):
        values[0, 0] += by
        return values
    return change


@pytest.mark.parametrize("error", [0.01, np.nan, np.inf])
def test_a_wrong_answer_leaves_nothing_and_shows_the_worst_rows(asked, tmp_path, error, capsys):
    asked.change = shifted(error)
    with pytest.raises(UserError, match=r"(?s)answers otherwise than the trained model on \d+ of 28 texts "
                                        r"\(allowed: 0.0001\):\n  .* in a batch of \d+: by .* instead of \[.*\]\n"
                                        "Nothing was published") as told:
        export("run", str(tmp_path / "out"), "")
    assert str(told.value).count("in a batch of") == 5
    assert not list((tmp_path / "out").iterdir())


def test_a_strange_op_leaves_nothing(asked, tmp_path):
    asked.ops["unknown"] = ["Mine"]
    with pytest.raises(UserError, match="TensorFlow Serving lacks: Mine"):
        export("run", str(tmp_path / "out"), "")
    assert not list((tmp_path / "out").iterdir())


def test_what_lies_beside_the_model(asked, run, tmp_path, capsys):
    for version in ("1", "2"):
        assert export("run", str(tmp_path / "imdb"), "") == 0
        out, error = capsys.readouterr()
        assert f"the weights of step 7 to {tmp_path}/imdb/{version}" in out and "largest difference" in out
        assert "the run's rows cannot be read" in error  # there is no train.csv: proven on the nasty texts alone
    folder = tmp_path / "imdb/2"
    card = (folder / "model_card.md").read_text()
    for part in ("# imdb", "one of 2 labels", "`neg`, `pos`", "train csv:train.csv", "No evaluation of these weights",
                 '"max_length": 16'):
        assert part in card, part
    schema = json.loads((folder / "signatures.json").read_text())["signatures"]
    assert set(schema) == {"serving_default", "tokens", "classify"} and schema["classify"]["method"] == "classify"
    assert schema["serving_default"]["outputs"]["scores"] == {"dtype": "float32", "shape": [None, 2]}
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in
            tf.data.TFRecordDataset(str(folder / "assets.extra/tf_serving_warmup_requests"))]
    sizes = (1, 2, 4, 8, 16, 32, 64, 128)
    asked_sizes = [len(log.predict_log.request.inputs["text"].string_val) for log in logs]
    assert sorted(set(asked_sizes)) == list(sizes) and len(logs) == 2 * len(sizes)  # 8 and 16 tokens
    texts = [log.predict_log.request.inputs["text"].string_val[0] for log in logs]
    assert {int(length) for length in Predictor(run).encode([{"text": text} for text in texts])[1]["full_length"]} == {8, 16}
    assert json.loads((folder / "assets.extra/page.json").read_text()) == {"fields": ["text"], "shows": "labels"}


def test_a_full_disk_is_told_and_leaves_nothing(opened, tmp_path, monkeypatch):
    def save(served, folder, signatures):
        tf.io.gfile.makedirs(folder)
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nmore")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(UserError, match="Cannot write the export in .*out: No space left on device.$"):
        export("run", str(tmp_path / "out"), "")
    assert not list((tmp_path / "out").iterdir())


def test_two_exports_that_end_at_once_get_two_versions(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text(name)
    assert publish(tmp_path / "a", tmp_path).name == "1"
    seen = [[], [tmp_path / "1"]]  # what the second one sees first was listed before the first one came
    monkeypatch.setattr(type(tmp_path), "iterdir", lambda path: iter(seen.pop(0)))
    assert publish(tmp_path / "b", tmp_path).name == "2"
    assert (tmp_path / "1/saved_model.pb").read_text() == "a" and (tmp_path / "2/saved_model.pb").read_text() == "b"


# ---- the whole of it, in a process of its own


@pytest.mark.slow
@pytest.mark.parametrize("problem, dtype", [("single_label", "float32"), ("multi_label", "bfloat16"),
                                            ("regression", "float16")])
def test_the_proving_process_finds_the_export_right(tiny_preset, tmp_path, monkeypatch, capsys, problem, dtype):
    run = make_run(tiny_preset, tmp_path / "run", problem)
    monkeypatch.setattr(module, "open_run", lambda *_: run)
    found = {}
    monkeypatch.setattr(module, "prove", lambda *given: found.setdefault("proof", gate.prove(*given)))
    assert export("run", str(tmp_path / "out"), "", dtype) == 0
    proof = found["proof"]
    assert proof.rows == 28 and 0 < proof.largest <= proof.tolerance and "MatMul" in proof.core_ops
    assert {name.split(">")[0] for name in proof.text_ops} <= {"TFText"} | {n for n in proof.text_ops if ">" not in n}
    saved = [shape for name, shape in tf.train.list_variables(str(tmp_path / "out/1/variables/variables")) if shape]
    assert sum(map(np.prod, saved)) == run.model.count_params()  # each weight once
    model = saved_model_pb2.SavedModel.FromString((tmp_path / "out/1/saved_model.pb").read_bytes())
    methods = {name: signature.method_name for name, signature in model.meta_graphs[0].signature_def.items()}
    verb = "regress" if problem == "regression" else "classify"
    assert methods["serving_default"] == methods["tokens"] == "tensorflow/serving/predict"
    assert methods[verb] == f"tensorflow/serving/{verb}"


@pytest.mark.slow
def test_a_changed_weight_is_found(tiny_preset, tmp_path):
    run = make_run(tiny_preset, tmp_path / "run")
    served = ServedModel(run)
    served.save(tmp_path / "made")
    kernel = run.model.get_layer("head").kernel
    kernel.assign(kernel * 1.1)
    with pytest.raises(UserError, match="answers otherwise"):
        gate.prove(dataclasses.replace(run), tmp_path / "made", "float32", None, [])
