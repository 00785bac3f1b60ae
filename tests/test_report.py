"""The report of a run: a page of its own, whatever the rows hold; slices by any column; a biased slice is found."""

import csv
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT
from playwright.sync_api import sync_playwright
from projecting import Projector
from tiny_run import make_run

from tfft.checks.findings import Example, Finding, Findings
from tfft.config import shipped
from tfft.errors import UserError
from tfft.evaluation.slices import compare, grouped
from tfft.explaining import mistakes as explaining
from tfft.pages import about, chances
from tfft.pages.html import Markup, markup, shown, table, tag
from tfft.pages.report import Found, report_page
from tfft.run import report as module
from tfft.tasks import base
from tfft.tasks.base import Chances, Evidence, Report

XSS = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
VOID = {"meta", "img", "br"}


class Checked(HTMLParser):
    """Tags in order: every one is closed, and none could load or run anything."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.titles, self.text = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        assert name not in ("script", "img", "link", "iframe", "object", "embed", "base", "form"), name
        for key, value in attributes:
            assert not key.startswith("on") and key not in ("src", "srcset"), (name, key)
            assert key != "style" or re.fullmatch(r"--share:[01](\.\d{3})?", value), value
            assert key != "href" or value.startswith("#"), value
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)
        if self.open[-1:] == ["h2"]:
            self.titles.append(data)


def evidence_of(right: np.ndarray, chances: Chances | None = None) -> Evidence:
    return Evidence(np.arange(len(right)), right, "accuracy", lambda places: {"accuracy": float(right[places].mean())},
                    lambda i: "right", lambda i: "given", chances=chances)


# ---- pieces

def test_numbers_and_texts_are_shown():
    assert [shown(value) for value in (1234, 0.12345, 3.2e-5, 0.0, float("nan"), 12345.678, None, True)] == [
        "1,234", "0.1235", "3.2e-05", "0", "nan", "12,345.7", "", "True"]
    assert markup("a < b & \x00\ud800") == "a &lt; b &amp; \ufffd?" and markup(Markup("<b>")) == "<b>"
    assert tag("p", "x", [Markup("<b>y</b>"), 3], class_="a\"b", title=None) == '<p class="a&quot;b">x<b>y</b>3</p>'
    assert table(("a",), []) == "" and 'class="number"' in table(("a",), [(1,), ("",)])


# ---- slices

def test_values_of_a_column_are_groups():
    made = grouped(["a", "b", "a", "", "c", "a"])
    assert {title: places.tolist() for title, places in made} == {"a": [0, 2, 5], "(nothing)": [3], "b": [1], "c": [4]}
    many = grouped([f"user {i % 30}" for i in range(90)] + ["often"] * 5)
    assert len(many) == 21 and many[0][0] == "often" and many[-1][0] == "(11 other values)"
    assert sum(len(places) for _, places in many) == 95
    numbers = grouped([str(i) for i in range(100)] + [""])
    assert [title for title, _ in numbers] == ["0 to 25", "26 to 50", "51 to 75", "76 to 99", "(nothing)"]


def test_of_many_slices_without_a_difference_hardly_one_is_called_worse():
    told = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        right = (draw.random(600) < 0.8).astype(float)
        made = compare(evidence_of(right), grouped([str(value) for value in draw.integers(8, size=600)]), "accuracy", False)
        told += sum(one.verdict in ("worse", "better") for one in made)
        assert all(one.interval.low <= one.value <= one.interval.high for one in made)
    assert told <= 3


@pytest.mark.parametrize("lower", [False, True])
def test_a_slice_is_compared_with_the_rest(lower):
    right = np.ones(400)
    right[:40:2] = 0
    places = [("bad", np.arange(40)), ("good", np.arange(40, 393)), ("few", np.arange(393, 400))]
    bad, good, few = compare(evidence_of(right), places, "accuracy", lower)
    assert (bad.verdict, good.verdict, few.verdict) == (("better", "worse") if lower else ("worse", "better")) + ("few",)
    assert bad.value == 0.5 and bad.rest == 1 and bad.rows == 40 and bad.interval.high < 0.7


# ---- what probabilities say

def test_confusion_calibration_and_thresholds_by_hand():
    found = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]], np.float32)
    right = np.array([0, 1, 0, 1, 1], np.int32)
    cut = chances.Cut(found[:, 1], right == 1)
    assert cut.at == pytest.approx([1, 0.75, 0.65, 0.4, 0.15, 0.05])
    assert cut.precision == pytest.approx([0, 1, 1, 2 / 3, 3 / 4, 3 / 5]) and cut.recall[-1] == 1
    assert cut.cost(1, 1).tolist() == [3, 2, 1, 2, 1, 2] and cut.cost(5, 1).argmin() == 2 and cut.cost(1, 5).argmin() == 4
    assert [cut.place(t) for t in (0.99, 0.7, 0.5, 0.0)] == [0, 1, 2, 5]
    made = Chances(("neg", "pos"), right, found)
    for part in (chances.confusion(made), chances.calibration(made), chances.thresholds(made)):
        Checked(part)
    error = (abs(0.9 - 1) + abs(0.8 - 0) + abs(0.6 - 0) + abs(0.7 - 1) + abs(0.8 - 1)) / 5
    told = float(re.search(r"calibration error: ([\d.]+)", chances.calibration(made))[1])
    assert told == pytest.approx((0.1 + abs(0.8 + 0.8 - 1) + 0.6 + 0.3) / 5, abs=1e-4) and told < error
    assert "right neg, answer pos: 1 (50.0% of the row)" in chances.confusion(made)


@pytest.mark.parametrize("several, number", [(False, 2), (False, 5), (False, 30), (True, 3)])
def test_calibration_error_is_that_of_the_calibrate_command(several, number):
    from tfft.tasks.text_classification.calibration import calibration_error

    draw = np.random.default_rng(number)
    found = draw.dirichlet(np.ones(number), 200).astype(np.float32)
    right = (draw.random((200, number)) < found).astype(np.float32) if several else draw.integers(number, size=200)
    made = Chances(tuple(f"label {i}" for i in range(number)), right, found, np.full(number, 0.5) if several else None)
    told = float(re.search(r"calibration error: ([\d.]+)", chances.calibration(made))[1])
    assert told == pytest.approx(calibration_error("multi_label" if several else "single_label", found, right), abs=1e-4)
    assert bool(chances.confusion(made)) != several and "best" in chances.thresholds(made)
    Checked(markup([chances.confusion(made), chances.thresholds(made)]))


# ---- the page

def test_everything_is_escaped():
    found = np.array([[0.9, 0.1], [0.2, 0.8]] * 10, np.float32)
    right = np.array([0, 1, 0, 0] * 5, np.int32)
    evidence = evidence_of((found.argmax(axis=1) == right).astype(float), Chances((XSS, f"{XSS}2"), right, found))
    report = Report({"accuracy": 0.5, XSS: 0.1}, 20, mistakes=[(XSS, XSS, XSS, XSS)], evidence=evidence,
                    by_source={XSS: {"rows": 1, "metrics": {}}},
                    details={"answers": [dict.fromkeys(("row", "prompt", "response", "answer"), XSS)]})
    groups = [(XSS, np.arange(10)), (f"{XSS}2", np.arange(10, 20))]
    finding = Finding("leak", "error", XSS, 1, 2, (Example(XSS, XSS, XSS),), XSS)
    page = report_page(Found(
        XSS, [XSS], "accuracy", report, XSS, "accuracy", {XSS: compare(evidence, groups, "accuracy", False)},
        [{"kind": "validation", "step": 3, "accuracy": 0.5, XSS: 0.5, f"{XSS}/accuracy": 1.0}],
        Findings({XSS: 3}, (finding,), {"what": XSS, "counts": {XSS: {XSS: 1}}}), XSS, [(XSS, XSS, XSS)],
        {"tfft": XSS, "packages": {XSS: XSS}}, {XSS: Markup("<b>why</b>")}))
    made = Checked(page)
    assert made.titles == ["How good", "Slices", "Confusion", "Calibration", "Thresholds", "Mistakes", "Sample answers",
                           "Training", "Data", "Settings and versions"]
    assert "<b>why</b>" in page and page.count("&lt;script&gt;") > 20


def test_curves_of_a_run_of_a_mixture():
    points = [{"kind": "train", "step": 5, "loss": 0.5, "learning_rate": 1e-4}, {"kind": "train", "step": 9, "loss": 0.4},
              {"kind": "validation", "step": 9, "epoch": 1, "best": True, "loss": 0.6, "accuracy": 0.7, "a/accuracy": 0.6}]
    made = about.curves(points, "accuracy")
    Checked(made)
    assert re.findall(r"<figcaption><b>(.*?)</b>", made) == ["Loss", "Learning rate", "accuracy", "accuracy by source"]
    assert "that of step 9" in made and about.curves([], "accuracy") == ""


# ---- of a run

SHOPS = {"north": ("good", "bad"), "south": ("fine", "poor"), "east": ("good", "poor")}


def write_shops(path, count: int, flipped: str) -> None:
    """Texts of three shops, whose words are good and bad; the labels of one shop are flipped."""
    draw = np.random.default_rng(count)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "shop"])
        for i in range(count):
            shop, good = list(SHOPS)[i % 3], bool(draw.integers(2))
            text = f"{SHOPS[shop][not good]} {' '.join(['film'] * draw.integers(1, 9))}"
            writer.writerow([text, "pos" if good != (shop == flipped) else "neg", shop])


def main(folder: Path, preset: str) -> None:
    import tfft

    write_shops(folder / "train.csv", 300, "south")
    write_shops(folder / "judged.csv", 150, "")
    config = shipped.load(f"{ROOT}/configs/my_csv.py:{folder}/train.csv")
    config.data.validation, config.data.max_length, config.data.cache = f"csv:{folder}/judged.csv", 16, str(folder / "cache")
    config.model.backbone, config.model.dropout = preset, 0.0
    config.eval.projector, explaining.SECONDS = 40, 600  # all five mistakes are explained on a busy machine too
    config.train.epochs, config.train.peak_learning_rate = 4, 0.02
    tfft.fine_tune(config, str(folder / "run"))
    (folder / "run/report.html").rename(folder / "trained.html")
    module.report_run(str(folder / "run"), data="", split="", weights="", columns=("shop",), output="")


@pytest.fixture(scope="module")
def shops(tiny_preset, tmp_path_factory):
    """The folder of a run that learnt one shop's labels the wrong way round."""
    folder = tmp_path_factory.mktemp("biased")
    made = subprocess.run([sys.executable, __file__, str(folder), tiny_preset], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/tests"})
    assert made.returncode == 0, made.stderr[-3000:]
    assert "report: " in made.stderr and "made in" in made.stderr
    return folder


@pytest.fixture(scope="module")
def biased(shops):
    """(the page that the training left, that of tfft report)"""
    return (shops / "trained.html").read_text(), (shops / "run/report.html").read_text()


def rows_of(page: str, title: str) -> dict[str, list[str]]:
    """The lines of the table under a heading, by their first cell."""
    part = page.partition(f"<h3>{title}</h3>")[2].partition("</table>")[0]
    lines = [[re.sub("<title>.*?</title>|<[^>]*>", "", cell) for cell in re.findall("<td.*?>(.*?)</td>", line)]
             for line in part.split("<tr>")]
    return {line[0]: line[1:] for line in lines if line}


@pytest.mark.slow
def test_a_biased_slice_is_found(biased):
    trained, page = biased
    found = rows_of(page, "By shop")
    assert found.keys() == SHOPS.keys() and "By shop" not in trained
    assert found["south"][-1] == "worse than the rest" and float(found["south"][1]) < 0.6
    assert "worse" not in found["north"][-1] + found["east"][-1] and float(found["north"][1]) > 0.9
    assert {line[-1] for line in rows_of(page, "By length").values()} <= {"", "too few rows to tell"}


def explained(page: str) -> list[tuple[str, str, str]]:
    """(text, its strongest word, whether that speaks for or against) of each explained mistake."""
    part = page.partition("<h2>Mistakes</h2>")[2].partition("</section>")[0]
    texts = re.findall('<p class="text">(.*?)</p>', part)
    strongest = [re.search('<mark class="(for|against)" style="--share:1.000"[^>]*>(.*?)</mark>', text) for text in texts]
    return [(re.sub("<[^>]*>", "", text), found[2], found[1]) for text, found in zip(texts, strongest, strict=True)]


@pytest.mark.slow
def test_the_words_that_make_the_mistakes_are_shown(biased):
    """The shop whose labels were flipped has words that speak for the wrong label; "film" is in all texts and says nothing."""
    for page in biased:
        found = explained(page)
        assert len(found) == 5 and page.count("log odds") == 5
        for text, word, side in found:
            assert word in SHOPS["south"] and word == text.split()[0] and side == "for"
    assert "mark.for" in biased[0] and "Why it answers so" in biased[0]


@pytest.mark.slow
def test_the_page_that_training_leaves(biased):
    titles = ["How good", "Slices", "Details", "Confusion", "Calibration", "Thresholds", "Mistakes", "Training", "Data",
              "Settings and versions"]
    for page in biased:
        made = Checked(page)
        assert made.titles == titles
        text = " ".join(made.text)
        assert "accuracy beside simple methods: " in text and "train 300, validation 150" in text and "duplicate" in text
        assert "train.peak_learning_rate 0.02" in " ".join(text.split()) and "judged.csv:" in text
    assert len(biased[1]) < 200_000


@pytest.mark.slow
def test_the_vectors_of_judged_rows_are_there_for_tensorboard(shops):
    found = Projector(shops / "run/tensorboard")
    assert found.runs() == ["validation"] and "projector: the vectors of 40 rows in" in (shops / "run/train.log").read_text()
    config, = found.config("validation")["embeddings"]
    assert config["tensorName"] == "run" and config["tensorShape"][0] == 40
    vectors, rows = found.tensor("validation", "run"), found.rows("validation", "run")
    assert len(rows) == len(vectors) == 40 and rows[0].keys() == {"right", "answer", "accuracy", "text", "place"}
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    written = {f"judged.csv:{line}": row for line, row in enumerate(csv.DictReader(open(shops / "judged.csv")), 2)}  # noqa: SIM115
    for row in rows:
        here = written[row["place"].rpartition("/")[2]]
        assert (row["text"], row["right"]) == (here["text"], here["label"])
        assert (row["accuracy"] == "1") == (row["answer"].split()[0] == row["right"])
    cosines = vectors @ vectors.T  # the head tells them apart by these vectors
    answers = np.array([row["answer"].split()[0] for row in rows])
    alike = answers[:, None] == answers
    assert cosines[alike].mean() > cosines[~alike].mean() + 0.2


@pytest.mark.slow
def test_in_a_browser_light_and_dark_wide_and_narrow(biased, tmp_path):
    if (path := shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")) is None:
        pytest.skip("there is no Chromium on this machine (.ci/run installs one)")
    (tmp_path / "page.html").write_text(biased[1])
    asked, papers, marks = [], set(), set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        for scheme, width in (("light", 1100), ("dark", 360)):
            with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
                tab = context.new_page()
                tab.on("request", lambda request: asked.append(request.url))
                tab.goto(f"file://{tmp_path}/page.html")
                assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing runs over the edge
                papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
                assert tab.locator("section:has(h2)").count() == len(Checked(biased[1]).titles)
                assert tab.locator("svg").evaluate_all("all => all.every(one => one.getBoundingClientRect().height > 10)")
                marks.add(tab.locator("td mark.for").first.evaluate("one => getComputedStyle(one).backgroundColor"))
        browser.close()
    assert set(asked) == {f"file://{tmp_path}/page.html"} and len(papers) == 2
    assert len(marks) == 2 and all(mark.startswith("rgba(") and not mark.endswith(" 0)") for mark in marks)


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("report") / "run", where="source=imdb", id_column="number")


@pytest.fixture
def report(run, monkeypatch):
    """report(...) writes the page of the run; gives its text."""
    monkeypatch.setattr(module, "open_run", lambda *_: run)
    monkeypatch.setattr(explaining, "SECONDS", 600)

    def report(data="", split="", columns=(), output=""):
        module.report_run(str(run.workdir.path), data=data, split=split, weights="", columns=columns, output=output)
        return Path(output or run.workdir.path / "report.html").read_text()

    return report


def test_of_other_rows_and_wrong_columns(report, tmp_path):
    write_shops(tmp_path / "more.csv", 30, "east")
    page = report(f"csv:{tmp_path}/more.csv", columns=("shop", "label"), output=str(tmp_path / "new/page.html"))
    assert rows_of(page, "By shop").keys() == SHOPS.keys() and rows_of(page, "By label").keys() == {"pos", "neg"}
    assert "Of only 30 rows" in page and "30 rows, by the weights of step 7" in page
    with pytest.raises(UserError, match="--slice=shopp: Unknown column 'shopp'. Did you mean 'shop'"):
        report(f"csv:{tmp_path}/more.csv", columns=("shopp",), output=str(tmp_path / "page.html"))


def test_evaluate_writes_a_page_and_no_error_of_it_stops_anything(run, monkeypatch, tmp_path, capsys):
    from tfft.run import judge as judging

    monkeypatch.setattr(judging, "open_run", lambda *_: run)
    write_shops(tmp_path / "more.csv", 30, "")
    asked = {"data": f"csv:{tmp_path}/more.csv", "split": "", "weights": "", "output": str(tmp_path / "more.json"),
             "page": module.beside}
    judging.judge(str(run.workdir.path), **asked)
    assert (tmp_path / "more.html").read_text() == (run.workdir.path / "report.html").read_text() and "By length" in (
        tmp_path / "more.html").read_text()
    (tmp_path / "more.html").unlink()
    monkeypatch.setattr(module, "page", lambda *_: 1 / 0)
    judging.judge(str(run.workdir.path), **asked)
    assert "the report could not be made (ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "more.html").exists() and (tmp_path / "more.json").exists()


def test_a_run_without_rows_to_judge(report, run, monkeypatch):
    split = dataclasses.replace(run.experiment.data, validation="")
    alone = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, data=split))
    monkeypatch.setattr(module, "open_run", lambda *_: alone)
    monkeypatch.setattr(module.Workdir, "experiment", lambda self: alone.experiment)
    page = report()
    assert "No rows were judged" in page and Checked(page).titles == ["Data", "Settings and versions"]


def test_a_report_without_explanations_is_whole(report, run, monkeypatch, tmp_path, capsys):
    """Of none, of a task that cannot be explained, of one whose explanation fails."""
    write_shops(tmp_path / "more.csv", 30, "east")

    def made(**changed) -> str:
        other = dataclasses.replace(run, **changed)
        monkeypatch.setattr(module, "open_run", lambda *_: other)
        monkeypatch.setattr(module.Workdir, "experiment", lambda self: other.experiment)
        return report(f"csv:{tmp_path}/more.csv", output=str(tmp_path / "page.html"))

    two = dataclasses.replace(run.experiment, eval=dataclasses.replace(run.experiment.eval, explained=2))
    assert made(experiment=two).count('class="text"') == 2
    none = dataclasses.replace(run.experiment, eval=dataclasses.replace(run.experiment.eval, explained=0))
    refuses = type("Refuses", (type(run.task),), {"explained": base.Task.explained})(run.task.settings, run.task.labels)
    for changed in ({"experiment": none}, {"task": refuses}):
        assert "<mark" not in (page := made(**changed)) and "<h2>Mistakes</h2>" in page and "mark.for" not in page
    assert "not explained" not in capsys.readouterr().err
    fails = type("Fails", (type(run.task),), {"explained": lambda *_: 1 / 0})(run.task.settings, run.task.labels)
    assert "<mark" not in (page := made(task=fails)) and "<h2>Mistakes</h2>" in page
    assert "the mistakes in the report are not explained (ZeroDivisionError" in capsys.readouterr().err


def test_findings_are_read_again():
    finding = Finding("leak", "error", "what", 1, 2, (Example("a", "b"),), "do", {"x": 1})
    made = Findings({"train": 3}, (finding,), {"what": "w"}, {"simple": {"accuracy": 0.5}}, "validation", ("told",))
    assert Findings.from_json(made.to_json()) == made


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
