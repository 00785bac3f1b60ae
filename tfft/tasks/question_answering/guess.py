"""What of a file could be questions about a context, with their answers. Imports no TensorFlow."""

from tfft.data import squad
from tfft.data.look import Guess, Look

QUESTIONS = ("question", "questions", "query", "query_text")
CONTEXTS = ("context", "passage", "paragraph", "contexts", "document", "text", "article")
ANSWERS = ("answers", "answer", "answer_text")
STARTS = ("answer_start", "start", "answer_starts")
ENOUGH = 0.5  # of the answers must stand in their contexts


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """given: columns by setting, that are known."""
    found = {}
    for setting, names in (("question_column", QUESTIONS), ("context_column", CONTEXTS), ("answers_column", ANSWERS)):
        column = look.columns[given[setting]] if setting in given else look.named(*names)
        if column is None:
            return []
        found[setting] = column.name
    start = look.named(*STARTS)
    inside, answered = _inside(look, found)
    if not answered or inside < ENOUGH * answered:
        return []
    settings = {f"data.{setting}": name for setting, name in found.items()}
    if start and start.numbers:
        settings["data.answer_start_column"] = start.name
    # all questions on a context are on one side of the split
    settings["data.id_column"] = found["context_column"]
    return [Guess("question_answering", "answers", "the answer to a question in its context", 5.0, settings, (), {
        "data.answers_column": f"{inside:,} of {answered:,} answers looked at stand in their contexts",
        "data.id_column": "all questions on a context are on one side of the split"})]


def _inside(look: Look, found: dict[str, str]) -> tuple[int, int]:
    """(answers that are parts of their contexts, answers)."""
    contexts, answers = (look.columns[found[setting]].values for setting in ("context_column", "answers_column"))
    if len(contexts) != len(answers):  # some rows lack one: the answers alone are looked at
        return len(answers), len(answers)
    inside = answered = 0
    for context, given in zip(contexts, answers):
        try:
            texts = [answer["text"] for answer in squad.read_answers(given, None)]
        except ValueError:
            texts = [""]
        if texts:
            answered += 1
            inside += any(text and text in str(context) for text in texts)
    return inside, answered
