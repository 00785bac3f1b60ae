"""What of a file could be texts with what is to be written of them. Imports no TensorFlow."""

from tfft.data.look import Guess, Look

# as data sets of summaries and of translations call the two
PAIRS = (("article", "highlights"), ("article", "summary"), ("document", "summary"), ("dialogue", "summary"),
         ("text", "summary"), ("body", "summary"), ("text", "headline"), ("body", "headline"), ("article", "abstract"),
         ("source", "target"), ("src", "tgt"), ("input", "target"))
LANGUAGES = ("en", "de", "fr", "es", "pt", "it", "nl", "ru", "zh", "ja", "pl", "cs", "tr", "ar", "ko", "sv")
LONG = 2.0  # words of a target on average: shorter ones are rather labels


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """given: columns by setting, that are known."""
    named = {name.casefold(): name for name in look.columns}
    languages = [named[name] for name in LANGUAGES if name in named]
    pairs = [(named[a], named[b]) for a, b in PAIRS if a in named and b in named]
    pairs += [(languages[0], languages[1])] if len(languages) > 1 else []
    if {"source_column", "target_column"} <= given.keys():
        pairs = [(given["source_column"], given["target_column"])]
    for source, target in pairs:
        columns = look.columns[source], look.columns[target]
        if all(column.is_text for column in columns) and (columns[1].words >= LONG or given):
            what = "a translation" if {source, target} <= set(languages) else "a text that follows from another one"
            return [Guess("seq2seq", "rewrite", what, 5.4, {"data.source_column": source, "data.target_column": target},
                          (source, target), {})]
    return []
