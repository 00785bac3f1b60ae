"""Collections of every format give the same documents, queries and judgements; what is odd is told, what is wrong refused."""

import json

import pytest

from tfft.data.collections import open_collection
from tfft.errors import UserError

SGML = """<DOC>
<DOCNO> d1 </DOCNO> <DOCID>7</DOCID>
<HEAD>A &amp; B</HEAD>
<TEXT>
<P>one</P>
two
</TEXT></DOC>
<doc><docno>d2</docno>three</doc><DOC><DOCNO>d3</DOCNO><TEXT> </TEXT></DOC>
"""
TOPICS = """<top>
<num> Number: 001
<title> Topic: What is one

<desc> Description:
Of no interest.
</top>
<top><num> 2 <title>
<desc> Description: What is two
</top>
"""


def corpus(*documents) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


BEIR = {"corpus.jsonl": corpus({"_id": "d1", "title": "A & B", "text": "one two"}, {"_id": "d2", "title": "", "text": "three"},
                               {"_id": "d3", "text": " "}),
        "queries.jsonl": corpus({"_id": "1", "text": "What is one"}, {"_id": "2", "text": "What is two"}),
        "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\td1\t2\n2\td2\t1\n2\td1\t0\n"}
TREC = {"docs/a.sgml": SGML, "topics.1-2": TOPICS, "qrels.txt": "1 0 d1 2\n2 0 d2 1\n2 0 d1 0\n"}
TABLES = {"collection.tsv": "id\ttext\ttitle\nd1\tone two\tA & B\nd2\tthree\t\nd3\t\t\n",
          "queries.tsv": "1\tWhat is one\n2\tWhat is two\n", "qrels.tsv": "1\td1\t2\n2\td2\t1\n2\td1\t0\n"}
SMART = {"all": ".I 1\n.T\nA & B\n.A\nnobody\n.W\none\n two\n.I 2\n.W\nthree\n.I 3\n.T\n.W\n",
         "query": ".I 001\n.W\nWhat is one\n.I 4\n.W\nWhat is two\n", "rels": "1 1 3\n2 2 4\n2 1 5\n"}


@pytest.fixture
def folder(tmp_path):
    def write(files: dict[str, str], **changed: str) -> str:
        for name, text in {**files, **changed}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(text.encode())
        return str(tmp_path)

    return write


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("scheme, files", [("beir", BEIR), ("trec", TREC), ("trec", TABLES), ("trec", SMART)])
def test_every_format_gives_the_same(folder, scheme, files, ends):
    path = folder({name: text.replace("\n", ends) for name, text in files.items()})
    found = open_collection(f"{scheme}:{path}")
    name = "" if files is SMART else "d"
    assert found.queries() == {"1": "What is one", "2": "What is two"}
    assert dict(found.documents()) == {f"{name}1": "A & B one two", f"{name}2": "three"}
    assert found.judgements() == {"1": {f"{name}1": 2}, "2": {f"{name}2": 1, f"{name}1": 0}}
    assert any(line.startswith(f"documents without a text, left out: 1 ({name}3 at ") for line in found.remarks)
    assert len(found.files) == 3


def test_files_of_a_collection_are_named(folder):
    path = folder(TREC)
    found = open_collection(f"trec:{path}/docs/*,{path}/topics.1-2,{path}/qrels.txt")
    assert len(list(found.documents())) == 2 and found.judgements()["1"] == {"d1": 2}
    only = open_collection(f"trec:{path}/docs/*,{path}/topics.1-2")
    assert len(only.queries()) == 2 and only.splits == []
    with pytest.raises(UserError, match="has no judgements"):
        only.judgements()


def test_splits(folder):
    path = folder(BEIR, **{"qrels/dev.tsv": "2\td1\t1\n"})  # without a header
    assert open_collection(f"beir:{path}#dev").queries() == {"2": "What is two"}
    assert open_collection(f"beir:{path}").queries("dev") == {"2": "What is two"}
    assert len(list(open_collection(f"beir:{path}").documents())) == 2  # which no split decides
    with pytest.raises(UserError, match=r"several sets of judgements: dev, test. Name one, e.g. beir:.*#dev"):
        open_collection(f"beir:{path}").queries()
    with pytest.raises(UserError, match="Unknown split 'tset'. Did you mean 'test'"):
        open_collection(f"beir:{path}#tset")


def test_queries_and_judgements_of_several_splits(folder):
    path = folder({"collection.tsv": TABLES["collection.tsv"],
                   "queries.dev.tsv": "1\tof dev 1\n", "qrels.dev.tsv": "1\td1\t1\n",
                   "queries.train.tsv": "2\tof train 2\n", "qrels.train.tsv": "2\td1\t1\n"})
    found = open_collection(f"trec:{path}")
    assert found.queries("dev") == {"1": "of dev 1"} and found.queries("train") == {"2": "of train 2"}


def test_ordinals_and_codes_of_cranfield(folder):
    """Queries 1, 2, 4 are numbered 1, 2, 3; 1 is the best code; -1 has no place in their scale."""
    path = folder({"cran.all": SMART["all"], "cran.qry": ".I 001\r\n.W\r\na\r\n.I 002\r\n.W\r\nb\r\n.I 004\r\n.W\r\nc\r\n",
                   "cranqrel": "1 1 -1\n2 2 1 \n3 1 4\n3 2 5\n", "cranqrel.readme": "The codes are 1 to 5.\n",
                   "for_trec_eval": "1 0 1 5\r\n2 0 2 4\r\n3 0 1 1\r\n3 0 2 0\r\n"})
    found, other = open_collection(f"trec:{path}#cranqrel"), open_collection(f"trec:{path}")
    assert found.queries() == {"1": "a", "2": "b", "3": "c"} == other.queries()
    assert found.judgements() == {"1": {"1": 5}, "2": {"2": 4}, "3": {"1": 1, "2": 0}} == other.judgements()
    told = "\n".join(found.remarks)
    assert "cranqrel numbers the queries 1 to 3 in their order, whatever ids cran.qry gives them (1, 2, 4, ... 4)" in told
    assert "1 judgements of 3 queries have the code -1" in told and "not read: cranqrel.readme" in told
    assert "cranqrel and for_trec_eval judge alike; the first is read" in other.remarks


def test_ids_of_other_formats_are_no_ordinals(folder):
    """Queries 1 and 3, of which 1 and 2 are judged: 2 is not there."""
    path = folder(BEIR, **{"queries.jsonl": corpus({"_id": "1", "text": "a"}, {"_id": "3", "text": "b"})})
    assert open_collection(f"beir:{path}").queries() == {"1": "a"}


@pytest.mark.parametrize("listing, expected", [
    ("1 1 0 0.00\n2\t2\t0\t0\n", {"1": {"1": 1}, "2": {"2": 1}}), ("1 1\n2 2\n", {"1": {"1": 1}, "2": {"2": 1}}),
    ("1 0 1 0\n2 0 2 1\n", {"1": {"1": 0}, "2": {"2": 1}}), ("1 1 1\n2 1 1\n", {"1": {"1": 1}, "2": {"1": 1}})])
def test_other_judgements_of_smart(folder, listing, expected):
    assert open_collection(f"trec:{folder(SMART, rels=listing)}").judgements() == expected


def test_what_does_not_match_is_counted_and_named(folder):
    path = folder(BEIR, **{"qrels/test.tsv": "1\td1\t1\n1\td1\t2\n1\td9\t1\n8\td1\t1\n9\td1\t1\n",
                           "corpus.jsonl": BEIR["corpus.jsonl"] + corpus({"_id": "d1", "text": "again"})})
    found = open_collection(f"beir:{path}")
    assert found.queries() == {"1": "What is one"} and dict(found.documents())["d1"] == "A & B one two"
    assert found.judgements() == {"1": {"d1": 1, "d9": 1}}
    assert sorted(found.remarks) == [
        "documents whose id another one had before, left out: 1 (d1 at corpus.jsonl:4)",
        "documents without a text, left out: 1 (d3 at corpus.jsonl:3)",
        "judgements of a query and document that were graded otherwise before, left out: 1 (1 d1 at test.tsv:2)",
        "test.tsv: 1 document (d9) is judged but not among the documents",
        "test.tsv: 2 queries (8, 9) are judged but not among the queries, and left out"]


@pytest.mark.parametrize("scheme, files, name, text, message", [
    ("beir", BEIR, "corpus.jsonl", '{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": \n',
     r"corpus.jsonl:2: it is not valid JSON .*Each line of corpus.jsonl is an object such as"),
    ("beir", BEIR, "corpus.jsonl", '{"id_": "d1", "text": "a"}\n', "corpus.jsonl:1: its member '_id' is missing or empty. Its "
     "members are id_, text; those of BEIR are _id, title and text"),
    ("beir", BEIR, "corpus.jsonl", '{"_id": "d1", "text": ["a"]}\n', r"corpus.jsonl:1: its member 'text' is \['a'\], no text"),
    ("beir", BEIR, "qrels/test.tsv", "q\td\tscore\n1\td1\n",
     "test.tsv:2: this line has 2 fields where others have 3: '1 d1'. A judgement"),
    ("beir", BEIR, "qrels/test.tsv", "1\td1\t1\n1\td1\tgood\n", "test.tsv:2: the grade is 'good', which is no whole number"),
    ("beir", BEIR, "qrels/test.tsv", "1\td1\t1\n1\td1\n", "test.tsv:2: this line has 2 fields where others have 3"),
    ("beir", BEIR, "qrels/test.tsv", "q\td\tscore\n", "test.tsv has no judgements"),
    ("beir", BEIR, "qrels/test.tsv", "x1\td1\t1\n", "judges none of the 2 queries of .*: it has e.g. 'x1', they have e.g. '1'"),
    ("trec", TREC, "docs/a.sgml", "<DOC>\n<DOCNO>1</DOCNO>\na\n", "a.sgml:1: this <DOC> is not ended by </DOC>"),
    ("trec", TREC, "docs/a.sgml", "<DOC><DOCNO>1</DOCNO>a\n<DOC>\n",
     "a.sgml:2: a <DOC> begins before that of line 1 has ended"),
    ("trec", TREC, "docs/a.sgml", "<DOC><DOCNO>1</DOCNO></DOC>\n<DOC>a</DOC>\n", "a.sgml:2: this document has no id"),
    ("trec", TREC, "docs/a.sgml", "<DOC><DOCNO>1</DOCNO></DOC> and more\n", "a.sgml:1: 'and more' stands outside of <DOC>"),
    ("trec", TREC, "topics.1-2", "<top>\n<title> a\n</top>\n", "topics.1-2:1: this topic has no number"),
    ("trec", SMART, "all", ".I 1\nwords\n", "all:2: 'words' stands behind .I 1, before any of .T"),
    ("trec", SMART, "all", ".I \n.W\nwords\n", "all:1: .I has no number"),
    ("trec", TABLES, "collection.tsv", "1\ta\n2\tb\tc\n",
     "collection.tsv:2: this line has 3 fields: .* It must have 2, separated"),
])
def test_what_is_malformed_is_told_with_its_place(folder, scheme, files, name, text, message):
    found = open_collection(f"{scheme}:{folder(files, **{name: text})}")
    with pytest.raises(UserError, match=message):
        found.queries()
        list(found.documents())


@pytest.mark.parametrize("spec, message", [
    ("csv:a.csv", "names no collection of documents"), ("beir:", "names no folder. Write e.g. beir:FOLDER"),
    ("beir:{0}/docs", "No such file or folder: .*corpus.jsonl.*A folder of BEIR holds corpus.jsonl"),
    ("trec:{0}/docs", r"has no queries that could be recognised \(documents: a.sgml; queries: none"),
    ("trec:{0}/qrels.txt", "names 1 file. Write trec:FOLDER"), ("trec:{0}/a,{0}/b", "No such file or folder: .*/a"),
    ("trec:{0}/qrels.txt,{0}/topics.1-2", "the documents must all be SMART"),
    ("trec:{0}/docs/a.sgml,{0}/qrels.txt", "holds no queries that could be recognised")])
def test_what_is_no_collection(folder, spec, message):
    with pytest.raises(UserError, match=message):
        open_collection(spec.format(folder(TREC)))


def test_files_may_be_packed_and_in_another_encoding(folder, tmp_path):
    import gzip

    path = folder(TABLES, **{"queries.tsv": "1\tWhat is one\n2\tWhat is two\n"})
    (tmp_path / "collection.tsv").unlink()
    with gzip.open(tmp_path / "collection.tsv.gz", "wb") as file:
        file.write("d1\tGöttingen\n".encode("latin-1"))
    assert dict(open_collection(f"trec:{path}", "cp1252").documents()) == {"d1": "Göttingen"}
    with pytest.raises(UserError, match="collection.tsv.gz:1: line 1 is not valid utf-8"):
        list(open_collection(f"trec:{path}").documents())


def test_documents_are_streamed(folder):
    """The first comes before the last line is looked at."""
    found = open_collection(f"beir:{folder(BEIR, **{'corpus.jsonl': BEIR['corpus.jsonl'] + 'no object'})}").documents()
    assert next(found) == ("d1", "A & B one two")
    with pytest.raises(UserError, match="corpus.jsonl:4"):
        list(found)
