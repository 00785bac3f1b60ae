import itertools
import re

import numpy as np
import pytest
import seqeval.scheme
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from tfft.tasks.token_classification import schemes

PREFIXES = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW", "IO": "I"}


def tag_lists(scheme, types=("X", "Y-Z")):
    return st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in PREFIXES[scheme] for t in types)]), max_size=9)


def span_lists(scheme):
    """(spans, number of words), apart from one another under IO."""
    gaps = st.integers(1 if scheme == "IO" else 0, 2)
    return st.lists(st.tuples(gaps, st.integers(1, 4), st.sampled_from(["X", "Y", ""])), max_size=5).map(placed)


def placed(parts):
    spans, at = [], 0
    for gap, length, kind in parts:
        spans.append((at + gap, at + gap + length, kind))
        at += gap + length
    return spans, at + 1


@pytest.mark.parametrize("scheme, tags", [
    ("IOB2", "B-P I-P O B-P B-P I-L"), ("IOB1", "I-P I-P O I-P B-P I-L"), ("IOBES", "B-P E-P O S-P S-P S-L"),
    ("BILOU", "B-P L-P O U-P U-P U-L"), ("BMEWO", "B_P E_P O W_P W_P W_L"), ("BIO", "B-P I_P O B-P B_P I-L")])
def test_what_tags_mean(scheme, tags):
    tags = tags.split()
    assert schemes.to_spans(tags, scheme) == [(0, 2, "P"), (3, 4, "P"), (4, 5, "P"), (5, 6, "L")]
    assert schemes.convert(tags, scheme) == "B-P I-P O B-P B-P B-L".split()


def test_other_kinds_of_tags():
    assert schemes.to_spans("PER PER O I-LOC LOC".split(), "IO") == [(0, 2, "PER"), (3, 5, "LOC")]
    assert schemes.to_spans("B M E S".split(), "BMES") == [(0, 3, ""), (3, 4, "")]
    assert schemes.convert("B M E S".split(), "BMES") == "B I I B".split()
    assert schemes.to_spans("DT NN NN".split(), "none") == [(0, 1, "DT"), (1, 2, "NN"), (2, 3, "NN")]
    assert schemes.convert(("DT", "O"), "none") == ["DT", "O"]
    assert schemes.to_spans(["B-creative-work", "I-creative-work"], "IOB2") == [(0, 2, "creative-work")]


@pytest.mark.parametrize("scheme", ["IOB2", "IOBES"])
def test_read_as_conlleval_does(scheme):
    @given(tag_lists(scheme))
    def check(tags):
        assert schemes.to_spans(tags, scheme) == [(start, end + 1, kind) for kind, start, end in get_entities(tags)]
    check()


def test_repairs_by_hand():
    assert schemes.convert("I-P O I-P I-L B-L".split(), "IOB2") == "B-P O B-P B-L B-L".split()
    assert schemes.convert("I-P I-P E-P E-P O B-P I-P O B-P S-P I-P".split(), "IOBES") == \
        "B-P I-P I-P B-P O B-P I-P O B-P B-P B-P".split()


@pytest.mark.parametrize("scheme", ["IOB2", "IOBES", "BILOU"])
def test_strict_spans_are_seqevals(scheme):
    @given(tag_lists(scheme))
    def check(tags):
        entities = seqeval.scheme.Tokens(tags, getattr(seqeval.scheme, scheme)).entities
        assert schemes.strict_spans(tags, scheme) == [(e.start, e.end, e.tag) for e in entities]
    check()
    with pytest.raises(ValueError, match="no strict reading"):
        schemes.strict_spans([], "IOB1")


@pytest.mark.parametrize("scheme", PREFIXES)
def test_spans_come_back(scheme):
    @given(span_lists(scheme))
    def check(case):
        spans, length = case
        tags = schemes.from_spans(spans, length, scheme)
        assert len(tags) == length and not schemes.violations(tags, scheme)
        assert schemes.to_spans(tags, scheme) == spans
    check()


@pytest.mark.parametrize("scheme", PREFIXES)
def test_without_violations_every_reading_agrees(scheme):
    @given(tag_lists(scheme))
    def check(tags):
        broken = schemes.violations(tags, scheme)
        repaired = schemes.from_spans(schemes.to_spans(tags, scheme), len(tags), scheme)
        if scheme != "IO":
            assert (not broken) == (repaired == tags)
        assert schemes.to_spans(schemes.convert(tags, scheme), "IOB2") == schemes.to_spans(tags, scheme)
        assert broken == sorted(set(broken)) and all(0 <= i < len(tags) for i in broken)
        if scheme in ("IOB2", "IOBES", "BILOU") and not broken:
            assert schemes.strict_spans(tags, scheme) == schemes.to_spans(tags, scheme)
    check()


@pytest.mark.parametrize("scheme, tags, expected", [
    ("IOB2", "O I-P B-L", [1]), ("IOB1", "O I-P B-L", [2]), ("IOBES", "O I-P B-L", [1, 2]), ("IOB2", "I-P I-L B-L I-L", [0, 1]),
    ("IOB1", "B-P B-P I-P", [0]), ("IOBES", "B-P", [0]), ("IOBES", "B-P O", [1]), ("BILOU", "B-P I-P L-P U-P", []),
    ("IO", "P I-P O", []), ("none", "A B-C", []), ("IOBES", "S-P E-P", [1])])
def test_violations(scheme, tags, expected):
    assert schemes.violations(tags.split(), scheme) == expected


def test_violations_of_nothing():
    assert schemes.violations([], "IOBES") == []


def test_forbidden_by_hand():
    assert schemes.forbidden(("O", "B-P", "I-P", "I-L"), "IOB2").astype(int).tolist() == [
        [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert schemes.forbidden(("O", "B-P", "I-P", "E-P", "S-P"), "BIOES").astype(int).tolist() == [
        [0, 0, 1, 1, 0], [1, 1, 0, 0, 1], [1, 1, 0, 0, 1], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    none = schemes.forbidden(("NN", "DT"), "none")
    assert none.dtype == bool and none.shape == (4, 2) and not none.any()


@pytest.mark.parametrize("scheme", PREFIXES)
def test_paths_that_are_allowed_have_no_violations(scheme):
    tags = ("O", *(f"{p}-{t}" for p in PREFIXES[scheme] for t in "XY"))
    banned = schemes.forbidden(tags, scheme)
    for length in 1, 2, 3:
        for path in itertools.product(range(len(tags)), repeat=length):
            bad = banned[-2, path[0]] or banned[-1, path[-1]] or any(banned[a, b] for a, b in itertools.pairwise(path))
            assert bool(schemes.violations([tags[i] for i in path], scheme)) == bool(bad)
    assert np.array_equal(banned, schemes.forbidden([tag.replace("-", "_") for tag in tags], scheme))


@pytest.mark.parametrize("spans", [[(0, 2, "X"), (1, 3, "X")], [(1, 1, "X")], [(2, 5, "X")], [(-1, 1, "X")]])
def test_spans_that_do_not_fit(spans):
    with pytest.raises(ValueError, match="the span .* (overlaps another|does not fit 4 words)"):
        schemes.from_spans(spans, 4, "IOB2")


def test_from_spans_of_none():
    assert schemes.from_spans([(1, 2, "B"), (0, 1, "A")], 2, "none") == ["A", "B"]
    with pytest.raises(ValueError, match="a span for every word"):
        schemes.from_spans([(1, 2, "B")], 2, "none")


def test_tags_and_schemes_that_are_unknown():
    with pytest.raises(ValueError, match="'E-P' is no tag of scheme IOB2: it should be O or begin with one of B, I and a"):
        schemes.to_spans(["E-P"], "IOB2")
    for tag in "", "P", "X-P", "BP":
        with pytest.raises(ValueError, match="is no tag of scheme"):
            schemes.violations([tag], "IOBES")
    with pytest.raises(ValueError, match="Unknown tag scheme 'IOBSE'. Did you mean 'IOBES'"):
        schemes.convert([], "IOBSE")


@pytest.mark.parametrize("tags, scheme", [
    (["B-P I-P O", "O B-P B-P"], "IOB2"), (["I-P I-P O", "I-P B-P"], "IOB1"), (["I-P O"], "IOB1"), (["O O"], "IOB2"),
    (["B-P"], "IOB2"), (["B-P E-P O S-P"], "IOBES"), (["S-P O"], "IOBES"), (["B-P L-P U-P"], "BILOU"), (["U_P O"], "BILOU"),
    (["B M E S S"], "BMES"), (["B-P M-P E-P W-P O"], "BMEWO"), (["DT NN VB"], "none"), (["B I I O"], "IOB2"),
    (["A B C I"], "none"), (["B-P I-P O"] * 9 + ["O I-P"], "IOB2"), (["I-P I-P O I-P"] * 9 + ["B-P"], "IOB1")])
def test_detected(tags, scheme):
    assert schemes.detect(line.split() for line in tags)[0] == scheme


@pytest.mark.parametrize("tags, reason", [
    ([], "there are no tags"), (["O", ""], "empty tags: 1"), (["PER-B", "PER-I", "O"], "stands behind the type"),
    (["B-P", "NN"], r"some tags have no prefix \(NN\) while others have \(B\)"), (["O", "PER"], "name the scheme, IO where"),
    (["B-P", "I"], "some tags have a type, but I has none"), (["I-P", "E-P", "O"], "beginnings are not"),
    (["B-P", "L-P", "E-P"], "the prefixes B, E, L belong to no scheme"), (["S-P", "U-P"], "belong to no scheme known here")])
def test_not_detected(tags, reason):
    scheme, told = schemes.detect([tags])
    assert scheme is None and re.search(reason, told)


def test_why_a_scheme_was_detected():
    assert schemes.detect([["B-P", "O", "I-P"]])[1] == "the prefixes are B, I; tags that break it: 1, that break IOB1: 1"


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES", "BILOU"])
def test_the_scheme_of_many_entities_is_found(scheme):
    spans = [(0, 1, "X"), (1, 4, "X"), (5, 7, "Y"), (8, 10, "Y"), (10, 11, "Y")]
    assert schemes.detect([schemes.from_spans(spans, 12, scheme)])[0] == scheme


def test_a_detector_keeps_few_examples():
    detector = schemes.Detector()
    detector.add([f"word{i}" for i in range(1000)])
    assert len(detector.examples) == schemes.EXAMPLES and detector.scheme()[0] == "none"
