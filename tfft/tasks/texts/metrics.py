"""Metrics of generated texts beside their references, from 0 to 1 as all metrics here; papers write most of them times 100.

ROUGE is computed here: the package rouge-score has had no release since 2022, brings nltk for a stemmer that is off by default,
and deletes every letter that is not one of a to z, so that a Chinese summary has no words at all. On English texts the numbers
are its own. BLEU and chrF are sacrebleu's.
"""

import ast
import collections
import functools
import unicodedata
import warnings
from collections.abc import Callable, Sequence

import sacrebleu

# Characters of writing without blanks between words: each is a word. Han, kana, Thai, Lao, Burmese, Khmer.
DENSE = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF),
         (0x20000, 0x3FFFF))
HAN = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
References = Sequence[Sequence[str]]


def text_metrics(generated: Sequence[str], references: Sequence[Sequence[str]] | Sequence[str],
                 names: Sequence[str]) -> dict[str, float]:
    """The metrics of these names, of METRICS. references: one text, or several that are all right, for each generated one.

    text_metrics(["the cat sat"], ["the cat sat down"], ("rouge1", "exact_match")) -> {"rouge1": 0.857, "exact_match": 0.0}
    """
    lists = [[each] if isinstance(each, str) else list(each) for each in references]
    if not generated or len(generated) != len(lists) or not all(lists):
        raise ValueError(f"{len(generated)} texts and {len(lists)} references: there must be as many, one at least")
    return {name: METRICS[name](list(generated), lists) for name in names}


def words(text: str) -> list[str]:
    """The words that ROUGE counts: runs of letters, marks and digits, in small letters; of writing without blanks a character.

    "The U.S. café" -> ["the", "u", "s", "café"]; "今天 OK" -> ["今", "天", "ok"]
    """
    return "".join(map(_spaced, unicodedata.normalize("NFC", text).lower())).split()


def rouge_n(generated: str, reference: str, n: int) -> float:
    """F1 of the n-grams that two texts share, each as often as it is in both (Lin 2004, "ROUGE")."""
    found, wanted = (collections.Counter(zip(*(each[i:] for i in range(n)))) for each in (words(generated), words(reference)))
    return _f1((found & wanted).total(), found.total(), wanted.total())


def rouge_l(generated: str, reference: str) -> float:
    """F1 of the longest common subsequence of two texts, each taken as one sentence: rouge-score's rougeL, not rougeLsum."""
    found, wanted = words(generated), words(reference)
    return _f1(longest_common(found, wanted), len(found), len(wanted))


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence: (a b c d, a c x d) -> 3.

    A row of the usual table is one whole number, whose zeros are where the row rises (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited").
    """
    places: dict[str, int] = collections.defaultdict(int)
    for place, word in enumerate(one):
        places[word] |= 1 << place
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        same = row & places.get(word, 0)
        row = ((row + same) | (row - same)) & every
    return len(one) - row.bit_count()


def bleu(generated: list[str], references: References) -> float:
    """BLEU of the whole set by sacrebleu, cut into words as `bleu_words` says."""
    return sacrebleu.corpus_bleu(generated, _streams(references), tokenize=bleu_words(references)).score / 100


def bleu_words(references: References) -> str:
    """How sacrebleu cuts these texts into words, its `tokenize`: by what most of the references' letters are.

    "13a", as in the WMT's evaluations, where words have blanks between them; "zh" (each Chinese character is a word, the rest
    as 13a) for Chinese; "char" (each character is one) for Japanese, Thai and other writing without blanks, which sacrebleu
    cuts by dictionaries that it would have to fetch. All numbers of one set of references are so made alike.
    """
    letters = [ord(letter) for several in references for text in several for letter in text if letter.isalpha()]
    dense, han = (sum(_among(letter, ranges) for letter in letters) for ranges in (DENSE, HAN))
    if dense <= len(letters) / 2:
        return "13a"
    return "zh" if han > 0.9 * dense else "char"


def chrf(generated: list[str], references: References) -> float:
    """chrF2 of the whole set by sacrebleu: characters, so that no words need to be found (Popović 2015)."""
    return sacrebleu.corpus_chrf(generated, _streams(references)).score / 100


def exact_match(generated: str, reference: str) -> float:
    """1 where two texts are the same but for blanks at their ends."""
    return float(generated.strip() == reference.strip())


def parses(text: str) -> bool:
    """Whether a text is Python: it has a statement, and a syntax that is right. It is never run.

    What Python's parser cannot hold (nested too deep, numbers too long) is none. Prose around the code, and ``` too, make a
    text that is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False


def _best(score: Callable[[str, str], float]) -> Callable[[list[str], References], float]:
    """The mean over texts of the best score over each one's references."""
    return lambda generated, references: sum(
        max(score(text, reference) for reference in several) for text, several in zip(generated, references)) / len(generated)


def _share_that_parses(generated: list[str], references: References) -> float:
    return sum(map(parses, generated)) / len(generated)


METRICS: dict[str, Callable[[list[str], References], float]] = {
    "rouge1": _best(functools.partial(rouge_n, n=1)),
    "rouge2": _best(functools.partial(rouge_n, n=2)),
    "rougeL": _best(rouge_l),
    "bleu": bleu,
    "chrf": chrf,
    "exact_match": _best(exact_match),
    "parses": _share_that_parses,
}


def _streams(references: References) -> list[list[str | None]]:
    """References as sacrebleu has them: the first of each text, the second of each, None where a text has no such."""
    return [[several[i] if i < len(several) else None for several in references] for i in range(max(map(len, references)))]


def _f1(common: int, found: int, wanted: int) -> float:
    return 2 * common / (found + wanted) if common else 0.0


@functools.lru_cache(maxsize=1 << 14)
def _spaced(character: str) -> str:
    """A character of a word; a blank for others."""
    if unicodedata.category(character)[0] not in "LMN":
        return " "
    return f" {character} " if _among(ord(character), DENSE) else character


def _among(code: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= code <= high for low, high in ranges)
