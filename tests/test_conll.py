import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data import conll, formats
from tfft.data.records import Broken, Record
from tfft.data.token_table import token_table
from tfft.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.conll"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)
    return write


def sentences(path, columns=("0", "-1"), **settings):
    """[(line, [columns as strings]) or (line, reason)]"""
    return [(r.line, [" ".join(r.values[c]) for c in columns] if isinstance(r, Record) else r.reason)
            for r in conll.read(path, **settings)]


def test_columns_by_number_from_both_ends(write):
    path = write("EU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\n")
    first, second = conll.read(path)
    assert first == Record({"0": ["EU", "rejects"], "1": ["NNP", "VBZ"], "2": ["B-ORG", "O"],
                            "-3": ["EU", "rejects"], "-2": ["NNP", "VBZ"], "-1": ["B-ORG", "O"]}, path, 1)
    assert (second.line, second.values["0"], second.values["-1"]) == (4, ["Peter"], ["B-PER"])


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\t\n", " \t \n", "\n\n\n", "\u3000\n", "-DOCSTART- -X- O\n",
                                       "\n-DOCSTART-\tO\n\n"])
def test_what_ends_a_sentence(write, separator):
    found = sentences(write(f"a O\nb B-X\n{separator}c O"))
    assert [columns for _, columns in found] == [["a b", "O B-X"], ["c", "O"]]


def test_no_sentence_in_empty_files(write):
    assert sentences(write("")) == sentences(write("\n \n\t\n")) == sentences(write("# a = b\n\n-DOCSTART- O\n")) == []


def test_byte_order_mark_and_crlf(write):
    assert sentences(write("\ufeffa\tO\r\nb\tO\r\n\r\nc\tO\r\n")) == [(1, ["a b", "O O"]), (4, ["c", "O"])]


@pytest.mark.parametrize("token", ["a\x85b", "\u2028", "\x0b", "\xa0", "\u3000", "\u200b", "\x1c"])
@pytest.mark.parametrize("separator", ["\t", " "])
def test_other_line_ends_and_spaces_are_tokens(write, token, separator):
    assert sentences(write(f"x{separator}O\n{token}{separator}B\n")) == [(1, [f"x {token}", "O B"])]


def test_tabs_alone_separate_where_there_are_tabs(write):
    assert sentences(write("10 000\tB-N\na \tO\n \tO\n")) == [(1, ["10 000 a  ", "B-N O O"])]
    assert sentences(write("10 000\tB-N\n"), ("0", "1", "2"), separator="whitespace") == [(1, ["10", "000", "B-N"])]
    assert sentences(write("The  DT \t O\n"), ("1",), separator="whitespace") == [(1, ["DT"])]
    assert sentences(write("10 000\n"), ("0",), separator="tab") == [(1, ["10 000"])]
    with pytest.raises(UserError, match="Unknown separator 'tabs'. Did you mean 'tab'"):
        list(conll.read("x", separator="tabs"))


def test_hashes_that_are_tokens(write):
    for s in "\t", " ":
        path = write(f"#first{s}B-P\n#{s}O\n##{s}O\n\n#{s}O\n\nx{s}O\n#tag{s}O\n#{s}B-P\n")
        found = dict(sentences(path))
        assert found[7] == ["x #tag #", "O O B-P"]
        assert sentences(write(f"x{s}O\n\n#{s}O\n")) == [(1, ["x", "O"]), (3, ["#", "O"])]
    assert sentences(write("#\tO\n\n#one\tO\n#two\tO\n")) == [(1, ["#", "O"]), (3, ["#one #two", "O O"])]
    assert sentences(write("##\tO\n# x\tO\n")) == [(1, ["## # x", "O O"])]
    assert sentences(write("a\n#b\n#\n\n#c\n"), ("0",)) == [(1, ["a #b #"]), (5, ["#c"])]
    assert sentences(write("# # B-NP O\n5 CD I-NP O\n")) == [(1, ["# 5", "O O"])]


def test_hashes_that_are_comments(write):
    counts = {}
    path = write("# made by hand\n# sent_id = 1\n# text = a\na\tO\n\n#1 of it\n# = b\nb\tO\n\n# the end\n")
    assert sentences(path, counts=counts) == [(4, ["a", "O"]), (8, ["b", "O"])]
    assert counts == {"comments": 6}
    assert sentences(write("# sent_id = 1\na b c O\n# newdoc id = 7\nd e f O\n")) == [(2, ["a d", "O O"])]  # as many fields
    assert sentences(write("# newdoc\na O\n")) == [(2, ["a", "O"])]
    assert sentences(write("#begin document (bc/x); part 000\nbc/x 0 0 a DT *\n\n#end document\n")) == [(2, ["bc/x", "*"])]
    assert sentences(write("# some words of mine\n")) == []


def test_a_hash_tag_without_its_tag_is_no_comment(write):
    (line, reason), = sentences(write("a\tO\n#tag\nb\tO\n"))
    assert line == 1 and reason.startswith("line 2 has 1 field where the sentence's other lines have 2")


def test_documents_are_counted(write):
    counts = {}
    assert len(sentences(write("-DOCSTART- O\n\na O\n\n-DOCSTART- O\n\nb O\n"), counts=counts)) == 2
    assert counts == {"documents": 2}


CONLL_U = """# global.columns = ID FORM TAG
# sent_id = 1
1-2\tdu\t_
1\tde\tP
2\tle\tD
2.1\tx\tN
3\tchat\tN

1\tx\tN
"""


def test_conll_u(write):
    counts = {}
    first, second = conll.read(write(CONLL_U), counts=counts)
    assert first.values["FORM"] == first.values["1"] == ["de", "le", "chat"] and first.line == 4
    assert second.values["TAG"] == ["N"] and counts == {"comments": 2, "multi-word tokens": 1, "empty nodes": 1}
    named, _ = conll.read(write(CONLL_U), names=["I", "F"])
    assert named.values["F"] == ["de", "le", "chat"] and "FORM" not in named.values
    listed, = conll.read(write("# columns: word, tag\na O\n"))
    assert (listed.values["word"], listed.values["tag"]) == (["a"], ["O"])


def test_scores_and_versions_are_tokens(write):
    assert sentences(write("1-2 O\n3.1 O\n")) == [(1, ["1-2 3.1", "O O"])]
    assert sentences(write("won CD O\n1-2 CD O\nin CD O\n8.1 CD O\n")) == [(1, ["won 1-2 in 8.1", "O O O O"])]
    assert sentences(write("1 O\n1-2 O\n2 O\n")) == [(1, ["1 1-2 2", "O O O"])]
    assert sentences(write("1-2\tCD\tO\n")) == [(1, ["1-2", "O"])]


def test_names(write):
    with pytest.raises(UserError, match="hold 'a' twice"):
        list(conll.read("x", names=["a", "a"]))
    (line, reason), = sentences(write("\na O\n"), names=["word", "pos", "tag"])
    assert line == 2 and reason == "line 2 has 2 fields where 3 columns are named: word, pos, tag"


def test_different_numbers_of_fields_break_one_sentence(write):
    found = sentences(write("a\tO\n\nb\tO\nc\nd\tO\n\ne\tO\nf\tO\tx\n\ng\tO\n"))
    assert [line for line, _ in found] == [1, 3, 7, 10]
    assert found[1][1].startswith("line 4 has 1 field where the sentence's other lines have 2: give each token")
    assert found[2][1].startswith("line 8 has 3 fields where the sentence's other lines have 2")
    assert found[3][1] == ["g", "O"]


def test_a_lone_token_without_its_tag(write):
    assert sentences(write("a O\n\nb\nc O\n"))[1][1].startswith("line 3 has 1 field where the sentence's other lines have 2")
    assert sentences(write("a O\n\nb\n"))[1][1].startswith("line 3 has 1 field where the sentences before have 2")
    assert sentences(write("a - *\n\nb -\n")) == [(1, ["a", "*"]), (3, ["b", "-"])]  # as props has it


def test_bytes_that_are_no_text(write):
    path = write(b"# in the caf\xe9\na O\n\nb O\ncaf\xe9 O\n\nc O\n")
    hint = " (in cp1252 it reads 'café O': if that is right, set --config.data.encoding=cp1252)"
    assert sentences(path) == [(2, ["a", "O"]), (4, f"line 5 is not valid utf-8{hint}"), (7, ["c", "O"])]
    assert sentences(path, encoding="latin-1")[1] == (4, ["b café", "O O"])
    with pytest.raises(UserError, match="no encoding that Python knows"):
        list(conll.read(path, encoding="utf-9"))
    with pytest.raises(UserError, match="is not in encoding utf-16 .*config.data.encoding"):
        list(conll.read(write(b"\xff\xfea\0b"), encoding="utf-16"))
    with pytest.raises(UserError, match="nowhere.conll cannot be read: No such file"):
        list(conll.read("nowhere.conll"))


def test_a_file_is_not_read_ahead(write):
    path = write("a O\n\n" * 1_000_000)
    reader = conll.read(path)
    next(reader)
    open(path, "w").close()
    assert len(list(reader)) < 500_000  # what was in the buffer


WORD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n\ufeff"), min_size=1).filter(
    lambda word: word.strip(" ") == word and not word.startswith(("# ", "-DOCSTART-")))


@given(st.lists(st.lists(st.tuples(WORD, st.sampled_from(["O", "B-X"])), min_size=1), max_size=5))
def test_any_words_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in row) for row in rows), "utf-8", newline="\n")
    found = list(conll.read(str(path)))
    assert [list(zip(r.values["0"], r.values["1"])) for r in found] == rows


def props(text):
    columns = [list(column) for column in zip(*(line.split() for line in text.strip().splitlines()))]
    return {str(i): column for i, column in enumerate(columns)}


def test_props_rows():
    values = props("""
        The    -     (A0*   (A0*
        cat    -     *)     *)
        sat    sit   (V*)   *
        and    -     *      *
        slept  sleep *      (V*V)""")
    assert conll.props_rows(values) == [
        {"words": ["The", "cat", "sat", "and", "slept"], "predicate": 2, "tags": ["B-A0", "I-A0", "B-V", "O", "O"]},
        {"words": ["The", "cat", "sat", "and", "slept"], "predicate": 4, "tags": ["B-A0", "I-A0", "O", "O", "B-V"]}]
    assert conll.props_rows(props("a -\nb -")) == []


def test_props_rows_of_a_file(write):
    record, = conll.read(write("0 The - (A0*)\n1 ran run (V*)\n"), names=["i", "word", "lemma"])
    for words, predicates in (("word", "lemma"), ("1", "2"), ("-3", "-2")):
        assert conll.props_rows(record.values, words=words, predicates=predicates) == [
            {"words": ["The", "ran"], "predicate": 1, "tags": ["B-A0", "B-V"]}]


@pytest.mark.parametrize("cells, reason", [
    ("*) *", "token 1 of column 2 is '\\*\\)': it closes a bracket, but none is open"),
    ("(A0* *", "the bracket of A0 in column 2 is never closed"),
    ("(A0* (A1*)", "token 2 of column 2 is .*: the bracket of A0 is still open"),
    ("(A0* *A1)", "it closes A1, but A0 is open"),
    ("(A0(A1* *))", "nested brackets"),
    ("A0 *", "it should look like"),
])
def test_brackets_that_do_not_match(cells, reason):
    first, second = cells.split()
    with pytest.raises(ValueError, match=reason):
        conll.props_rows({"0": ["a", "b"], "1": ["-", "b"], "2": [first, second]})


def test_props_columns_that_do_not_match():
    with pytest.raises(ValueError, match="1 predicate but 2 columns of brackets"):
        conll.props_rows({"0": ["a"], "1": ["a"], "2": ["*"], "3": ["*"]})
    with pytest.raises(ValueError, match="there is no column lemma"):
        conll.props_rows({"0": ["a"], "1": ["a"]}, predicates="lemma")
    with pytest.raises(ValueError, match="column p has no number"):
        conll.props_rows({"0": ["a"], "1": ["a"], "p": ["a"]}, predicates="p")


def test_parallel_files(write):
    words, tags = write("show flights\r\n\nnow \n", "w"), write("O\tB-x\n\nO\n", "t")
    found = list(conll.read_parallel(words, tags, write("flight list\n\nother\n\n\n", "l")))
    assert found == [Record({"words": ["show", "flights"], "tags": ["O", "B-x"], "label": "flight list"}, words, 1),
                     Record({"words": ["now"], "tags": ["O"], "label": "other"}, words, 3)]
    assert list(conll.read_parallel(words, tags)) == [
        Record({"words": ["show", "flights"], "tags": ["O", "B-x"]}, words, 1),
        Record({"words": ["now"], "tags": ["O"]}, words, 3)]


def test_parallel_lines_that_do_not_match(write):
    words, tags, labels = write(b"a b\n\nc\nd\ncaf\xe9\n", "w"), write("O\n\n\nO\nO\n", "t"), write("x\nx\nx\n\nx\n", "l")
    found = list(conll.read_parallel(words, tags, labels))
    assert found.pop().reason.startswith(f"line 5 of {words} is not valid utf-8 (in cp1252 it reads 'café'")
    assert found == [Broken(words, 1, f"it has 2 words where {tags}:1 has 1 tag"),
                     Broken(words, 2, f"it has no words where {labels}:2 has a label"),
                     Broken(words, 3, f"it has 1 word where {tags}:3 has 0 tags"),
                     Broken(words, 4, f"it has no label in {labels}:4")]


def test_parallel_files_of_different_lengths(write):
    words, tags = write("a\nb\nc\n\nd", "w"), write("O\nO\n", "t")
    with pytest.raises(UserError, match="w has 5 lines, .*t has 2 lines. Line n of each"):
        list(conll.read_parallel(words, tags))
    reader = conll.read_parallel(write("a\nb\n", "w"), write("O\n", "t"))
    assert next(reader).values["words"] == ["a"]
    with pytest.raises(UserError, match="w has 2 lines, .*t has 1 line."):
        next(reader)


def table(path, column="s"):
    return list(token_table(formats.read("csv", path), column))


def test_token_table(write):
    path = write('Sentence #,Word,Tag\nSentence: 1,EU,B-ORG\n,"""",O\n,x,O\n'
                 'Sentence: 2,y,O\nSentence: 2,z,O\nSentence: 3,w,O\n')
    assert table(path, "Sentence #") == [
        Record({"Sentence #": "Sentence: 1", "Word": ["EU", '"', "x"], "Tag": ["B-ORG", "O", "O"]}, path, 2),
        Record({"Sentence #": "Sentence: 2", "Word": ["y", "z"], "Tag": ["O", "O"]}, path, 5),
        Record({"Sentence #": "Sentence: 3", "Word": ["w"], "Tag": ["O"]}, path, 7)]
    assert table(write("s,w\n", "empty")) == []
    with pytest.raises(UserError, match=":2: Unknown column 'sentence'. Did you mean 'Sentence #'"):
        table(path, "sentence")


def test_token_table_of_numbers_and_nulls():
    rows = [Record({"s": s, "w": w}, "f", i) for i, (s, w) in enumerate([(7, "a"), (None, "b"), (float("nan"), "c"), (8, "d")])]
    assert [r.values for r in token_table(rows, "s")] == [{"s": "7", "w": ["a", "b", "c"]}, {"s": "8", "w": ["d"]}]


def test_a_sentence_that_comes_again(write):
    first, second, third = table(write("s,w\n1,a\n2,b\n1,c\n,d\n"))
    assert (first.values["w"], second.values["w"], third.line) == (["a"], ["b"], 4)
    assert third.reason.startswith("sentence '1' began at line 2 and ended before this row: put the rows")


def test_a_token_in_another_encoding_breaks_its_sentence_for_that(write):
    broken, good = table(write("s,w\n1,café\n1,b\n2,c\n".encode("cp1252")))
    assert broken.undecodable and "--config.data.encoding=cp1252" in broken.reason and good.values["w"] == ["c"]


def test_the_first_token_decides_nothing():
    rows = [Record({"w": "a"}, "f", 1), Record({"s": "x", "w": "b"}, "f", 2), Record({"w": "c"}, "f", 3)]
    broken, record = token_table(rows, "s")
    assert broken.reason.startswith("column s is empty") and record.values == {"s": "x", "w": ["b", "c"]}
    with pytest.raises(UserError, match="f:1: Unknown column 't'.*Known: w, s"):
        next(token_table((Record({"w": "a"} | ({"s": "x"} if i else {}), "f", i + 1) for i in itertools.count()), "t"))


def test_tokens_before_any_sentence(write):
    first, second = table(write("s,w\n,a\n,b\n1,c\n"))
    assert first.line == 2 and first.reason == "column s is empty, and no row above it names a sentence"
    assert second.values["w"] == ["c"]


def test_a_broken_row_breaks_the_sentences_it_touches(write):
    def outcome(rows):
        return [(r.line, r.values["w"] if isinstance(r, Record) else r.reason[:16]) for r in table(write("s,w\n" + rows))]

    assert outcome("1,a\n1,b,x\n1,c\n2,d\n") == [(2, "line 3, in this "), (5, ["d"])]
    assert outcome("1,a\n2,b,x\n,c\n2,d\n3,e\n") == [(2, "line 3, in this "), (5, ["d"]), (6, ["e"])]
    assert outcome("1,a\n2,b,x\n2,d\n3,e\n") == [(2, "line 3, in this "), (4, "line 3, in this "), (5, ["e"])]
    assert outcome("1,b,x\n1,c\n2,d\n") == [(3, "line 2, in this "), (4, ["d"])]
    assert outcome("1,b\n2,c\n2,d,x\n") == [(2, ["b"]), (3, "line 4, in this ")]
    assert outcome("1,b,x\n1,b,y\n") == [(2, "it has 3 fields ")]
