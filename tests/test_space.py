"""Spaces of settings: kinds, conditions, grids, what is refused."""

import pytest
from commands import ROOT

from tfft.config import MultiTask, resolve, resolve_any
from tfft.config.shipped import load
from tfft.config.space import assign, choice, grid, log, own_value, stored, uniform, when, whole, with_settings
from tfft.config.space_checks import check_space, of_file, parse, text_of, usual_space
from tfft.errors import UserError

VALUES = {"data": {"train": "csv:a.csv"}}
LORA = {"adaptation.rank": when("adaptation.method", "lora", choice(4, 8)), "adaptation.method": choice("none", "lora", "ia3")}


def test_grids():
    assert log(0.01, 1).grid == (0.01, 0.1, 1.0) and uniform(0, 1, points=5).grid == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert whole(0, 5, step=2).grid == (0, 2, 4) and choice("a", ("b", "c")).grid == ("a", ("b", "c"))


def test_what_a_kind_has():
    assert log(0.01, 1).has(0.5) and not log(0.01, 1).has(2) and not log(0.01, 1).has("a")
    assert whole(0, 5, step=2).has(4) and not whole(0, 5, step=2).has(5)
    assert choice((), ("query",)).has(["query"]) and not choice((), ("query",)).has("query")
    assert stored(("query",)) == '["query"]' and stored(0.5) == 0.5


def test_conditions_come_first_and_decide():
    e = resolve(VALUES)
    space = check_space(LORA, e)
    assert list(space) == ["adaptation.method", "adaptation.rank"]
    assert grid(space, e) == [{"adaptation.method": "none"}, {"adaptation.method": "lora", "adaptation.rank": 4},
                              {"adaptation.method": "lora", "adaptation.rank": 8}, {"adaptation.method": "ia3"}]
    last = assign(space, e, lambda name, kind: kind.grid[1])
    assert last == {"adaptation.method": "lora", "adaptation.rank": 8}


def test_a_condition_may_be_on_what_the_config_has():
    space = {"adaptation.rank": when("adaptation.method", ("lora", "dora"), choice(4, 8))}
    for method, wanted in (("none", [{}]), ("dora", [{"adaptation.rank": 4}, {"adaptation.rank": 8}])):
        e = resolve({**VALUES, "adaptation": {"method": method}})
        assert grid(check_space(space, e), e) == wanted


def test_conditions_within_conditions():
    e = resolve(VALUES)
    inner = when("adaptation.method", "lora", when("adaptation.rank", 8, choice(1.0, 2.0)))
    space = check_space({**LORA, "adaptation.alpha": inner}, e)
    assert [point.get("adaptation.alpha") for point in grid(space, e)] == [None, None, 1.0, 2.0, None]


def test_settings_of_a_source():
    values = {"data": {"sources": {"a": {"train": "csv:a.csv", "rate": 1.0}, "b": {"train": "csv:b.csv", "rate": 2.0}}}}
    e = resolve(values)
    assert check_space({"data.sources.b.rate": uniform(1, 4)}, e) and own_value(e, "data.sources.b.rate") == 2.0
    assert resolve(with_settings(values, {"data.sources.b.rate": 3.0})).data.sources["b"]["rate"] == 3.0
    assert values["data"]["sources"]["b"]["rate"] == 2.0
    with pytest.raises(UserError, match="Unknown source 'c'"):
        check_space({"data.sources.c.rate": uniform(1, 4)}, e)


@pytest.mark.parametrize("space, message", [
    ({"train.epoch": whole(1, 2)}, "The space has train.epoch: Unknown setting 'epoch'. Did you mean 'epochs'?"),
    ({"epochs": whole(1, 2)}, "There is train.epochs."),
    ({"tarin.epochs": whole(1, 2)}, "Unknown setting 'tarin'. Did you mean 'train'?"),
    ({"train.epochs.x": whole(1, 2)}, "config.train.epochs is a int, not a group."),
    ({"train": choice(1)}, "is a group of settings. Name one of them."),
    ({"train.epochs": uniform(1, 2)}, "The space of train.epochs, uniform(1, 2): config.train.epochs must be int, not float"),
    ({"train.epochs": whole(-1, 2)}, "config.train.epochs is -1; it must be at least 0."),
    ({"train.layer_decay": uniform(0.5, 2)}, "config.train.layer_decay is 2.0; it must be at most 1."),
    ({"train.epochs": whole(2, 2)}, "the first end must be below the second, by a step at least."),
    ({"train.epochs": whole(1, 4, step=5)}, "whole(1, 4, step=5): the first end must be below the second, by a step"),
    ({"train.epochs": whole("a", 2)}, "must have whole numbers as its ends."),
    ({"train.l2": log(0, 1)}, "must be below the second, and above 0."),
    ({"train.l2": 3}, "The space of train.l2 is 3, which is no kind of values. Kinds are log(1e-5,1e-3),"),
    ({"model.pooling": choice("cls", "maen")}, "Unknown value 'maen'. Did you mean 'mean'?"),
    ({"model.pooling": choice("cls", "cls")}, "must have values, each of them once."),
    ({"adaptation.rank": when("adaptation.method", "lara", choice(4))}, "The condition of adaptation.rank: config."
     "adaptation.method: Unknown value 'lara'."),
    ({"adaptation.rank": when("adaptation.metod", "lora", choice(4))}, "Did you mean 'method'?"),
    ({"train.l2": when("train.beta_1", 0.1, uniform(0, 1)), "train.beta_1": when("train.l2", 0.1, uniform(0, 0.5))},
     "The conditions of train.beta_1, train.l2 wait for each other."),
    ({"eval.metric": choice("loss", "accuracy")}, "decides what trials are judged by"),
    ({}, "The space is empty"),
])
def test_what_is_refused(space, message):
    with pytest.raises(UserError) as error:
        check_space(space, resolve(VALUES))
    assert message in str(error.value)


def test_spaces_of_the_command_line():
    made = parse(["train.peak_learning_rate=log(1e-5, 1e-3)", "model.pooling=choice(cls,'max')", "train.epochs=",
                  "train.l2=log(1e-5,1,points=4)", "adaptation.targets=choice((), (query,value))",
                  "train.deterministic=choice(true,false)",
                  "adaptation.rank=when(adaptation.method, lora, whole(4, 16, step=4))"])
    assert made == {"train.peak_learning_rate": log(1e-5, 1e-3), "model.pooling": choice("cls", "max"), "train.epochs": None,
                    "train.l2": log(1e-5, 1, 4), "adaptation.targets": choice((), ("query", "value")),
                    "train.deterministic": choice(True, False),
                    "adaptation.rank": when("adaptation.method", "lora", whole(4, 16, 4))}


@pytest.mark.parametrize("text", ["train.epochs", "train.epochs=who(1,2)", "train.epochs=whole(1", "train.epochs=whole()",
                                  "train.epochs=__import__('os')"])
def test_what_the_command_line_cannot_mean(text):
    with pytest.raises(UserError, match="Kinds are log|write NAME=KIND"):
        parse([text])


def test_a_config_file_declares_its_space(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config(variant=''):\n    pass\n")
    assert of_file(str(path)) is None
    path.write_text("from tfft.config.space import whole\n\n\ndef get_space():\n    return {'train.epochs': whole(1, 3)}\n")
    assert of_file(str(path)) == {"train.epochs": whole(1, 3)}
    path.write_text("def get_space():\n    return {'train.epochs': whole(1, 3)}\n")
    with pytest.raises(UserError, match="mine.py, line 2: NameError: name 'whole' is not defined"):
        of_file(str(path))
    path.write_text("def get_space():\n    return 3\n")
    with pytest.raises(UserError, match="must return kinds of values by names of settings"):
        of_file(str(path))


def test_every_config_has_a_usual_space_that_has_what_it_has_itself():
    checked = 0
    for path in sorted((ROOT / "configs").glob("*.py")):
        e = resolve_any(load(str(path)))
        if isinstance(e, MultiTask):
            continue
        space = check_space(usual_space(e), e)
        assert "train.peak_learning_rate" in text_of(space)
        assert all(kind.has(own_value(e, name)) for name, kind in space.items()), path
        checked += 1
    assert checked > 15
