"""Chat templates: what a conversation is as one text for a language model. Imports no TensorFlow.

    ChatTemplate("chatml").render([Message("user", "Hi")], for_answer=True)
    -> "<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n"
"""

import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.sandbox

from tfft.converters.escape import escaped
from tfft.data.chat_formats import NAMED
from tfft.data.chat_parts import Cutter, Part, cut
from tfft.data.conversation import USER, Message
from tfft.errors import UserError, unknown

FILES = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
MARK = "\ue000"
# contents that a template could look into
PROBES = ("{}", "{}\n{}", "<think>{}</think>{}", "{{{{ {} }}}} & <b>'\"", "{} /no_think", "system: {}", "")
BLANKS = ("{} \n", " \n{}")


class Refused(UserError):
    """A template does not render this conversation: its roles, perhaps, stand in an order that the model was not made for."""


class Around(NamedTuple):
    """What stands before and after the user's words in a prompt; strip: whether their blanks at both ends are left out."""

    before: str
    after: str
    strip: bool


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template as Hugging Face has them, or one of NAMED.

    source: the template, or its name; bos, eos: the tokenizer's tokens; label: how messages call it; variables: what else the
    template is told, such as {"enable_thinking": False}; date: the day that it takes for today, ISO; that of the first
    rendering where it is not given; control: tokens that are none in what is said. All are JSON's, so that dataclasses.asdict
    can be saved, and ChatTemplate(**saved) is the same.
    """

    source: str
    bos: str = ""
    eos: str = ""
    label: str = ""
    variables: dict[str, Any] = dataclasses.field(default_factory=dict)
    date: str = ""
    control: tuple[str, ...] = ()

    def __post_init__(self):
        if self.source not in NAMED and "{" not in self.source:
            raise UserError(f"{unknown('chat template', self.source, NAMED)} Or give a Jinja template as Hugging Face has them")

    @property
    def name(self) -> str:
        return self.label or (self.source if self.source in NAMED else "of the config")

    def render(self, messages: Sequence[Message], for_answer: bool) -> str:
        """The conversation as one text. for_answer: it ends where the assistant's next message begins.

        Raises: UserError where it is no template; Refused.
        """
        template = self._compiled
        said = [{"role": message.role, "content": self.plain(message.content)} for message in messages]
        try:
            return template.render(messages=said, add_generation_prompt=for_answer, bos_token=self.bos, eos_token=self.eos,
                                   tools=None, documents=None, **self.variables)
        except Exception as error:  # it is a program of others: whatever it raises is its own
            roles = ", ".join(message.role for message in messages)
            raise Refused(f"The chat template {self.name} does not render a conversation of {roles or 'nothing'}: "
                          f"{_told(error)}") from error

    def plain(self, text: str) -> str:
        """A text whose control tokens are none."""
        return escaped(text, tuple(self.control))

    def parts(self, messages: Sequence[Message], learn: str) -> list[Part]:
        """render(messages, False), cut into what is learnt and what is not.

        learn: "responses" (all that the assistant says, each with the token that ends it), "last" (its last message alone) or
        "all" (everything). Messages with learn=False are learnt in "all" alone. Raises: Refused, Uncut.
        """
        messages = [message._replace(content=self.plain(message.content)) for message in messages]
        text = self.render(messages, False)
        if learn == "all":
            return [Part(text, True)]
        answers = self._cutter.answers(messages, text)
        if learn == "last":
            answers = {place: span for place, span in answers.items() if place == max(answers)}
        return cut(text, sorted(span for place, span in answers.items() if messages[place].learn))

    def around(self, before: Sequence[Message] = ()) -> Around:
        """What a prompt for an answer is, but for the user's words: before + words + after. before: the system's message, say.

        Raises: UserError where the template makes something else of some words, so that a prompt is no mere concatenation.
        """
        def prompt(words: str) -> str:
            return self.render([*before, Message(USER, words)], True)

        start, mark, after = prompt(MARK).partition(MARK)
        if not mark or MARK in after:
            raise UserError(f"The chat template {self.name} writes the user's words {1 + after.count(MARK) if mark else 0} "
                            "times in a prompt, so that a prompt is no mere concatenation")
        for probe in PROBES:
            words = probe.format(MARK, MARK)
            if prompt(words) != start + self.plain(words) + after:
                raise UserError(f"The chat template {self.name} makes something else of {words.replace(MARK, '...')!r} in a "
                                "prompt, so that a prompt is no mere concatenation")
        whole = [prompt(probe.format(MARK)) == start + probe.format(MARK) + after for probe in BLANKS]
        stripped = [prompt(probe.format(MARK)) == start + MARK + after for probe in BLANKS]
        if not all(whole) and not all(stripped):
            raise UserError(f"The chat template {self.name} removes some of the blanks around the user's words in a prompt and "
                            "not others, so that a prompt is no mere concatenation")
        return Around(start, after, all(stripped))

    @property
    def end(self) -> str:
        """The text that ends an answer, such as "<|im_end|>"; "" where the template ends it with nothing. Raises: Refused."""
        return self._cutter.end.strip() or self._cutter.end

    @functools.cached_property
    def _cutter(self) -> Cutter:
        return Cutter(self.render, self.eos, self.name)

    @functools.cached_property
    def _compiled(self) -> jinja2.Template:
        today = datetime.datetime.fromisoformat(self.date) if self.date else datetime.datetime.now()
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals.update(raise_exception=_raise, strftime_now=today.strftime)
        try:
            return environment.from_string(NAMED.get(self.source, self.source))
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"The chat template {self.name} is no Jinja template: line {error.lineno}: "
                            f"{error.message}") from error

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is compiled is compiled anew in another process."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def of_checkpoint(files: Mapping[str, str], **others: Any) -> ChatTemplate | None:
    """The template that a checkpoint in Hugging Face's layout brings, with its tokens; None where it has none.

    files: the texts of those of FILES that it has. The template is chat_template.jinja, else "chat_template" of
    tokenizer_config.json: a text, or a list of {"name", "template"} of which "default" is taken. others: fields of
    ChatTemplate. Raises: UserError.
    """
    settings = _settings(files, "special_tokens_map.json") | _settings(files, "tokenizer_config.json")
    found = settings.get("chat_template")
    source = files.get("chat_template.jinja") or (_default(found) if isinstance(found, list) else found)
    if not isinstance(source, str) or not source.strip():
        return None
    tokens = {name: _token(settings.get(f"{name}_token")) for name in ("bos", "eos")}
    return ChatTemplate(source, **{**tokens, "label": "of the checkpoint", **others})


def _settings(files: Mapping[str, str], name: str) -> dict:
    try:
        made = json.loads(files.get(name) or "{}")
    except ValueError as error:
        raise UserError(f"The checkpoint's {name} is no JSON: {error}") from error
    if not isinstance(made, dict):
        raise UserError(f"The checkpoint's {name} holds {made!r:.40}, which is no object")
    return made


def _default(several: list) -> str:
    named = {each.get("name"): each.get("template") for each in several if isinstance(each, dict)}
    if "default" not in named and len(named) != 1:
        raise UserError("The checkpoint's tokenizer_config.json has the chat templates "
                        f"{', '.join(map(str, named)) or 'none'}, and none is the default. Write the one that is meant "
                        "into chat_template.jinja beside it")
    return named.get("default", next(iter(named.values())))


def _token(value: Any) -> str:
    """A special token, as a text or as {"content": ...}."""
    value = value.get("content") if isinstance(value, Mapping) else value
    return value if isinstance(value, str) else ""


class _Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}, with which some templates mark what is learnt, is what stands inside."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: tuple | None = None,
             sort_keys: bool = False) -> str:
    """JSON as it is; Jinja's own filter writes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, jinja2.TemplateError) and str(error) else f"{type(error).__name__}: {error}"
