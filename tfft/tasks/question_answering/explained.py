"""What of an answer in a context is explained: the log odds of its span, or of there being none.

A span has the probability with which it begins at its first piece, times that with which it ends at its last one, among the
pieces of the context in its window and [CLS], which stands for no answer: what the model was trained by. Its log odds are log
of that over the probability of all other spans.
"""

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TRACE
from tfft.data.word_places import Word
from tfft.errors import UserError
from tfft.tasks.base import Explained, Target, Wanted, against_others


def explained(task, encoder, wanted: Wanted) -> Explained:
    if wanted.label:
        raise UserError(f"--label={wanted.label}: an answer is a part of its context, and has no label. Another part is asked "
                        "about by --word=TEXT or --at=START:END.")
    wanted.no_against("an answer is held against all other parts of its context. Leave --against out.")
    look = tf.function(encoder.traced, autograph=False, reduce_retracing=True)

    def words(row: dict[str, str]) -> tuple[list[Word], np.ndarray]:
        tokens, *both = look(**encoder.strings([row]))
        made = [[Word(field, *place) for place in zip(one.start[0].numpy().tolist(), one.end[0].numpy().tolist())]
                for field, one in zip(encoder.fields, both, strict=True)]
        tokens = tokens.to_tensor(-1).numpy()
        owner = tokens % TRACE + np.where(tokens >= 2 * TRACE, len(made[0]), 0)
        return [*made[0], *made[1]], np.where(tokens >= TRACE, owner, -1).astype(np.int64)

    def targets(response: dict[str, np.ndarray], examples: dict, rows: dict) -> tuple[list[Target], str]:
        answer = task.answers(response)[0][0]
        answer.pop("n_best")
        context = rows["context"].numpy()[0].decode("utf-8", "replace")
        starts, ends = (rows[name][0].numpy() for name in ("word_start", "word_end"))
        bounds = np.stack([examples[name].numpy() for name in ("first_length", "length")], axis=1)
        windows, chosen = np.arange(len(bounds))[:, np.newaxis], wanted.words(context, starts, ends)
        if not chosen and answer["start"] < 0:
            nowhere = np.zeros_like(bounds)
            return [Target("no answer", "log odds", np.concatenate([nowhere, bounds], axis=1), windows, least=True,
                           token=nowhere, answer=answer)], ""
        if not chosen:
            chosen = int(np.searchsorted(starts, answer["start"])), int(np.searchsorted(starts, answer["end"]))
        about = Word("context", int(starts[chosen[0]]), int(ends[chosen[1] - 1]))
        name = repr(context[about.start:about.end])
        places, whole = _places(chosen, rows["piece_word"][0].numpy(), examples["begin"].numpy(), bounds)
        if not whole.any():
            return [], f"no window has all of {name:.80}"
        first = np.stack([np.zeros_like(places[:, 0]), places[:, 0]], axis=1)
        return [Target(name, "log odds", np.concatenate([places, bounds], axis=1)[whole], windows[whole], token=first[whole],
                       about=about, answer=answer)], ""

    return Explained((), _odds, targets, words, lambda row: {name: row[name] for name in encoder.fields})


def _places(chosen: tuple[int, int], piece_word: np.ndarray, begin: np.ndarray, bounds: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """The words first to behind the last -> (their first and last piece in each window int32[N,2], bool[N] whether it has all
    of them). begin int32[N], bounds int32[N,2]: of the encoder's examples begin, and first_length and length."""
    pieces = np.searchsorted(piece_word, [chosen[0], chosen[1]], "left") - [0, 1]
    places = (pieces + bounds[:, :1] - begin[:, np.newaxis]).astype(np.int32)
    return places, (places[:, 0] >= bounds[:, 0]) & (places[:, 1] < bounds[:, 1] - 1)


def _odds(outputs: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Logits float32[n,S,2], at int32[n,4]: first and last piece, first_length and length of the window -> float32[n].

    With log odds a and b of beginning there and of ending there, (1 - p) / p = (1 + exp -a) (1 + exp -b) - 1.
    """
    place = tf.range(tf.shape(outputs)[1])[tf.newaxis]
    among = (place >= at[:, 2:3]) & (place < at[:, 3:] - 1) | (place == 0)
    a, b = (-against_others(outputs[..., i], place == at[:, i:i + 1], among & (place != at[:, i:i + 1])) for i in range(2))
    return -tf.reduce_logsumexp(tf.stack([a, b, a + b]), axis=0)
