"""What a row is as a text, in parts that are learnt or not, and what stands around a prompt. Imports no TensorFlow."""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfft.config import CausalLM, CausalLMData
from tfft.data.chat_parts import Part, Uncut
from tfft.data.chat_template import ChatTemplate, Refused, of_checkpoint
from tfft.data.conversation import ASSISTANT, SYSTEM, USER, Message, prompt
from tfft.data.fields import Unusable
from tfft.errors import UserError
from tfft.files import to_path

DATE = "2024-07-26"  # what templates that write today's date take for it: a run must not change with the day
CHOSEN = ("min_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram",
          "length_penalty", "seed")
MARK = re.compile(r"<[^<>\s]+>|\[\w+\]")  # as templates' own words begin


class Prompting(NamedTuple):
    """before and after: what stands around a prompt that is answered; mark: what a prompt begins with that has all of it
    already, "" where there is no such thing; strip: whether its own blanks at both ends are left out."""

    before: str
    after: str
    mark: str
    strip: bool


@dataclasses.dataclass(frozen=True)
class Rendering:
    """template: of conversations; begin: what stands before a plain text, "" for nothing."""

    template: ChatTemplate
    settings: CausalLM
    data: CausalLMData
    begin: str

    @property
    def details(self) -> list:
        """What decides the parts beside the row."""
        template = self.template
        return [template.source, template.bos, template.eos, self.begin, self.settings.system, self.settings.learn,
                *template.control]

    def to_json(self) -> str:
        """What a server needs to write a conversation as a prompt."""
        return json.dumps({"template": dataclasses.asdict(self.template), "system": self.settings.system,
                           "texts": bool(self.data.text_column), "max_new_tokens": self.settings.max_new_tokens,
                           "stop": list(self.settings.stop),
                           "usual": {name: getattr(self.settings, name) for name in CHOSEN}},
                          indent=1, ensure_ascii=False) + "\n"

    def parts(self, values: Mapping[str, Any]) -> list[Part]:
        """A row's values -> what it is as a text. Raises: UserError where the template does not fit its roles."""
        if self.data.text_column:
            return [Part(self.begin, False), Part(self.template.plain(values["prompt"]), True), Part(self.template.eos, True)]
        messages = values.get("messages") or (Message(USER, values["prompt"]), Message(ASSISTANT, values["response"]))
        try:
            return self.template.parts(self._opened(messages), self.settings.learn)
        except (Refused, Uncut) as error:
            raise UserError(f"{error} The conversation begins {messages[0].content[:60]!r}. Choose another "
                            "config.task.template, or take such rows out.") from error

    def asked(self, text: str) -> str:
        """Messages as JSON become what stands before their answer; another prompt stays as it is."""
        if not text.startswith("[{"):
            return text
        try:
            messages = prompt(text, "prompt")
        except Unusable:
            return text
        return self.template.render(self._opened(messages), True)

    @functools.cached_property
    def prompting(self) -> Prompting:
        if self.data.text_column:
            return Prompting(self.begin, "", self.begin, False)
        around = self.template.around([Message(SYSTEM, self.settings.system)] if self.settings.system else ())
        found = MARK.match(around.before)
        return Prompting(around.before, around.after, found[0] if found else around.before, around.strip)

    def _opened(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """With the system message of the settings, where there is none."""
        if self.settings.system and messages[0].role != SYSTEM:
            return Message(SYSTEM, self.settings.system), *messages
        return messages


def rendering_of(tokenizer, settings: CausalLM, data: CausalLMData, control: tuple[str, ...] = ()) -> Rendering:
    """By the settings, or by what the checkpoint says. control: the tokenizer's control tokens. Raises: UserError."""
    ids = {"bos": tokenizer.start_token_id, "eos": tokenizer.end_token_id}
    tokens = {name: tokenizer.id_to_token(int(number)) if number is not None else "" for name, number in ids.items()}
    files = getattr(tokenizer, "chat", {})
    of_its_own = of_checkpoint(files, date=DATE)
    tokens = {name: getattr(of_its_own, name, "") or token for name, token in tokens.items()}
    if settings.template == "auto":
        template = of_its_own or ChatTemplate("plain", **tokens, date=DATE)
    elif settings.template.startswith("file:"):
        template = ChatTemplate(_read(settings.template[5:]), **tokens, label=settings.template[5:], date=DATE)
    else:
        template = ChatTemplate(settings.template, **tokens, date=DATE)
    begins = '"add_bos_token": true' in files.get("tokenizer_config.json", "")
    template = dataclasses.replace(template, **tokens, control=control if settings.special_tokens == "plain" else ())
    return Rendering(template, settings, data, tokens["bos"] if begins else "")


def _read(path: str) -> str:
    try:
        return Path(to_path(path)).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config.task.template=file:{path} cannot be read: {error}.") from error
