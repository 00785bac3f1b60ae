"""What of a file could be words with their tags, or texts with spans. Imports no TensorFlow."""

import itertools
import re

from tfft.data.look import Column, Guess, Look
from tfft.tasks.token_classification.spans import read_spans

WORDS = ("words", "tokens", "word", "token", "text", "sentence")
TAGS = ("ner_tags", "tags", "labels", "ner", "entities", "tag", "pos", "pos_tags", "label", "bio")
SPANS = ("spans", "entities", "label", "labels", "annotations", "ents")
SENTENCES = ("sentence", "sentence_id", "sent_id", "sentence_number", "sent", "sentence_num", "sentence_no")
UNIVERSAL = 10  # columns of CoNLL-U
TYPED = re.compile(r"O|[BIESLUM]-.+|.+-[BIESLUM]", re.DOTALL)


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """given: columns by setting, that are known."""
    if look.kind == "conll":
        return _lines(look, given)
    return [*_lists(look, given), *_spans(look, given), *_tokens(look, given)]


def _guess(score: float, what: str, texts: tuple[str, ...], settings: dict, why: dict[str, str]) -> Guess:
    learn = "tags" if "data.tags_column" in settings else "spans"
    return Guess("token_classification", learn, what, score, settings, texts, why)


def _scheme(tags: list[str]) -> dict[str, str]:
    """Tags that are no parts of entities are one for each word."""
    return {} if all(TYPED.fullmatch(tag) for tag in tags) else {"data.tags_scheme": "none"}


def _lines(look: Look, given: dict[str, str]) -> list[Guess]:
    """One token a line: the word first, or second where numbers stand before it; the tag last, or CoNLL-U's parts of speech."""
    names = [each for each in look.columns if not each.startswith("-")]
    numbered = all(str(one).isdigit() for each in look.columns[names[0]].values for one in each)  # as CoNLL-U begins its lines
    word, tag = names[numbered and len(names) > 2], "-1" if "-1" in look.columns else names[-1]
    if numbered and len(names) == UNIVERSAL:
        tag = names[3]
    words, tags = given.get("words_column", word), given.get("tags_column", tag)
    values = [str(tag) for each in look.columns[tags].values for tag in each]
    return [_guess(3.0, "a tag for each word", (words,), {
        "data.words_column": words, "data.tags_column": tags, **_scheme(values)}, {
        "data.words_column": f"one of {len(names)} columns, from 0; one token a line",
        "data.tags_column": f"{'the last column: ' if tags == '-1' else ''}{_shown(values)}"})]


def _lists(look: Look, given: dict[str, str]) -> list[Guess]:
    """A sentence a row, words and tags as lists of one length."""
    lists = {column.name: column.lists for column in look.columns.values()
             if column.lists and not column.missing and all(isinstance(one, str) for each in column.lists for one in each)}
    made = []
    for words, of_words in lists.items():
        for tags, of_tags in lists.items():
            if words == tags or given.get("words_column", words) != words or given.get("tags_column", tags) != tags:
                continue
            same = all(len(a) == len(b) for a, b in zip(of_words, of_tags, strict=True))
            values = [tag for each in of_tags for tag in each]
            different = {word for each in of_words for word in each}
            if same and len(set(values)) < len(different):
                scheme = _scheme(values)
                score = 2.5 + _hint(words, WORDS) + _hint(tags, TAGS) + (0 if scheme else 0.5)
                made.append(_guess(score, "a tag for each word", (words,), {
                    "data.words_column": words, "data.tags_column": tags, **scheme}, {
                    "data.words_column": "lists of words",
                    "data.tags_column": f"lists as long as those of {words!r}: {_shown(values)}"}))
    return made


def _spans(look: Look, given: dict[str, str]) -> list[Guess]:
    """Texts with spans of characters, in any shape that is read."""
    made = []
    for text, spans in itertools.product(look.columns.values(), repeat=2):
        if (not text.is_text or text.words <= 1.5 or len(text.values) != len(spans.values) or spans.is_text and not spans.lists
                or given.get("text_column", text.name) != text.name or given.get("spans_column", spans.name) != spans.name):
            continue
        for inclusive in (False, True):
            shown = _read(text, spans, inclusive)
            if shown is not None:
                made.append(_guess(3.0 + _hint(text.name, WORDS) + _hint(spans.name, SPANS) + min(text.words, 40) / 40,
                                   "entities in a text", (text.name,), {
                    "data.words_column": "", "data.text_column": text.name, "data.spans_column": spans.name,
                    **({"data.span_end": "inclusive"} if inclusive else {})}, {
                    "data.text_column": f"texts of {text.words:.0f} words on average",
                    "data.spans_column": f"spans of characters, such as {shown[2]} for {shown[0]} to {shown[1]}"}))
                break
    return made


def _read(text: Column, spans: Column, inclusive: bool) -> tuple[int, int, str] | None:
    """The first span of a column of spans; None where it is none."""
    first = None
    for value, of in zip(spans.values, text.values, strict=True):
        try:
            found = read_spans(value, inclusive, of)
        except ValueError:
            return None
        first = first or (found[0] if found else None)
    return first


def _tokens(look: Look, given: dict[str, str]) -> list[Guess]:
    """A table with one token a row."""
    sentence, words, tags = (look.columns[given[setting]] if setting in given else look.named(*names) for setting, names in (
        ("sentence_column", SENTENCES), ("words_column", ("word", "token", "words", "tokens")),
        ("tags_column", ("tag", "ner", "ner_tag", "label", "tags", "pos"))))
    if not (sentence and words and tags) or words.lists or len(sentence.counts) > look.rows / 2 or not tags.counts:
        return []
    scheme = _scheme(list(tags.counts))
    return [_guess(4.0, "a tag for each word", (words.name,), {
        "data.sentence_column": sentence.name, "data.words_column": words.name, "data.tags_column": tags.name, **scheme}, {
        "data.sentence_column": f"one token a row, of {len(sentence.counts):,} sentences", "data.words_column": "words",
        "data.tags_column": tags.told()})]


def _hint(column: str, names: tuple[str, ...]) -> float:
    return 1 - 0.05 * names.index(column.lower()) if column.lower() in names else 0.0


def _shown(tags: list[str]) -> str:
    return Column("", tags).told()
