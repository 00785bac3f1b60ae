"""Rows of a language model: fields, parts that are learnt, windows of texts, prompts as they are asked."""

import itertools
import json

import language
import numpy as np
import pytest
import tensorflow as tf
from test_masked_lm_run import settings_of

from tfft.errors import UserError
from tfft.models.backbone import load_tokenizer
from tfft.models.special_tokens import control_tokens
from tfft.tasks.causal_lm.encoder import ConversationEncoder
from tfft.tasks.causal_lm.rendering import rendering_of
from tfft.tasks.causal_lm.rows import row_fields
from tfft.tasks.texts.language import Language, language_of

GOOD = {"prompt": "good", "response": "bad"}
PROMPT = "<|im_start|>user\ngood<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return language.write(tmp_path_factory.mktemp("language"))


def encoder(preset, max_length: int = 64, config: str = "my_chat:jsonl:x", **changes) -> ConversationEncoder:
    chosen = settings_of(config, preset, "", data__max_length=max_length, **changes)
    tokenizer = load_tokenizer(str(preset))
    rendering = rendering_of(tokenizer, chosen.task, chosen.data, control_tokens(tokenizer))
    return ConversationEncoder(tokenizer, rendering, max_length=max_length,
                               overlap=chosen.data.overlap)


def read(made: ConversationEncoder, rows: list[dict]) -> list[tuple[int, str, str]]:
    """(row, the example's text, what of it is learnt)"""
    examples, _ = made(*map(tf.constant, made.feed(rows)))

    def text(tokens):
        return spelt(made, tokens)

    assert examples["length"].numpy().tolist() == [len(t) for t in examples["tokens"].to_list()]
    return [(row, text(tokens), text([t for t, learnt in zip(tokens, flags, strict=True) if learnt])) for row, tokens, flags in
            zip(examples["row"].numpy().tolist(), examples["tokens"].to_list(), examples["learnt"].to_list(), strict=True)]


def spelt(made: ConversationEncoder, tokens: list[int]) -> str:
    """With the names of special tokens."""
    spell, names = language_of(made.tokenizer, "", 0), (language.START, language.END)
    return "".join("".join(names[t] for t in part) if special else spell.written(list(part))
                   for special, part in itertools.groupby(tokens, lambda t: t < 2))


def test_responses_are_learnt_with_their_end(preset):
    pairs = encoder(preset, data__messages_column="")
    assert read(pairs, [{"prompt": "good", "response": "bad"}, {"prompt": "good", "response": "a\nb"}]) == [
        (0, f"{PROMPT}bad<|im_end|>\n", "bad<|im_end|>"), (1, f"{PROMPT}a\nb<|im_end|>\n", "a\nb<|im_end|>")]
    rows = encoder(preset, data__messages_column="", task__system="Be.", task__template="chatml")
    assert read(rows, [GOOD])[0][1] == f"<|im_start|>system\nBe.<|im_end|>\n{PROMPT}bad<|im_end|>\n"
    plain = encoder(preset, data__messages_column="", task__template="plain")
    assert read(plain, [{"prompt": "good", "response": " bad"}]) == [(0, "good bad<|im_end|>", " bad<|im_end|>")]
    assert read(encoder(preset, data__messages_column="", task__learn="all"), [GOOD])[0][2] == \
        f"{PROMPT}bad<|im_end|>\n"
    cut = read(encoder(preset, 20, data__messages_column=""), [{"prompt": "good", "response": "bad good bad good"}])
    assert len(cut) == 1 and cut[0][1].startswith(f"{PROMPT}bad") and "good<|im_end|>" not in cut[0][1][len(PROMPT):]


def test_the_last_answer_alone(preset):
    read_row = row_fields(settings_of("my_chat:jsonl:x", preset, ""), None)
    value = [{"from": "human", "value": "good"}, {"from": "gpt", "value": "bad"}, {"from": "human", "value": "so"},
             {"from": "gpt", "value": "yes"}]
    row = {field.name: field.read(json.dumps(value), field.column) for field in read_row}
    assert json.loads(row["prompt"]) == [{"role": "user", "content": "good"}, {"role": "assistant", "content": "bad"},
                                         {"role": "user", "content": "so"}]
    assert read(encoder(preset, task__learn="last"), [row])[0][2] == "yes<|im_end|>"
    assert read(encoder(preset), [row])[0][2] == "bad<|im_end|>yes<|im_end|>"


@pytest.mark.parametrize(("length", "overlap"), [(8, 1), (8, 5), (9, 3), (64, 1), (10, 99)])
def test_each_token_of_a_text_is_learnt_once(preset, length, overlap):
    texts = encoder(preset, length, "my_text:jsonl:x", data__window_overlap=overlap)
    rows = [{"prompt": "good bad " * n} for n in (1, 4, 12)]
    found = read(texts, rows)
    for number, row in enumerate(rows):
        mine = [(text, learnt) for i, text, learnt in found if i == number]
        assert "".join(learnt for _, learnt in mine) == row["prompt"] + "<|im_end|>"
        assert all(learnt and text.endswith(learnt) for text, learnt in mine)
    if length == 64:
        assert len(found) == 3


def test_prompts_are_asked_as_they_are_learnt(preset):
    made = encoder(preset, 40)

    def asked(*prompts, encoder=made) -> list[str]:
        examples, rows = encoder.asked(**encoder.strings([{"prompt": prompt} for prompt in prompts]))
        assert rows["full_length"].shape == (len(prompts),)
        return [spelt(encoder, tokens) for tokens in examples["tokens"].to_list()]

    assert asked("good", PROMPT) == [PROMPT, PROMPT]
    assert asked(json.dumps([{"role": "user", "content": "good"}])) == [PROMPT]
    assert asked('[{"role": "user"')[0].startswith('<|im_start|>user\n[{"role": "user"')
    long, = asked("good " * 50)
    assert long.endswith("good <|im_end|>\n<|im_start|>assistant\n") and "<|im_start|>user" not in long
    assert asked(b"\xff", "", encoder=encoder(preset, 40, "my_text:jsonl:x")) == ["\ufffd", "<|im_start|>"]
    stripping = "{% for m in messages %}[U] {{ m['content'] | trim }} [A]{% endfor %}"
    other = encoder(preset, 40, task__template=f"file:{written(preset, stripping)}")
    assert asked("\u3000 good \n", encoder=other) == ["[U] good [A]"]


def written(folder, template: str) -> str:
    (folder / "own.jinja").write_text(template)
    return str(folder / "own.jinja")


def test_a_template_that_does_not_fit(preset):
    refuses = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" \
              "{{ m['content'] }}</s>{% endfor %}"
    made = encoder(preset, data__messages_column="", task__system="Be.", task__template=f"file:{written(preset, refuses)}")
    with pytest.raises(UserError, match="no system here.* The conversation begins 'good'. Choose another config.task.template"):
        made.feed([{"prompt": "good", "response": "bad"}])


def test_answers_are_spelt_by_their_bytes(tmp_path, preset):
    tokenizer = load_tokenizer(str(preset))
    made = language_of(tokenizer, "<|im_end|>", 9)
    made.save(tmp_path)
    assert Language.load(tmp_path) == made and made.ends == (1,) and made.max_length == 9
    ids = language.vocabulary()
    text = "\u00e9\u4e16 a\n"
    tokens = [ids[language.LETTERS[byte]] for byte in text.encode()]
    rows = tf.constant([tokens + [1] + [-1] * 2, tokens[:1] + [-1] * (len(tokens) + 2)])
    assert [each.decode() for each in made.spell(rows).numpy()] == [text, "\ufffd"]
    assert made.written(tokens) == text
    assert np.array(made.pieces)[[ids["good"], ids["\u0120bad"], 0, 1]].tolist() == ["good", " bad", "", ""]
