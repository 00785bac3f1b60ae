"""What of a file could be texts that belong together. Imports no TensorFlow."""

from tfft.data.look import Column, Guess, Look

PAIRS = (("anchor", "positive"), ("query", "positive"), ("query", "pos"), ("question", "positive"), ("query", "passage"),
         ("query", "document"), ("question", "passage"), ("question", "answer"), ("text", "text_pair"), ("query", "positives"),
         ("sentence1", "sentence2"), ("sentence_a", "sentence_b"), ("text1", "text2"), ("text_a", "text_b"))
NEGATIVES = ("negative", "neg", "negatives", "hard_negative", "hard_negatives", "negative_1", "negative_2", "negative_3")
GIVEN = ("text_column", "text_pair_column")


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """A guess where two columns of texts are a pair by their names, or are given. given: columns by setting, that are known."""
    found = _pair(look, given)
    if found is None:
        return []
    text, pair = found
    settings = {"data.text_column": text.name, "data.text_pair_column": pair.name}
    negatives = [column for each in NEGATIVES if (column := look.named(each)) and _texts(column)]
    why = {"data.text_pair_column": "the text that each text is to find"}
    if negatives:
        settings["data.negative_columns"] = tuple(column.name for column in negatives)
        why["data.negative_columns"] = "texts that it is not to find"
        if most := max((len(each) for column in negatives for each in column.lists or ()), default=0):
            settings["task.negatives"] = min(most, 3)
            why["task.negatives"] = f"a row has up to {most:,}; so many of them are drawn anew in each epoch"
    longer = () if pair.lists else (max(text, pair, key=lambda column: column.words).name,)  # each is read by itself
    return [Guess("embedding", "search", "texts that belong together, for search", 4.0 if negatives else 1.0, settings, longer,
                  why)]


def _pair(look: Look, given: dict[str, str]) -> tuple[Column, Column] | None:
    if all(setting in given for setting in GIVEN):
        return tuple(look.columns[given[setting]] for setting in GIVEN)
    for names in PAIRS:
        made = tuple(look.named(each) for each in names)
        if all(column is not None and _texts(column) for column in made) and made[0].is_text:
            return made
    return None


def _texts(column: Column) -> bool:
    """Whether it holds texts, or lists of them."""
    return column.is_text or bool(column.lists) and all(isinstance(one, str) for each in column.lists for one in each)
