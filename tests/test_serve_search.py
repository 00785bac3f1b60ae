"""Search through the server: a tiny embedder as it is exported, its index, REST, and the page in the system's Chromium."""

import pytest
from playwright.sync_api import Page, expect
from served import serving, settings
from test_search import make
from test_serve_page import chromium, page  # noqa: F401 - fixtures
from tiny_search import make_embedder, write_corpus

from tfft.errors import UserError
from tfft.run.workdir import open_run
from tfft.serving.saved_model import ServedModel
from tfft.serving.search.checks import indexes_of
from tfft.serving.search.find import Searcher, open_index
from tfft.vectors.folder import Index


@pytest.fixture(scope="module")
def folder(tiny_preset, tmp_path_factory):
    """With run/, the SavedModel search/1, and index/ of 30 documents."""
    folder = tmp_path_factory.mktemp("served")
    make_embedder(tiny_preset, folder / "run")
    write_corpus(folder / "c.jsonl", 30)
    make(folder / "run", folder / "c.jsonl", folder / "index", dimensions=4)
    ServedModel(open_run(folder / "run")).save(folder / "search" / "1")
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serving(settings(folder / "search", indexes={"search": Index(folder / "index")})) as served:
        yield served


def test_the_server_answers_as_the_run(folder, served):
    index, embedder, _ = open_index(folder / "index")
    searcher = Searcher(index, embedder, 3)
    status, made = served.ask("/v1/models/search:search", {"query": ["good film", "bad"], "k": 3})
    assert status == 200
    for hits, wanted in zip(made["results"], searcher(["good film", "bad"]), strict=True):
        assert [hit["id"] for hit in hits] == [index.id(hit.place) for hit in wanted]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in wanted], abs=1e-5)
        assert [hit["text"] for hit in hits] == [index.text(hit.place) for hit in wanted]
    status, one = served.ask("/v1/models/search/versions/1:search", {"query": "good film"})
    assert status == 200 and len(one["results"]) == 10
    assert [hit["id"] for hit in one["results"][:3]] == [hit["id"] for hit in made["results"][0]]
    _, listed = served.ask("/v1/models")
    assert listed["models"][0]["documents"] == 30


@pytest.mark.parametrize("path, body, status, wanted", [
    ("search", {}, 400, '"query" must be a text'), ("search", {"query": ["a", " "]}, 400, '"query" must be a text'),
    ("search", {"query": []}, 400, '"query" must be a text'), ("search", {"query": "a", "k": 0}, 400, '"k" must be'),
    ("search", {"query": "a", "k": True}, 400, '"k" must be'), ("other", {"query": "a"}, 404, "no index of model other"),
    ("search/versions/7", {"query": "a"}, 404, "")])
def test_requests_that_are_refused(served, path, body, status, wanted):
    got, made = served.ask(f"/v1/models/{path}:search", body)
    assert got == status and wanted in made["error"]


def test_an_index_of_another_model_is_not_served(folder, served, tiny_preset, tmp_path):
    make_embedder(tiny_preset, tmp_path / "run", seed=2)
    make(tmp_path / "run", folder / "c.jsonl", tmp_path / "index")
    index = Index(tmp_path / "index")
    wanted = "version 1 of model search makes other vectors than those of the index .* Make it anew: tfft index --workdir="
    with pytest.raises(UserError, match=wanted), serving(settings(folder / "search", indexes={"search": index})):
        pass
    indexes, runs = indexes_of([str(tmp_path / "index"), f"mine={folder}/index"])
    assert indexes.keys() == {"experiment", "mine"} and [run.endswith("run") for run in runs] == [True]
    with pytest.raises(UserError, match="model 'experiment' has the index .* already"):
        indexes_of([str(tmp_path / "index"), str(folder / "index")])


@pytest.mark.slow
def test_a_person_searches(page: Page, served):  # noqa: F811
    page.goto(served.url)
    expect(page.locator("h1")).to_have_text("Search 30 documents")
    expect(page.locator("label[for=input-query]")).to_have_text("Query")
    page.locator("#input-query").fill("good film")
    page.locator("#input-query").press("Enter")
    expect(page.locator("#answer h2")).to_have_text("10 results")
    _, made = served.ask("/v1/models/search:search", {"query": "good film"})
    assert page.locator(".result p").all_text_contents() == [hit["text"] for hit in made["results"]]
    first = made["results"][0]
    assert page.locator(".result .soft").first.inner_text() == f"{first['score']:.3f} \u00b7 {first['id']}"
    page.locator("#input-query").fill(" ")
    page.locator("#ask").click()
    expect(page.get_by_role("alert")).to_contain_text('"query" must be a text')
