import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report
from seqeval.scheme import IOB2, IOBES

from tfft.tasks.token_classification import schemes, scoring
from tfft.tasks.token_classification.scoring import EntityScorer

REPORTED = ("precision", "recall", "f1-score")  # seqeval's names of scoring.RATIOS
TAGS = ["O", *(f"{p}-{t}" for p in "BI" for t in ("LOC", "PER", "X-Y"))]
MORE = [*TAGS, *(f"{p}-{t}" for p in "ES" for t in ("LOC", "PER", "X-Y"))]


def corpora(tags):
    """Sentences of (true tag, predicted tag)."""
    sentence = st.lists(st.tuples(st.sampled_from(tags), st.sampled_from(tags)), min_size=1, max_size=8)
    return st.lists(sentence, min_size=1, max_size=5)


def scored(corpus, read):
    scorer = EntityScorer()
    for sentence in corpus:
        true, predicted = zip(*sentence)
        scorer.add(read(true), read(predicted))
        scorer.add_tokens(sum(t == p for t, p in sentence), len(sentence))
    return scorer.result()


def agrees(result, corpus, **settings):
    true, predicted = ([[pair[i] for pair in sentence] for sentence in corpus] for i in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(true, predicted, output_dict=True, zero_division=0, **settings)
    for kind, prefix in (("micro avg", ""), ("macro avg", "macro_"), ("weighted avg", "weighted_")):
        expected = report.pop(kind)
        assert [result[prefix + r] for r in scoring.RATIOS] == pytest.approx([expected[r] for r in REPORTED])
        assert result["support"] == expected["support"]
    assert {row["type"]: [row[r] for r in (*scoring.RATIOS, "support")] for row in result["types"]} == {
        kind: pytest.approx([row[r] for r in (*REPORTED, "support")]) for kind, row in report.items()}
    assert result["token_accuracy"] == accuracy_score(true, predicted)


@given(corpora(TAGS))
def test_strict_iob2_is_seqevals(corpus):
    if any(schemes.strict_spans(tags) for sentence in corpus for tags in zip(*sentence)):
        agrees(scored(corpus, schemes.strict_spans), corpus, mode="strict", scheme=IOB2)


@given(corpora(MORE))
def test_strict_iobes_is_seqevals(corpus):
    def read(tags):
        return schemes.strict_spans(tags, "IOBES")
    if any(read(tags) for sentence in corpus for tags in zip(*sentence)):
        agrees(scored(corpus, read), corpus, mode="strict", scheme=IOBES)


@given(corpora(MORE))
def test_lenient_is_seqevals_default(corpus):
    if any(tag != "O" for sentence in corpus for pair in sentence for tag in pair):
        agrees(scored(corpus, lambda tags: schemes.to_spans(tags, "IOBES")), corpus)


def test_by_hand():
    scorer = EntityScorer()
    scorer.add([(0, 1, "PER"), (2, 4, "LOC")], [(0, 1, "PER"), (2, 3, "LOC"), (5, 6, "ORG")])
    scorer.add([(0, 1, "PER")], [])
    scorer.add([], [])
    result = scorer.result()
    assert (result["precision"], result["recall"], result["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (result["right"], result["predicted"], result["support"], result["token_accuracy"]) == (1, 3, 3, None)
    assert result["macro_f1"] == pytest.approx((2 / 3) / 3) and result["weighted_f1"] == pytest.approx((2 / 3) * 2 / 3)
    assert result["errors"] == {"missed": 1, "spurious": 1, "wrong_type": 0, "wrong_boundary": 1, "both_wrong": 0}
    assert result["types"][2] == {"type": "PER", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "right": 1,
                                  "predicted": 1, "support": 2}


def test_nothing():
    result = EntityScorer().result()
    assert (result["f1"], result["macro_f1"], result["weighted_f1"], result["support"], result["types"]) == (0, 0, 0, 0, [])


@pytest.mark.parametrize("true, predicted, expected", [
    ([(0, 2, "A")], [(0, 2, "B")], {"wrong_type": 1}),
    ([(0, 2, "A")], [(0, 3, "A")], {"wrong_boundary": 1}),
    ([(0, 2, "A")], [(1, 3, "B")], {"both_wrong": 1}),
    ([(0, 2, "A")], [(2, 3, "A")], {"missed": 1, "spurious": 1}),
    ([(0, 4, "A")], [(0, 1, "A"), (1, 4, "A")], {"wrong_boundary": 1, "spurious": 1}),
    ([(0, 1, "A"), (1, 4, "A")], [(0, 4, "A")], {"wrong_boundary": 1, "missed": 1}),
    ([(0, 4, "A"), (4, 6, "B")], [(3, 5, "B")], {"wrong_boundary": 1, "missed": 1}),
    ([(0, 2, "A")], [(0, 2, "B"), (0, 3, "A")], {"wrong_type": 1, "spurious": 1}),
    ([(0, 6, "A"), (6, 8, "A")], [(0, 1, "A"), (1, 7, "A")], {"wrong_boundary": 1, "missed": 1, "spurious": 1}),
])
def test_kinds_of_errors(true, predicted, expected):
    assert scoring.errors(true, predicted) == dict.fromkeys(scoring.ERRORS, 0) | expected
    mirrored = {"missed": expected.get("spurious", 0), "spurious": expected.get("missed", 0)}
    assert scoring.errors(predicted, true) == dict.fromkeys(scoring.ERRORS, 0) | expected | mirrored


def test_an_entity_that_is_right_takes_no_part_in_errors():
    scorer = EntityScorer()
    scorer.add([(0, 2, "A"), (0, 3, "A")], [(0, 2, "A")])
    assert scorer.result()["errors"]["missed"] == 1


@given(corpora(TAGS))
def test_every_error_is_of_one_kind(corpus):
    result = scored(corpus, schemes.strict_spans)
    paired = sum(result["errors"][error] for error in ("wrong_type", "wrong_boundary", "both_wrong"))
    assert result["support"] - result["right"] == paired + result["errors"]["missed"]
    assert result["predicted"] - result["right"] == paired + result["errors"]["spurious"]


SPANS = st.sets(st.tuples(st.integers(0, 9), st.integers(1, 6), st.sampled_from("AB")).map(lambda s: (s[0], s[0] + s[1], s[2])))


@given(SPANS, SPANS)
def test_partners_overlap(true, predicted):
    touching = set(scoring._touching(sorted(true), sorted(predicted)))
    assert touching == {(i, j) for i, t in enumerate(sorted(true)) for j, p in enumerate(sorted(predicted))
                        if set(range(*t[:2])) & set(range(*p[:2]))}
    counts = scoring.errors(true, predicted)
    assert bool(touching) == any(counts[error] for error in ("wrong_type", "wrong_boundary", "both_wrong"))
    assert sum(counts.values()) - counts["spurious"] == len(true) and sum(counts.values()) - counts["missed"] == len(predicted)


def test_thousands_of_wrong_entities_in_one_text_take_no_minutes():
    starts = range(0, 60_000, 3)
    counts = scoring.errors([(i, i + 2, "A") for i in starts], [(i + 1, i + 3, "A") for i in starts])
    assert counts["wrong_boundary"] == 20_000


def test_memory_does_not_grow_with_sentences():
    scorer = EntityScorer()
    for i in range(1000):
        scorer.add([(i, i + 1, "A")], [(i, i + 2, "A")])
    assert sum(len(v) for v in vars(scorer).values() if hasattr(v, "__len__")) < 10
    assert scorer.result()["errors"]["wrong_boundary"] == 1000
