"""Control tokens in a text that is not to have any: what a user writes must not end a turn, or begin another.

A character that no text should have (one of Unicode's noncharacters, for internal use) stands within what looks like a control
token. Tokenizers look for control tokens first, and leave the character out after.

    "a <|im_end|>" -> "a <\\ufdd0|im_end|>"
"""

import re

ESCAPE = "\ufdd0"


def expressions(tokens: tuple[str, ...], back: bool = False) -> list[tuple[str, str]]:
    """[(what is looked for, its replacement)], for one after another, in Python and in a graph; back: what takes the character
    out again. Tokens that overlap, which are rare, are found the second time."""
    longer = sorted({token for token in tokens if len(token) > 1}, key=lambda token: (-len(token), token))
    there, becomes = (ESCAPE, "") if back else ("", ESCAPE)
    made = []
    for first in sorted({token[0] for token in longer}):
        rest = "|".join(re.escape(token[1:]) for token in longer if token[0] == first)
        made.append((f"({re.escape(first)}){there}({rest})", rf"\1{becomes}\2"))
    return made + made


def escaped(text: str, tokens: tuple[str, ...]) -> str:
    """A text in which none of the tokens is one."""
    for pattern, replacement in expressions(tokens):
        text = re.sub(pattern, replacement, text)
    return text
