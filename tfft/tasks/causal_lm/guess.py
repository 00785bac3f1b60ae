"""What of a file could be conversations, or prompts with their responses. Imports no TensorFlow."""

from tfft.data.conversation_columns import shape
from tfft.data.look import Guess, Look

WHAT = {"messages": "the assistant's answers in conversations", "conversations": "the assistant's answers in conversations",
        "alpaca": "the response to an instruction", "dolly": "the response to an instruction",
        "prompt/response": "the response to a prompt"}
SETTINGS = {"prompt": "data.prompt_column", "extra": "data.context_column", "response": "data.response_column",
            "messages": "data.messages_column"}
LONG = 3.0  # words of a response on average: shorter ones are rather labels


def guesses(look: Look, given: dict[str, str]) -> list[Guess]:
    """given: columns by setting, that are known."""
    found = shape({name: column.values for name, column in look.columns.items()})
    columns = {part: column for part, column in found.columns.items() if part in SETTINGS} if found else {}
    columns |= {part: given[setting[5:]] for part, setting in SETTINGS.items() if setting[5:] in given}
    if "messages" in columns:
        kind = found.kind if found and "messages" in found.columns else "messages"
    elif {"prompt", "response"} <= columns.keys():
        kind = found.kind if found and "prompt" in found.columns else "prompt/response"
        if look.columns[columns["response"]].words < LONG and "response_column" not in given:
            return []
    else:
        return []
    settings = {SETTINGS[part]: column for part, column in columns.items()}
    return [Guess("causal_lm", "text", WHAT[kind], 5.2, settings, tuple(columns.values()), {})]
