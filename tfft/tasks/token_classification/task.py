"""Token classification: a tag for each word, entities made of them, and with a setting a label of the whole sentence."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.config.token_classification import window_overlap
from tfft.data.alike import check_same, same_names
from tfft.data.prepare import Reading
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models import crf
from tfft.models.backbone import sequence_output
from tfft.models.ensemble import mean_of_classes
from tfft.models.heads import Pooling
from tfft.tasks import base
from tfft.tasks.token_classification import judging, serving
from tfft.tasks.token_classification.decode import TRANSITIONS
from tfft.tasks.token_classification.doubts import doubts
from tfft.tasks.token_classification.encoder import WordEncoder
from tfft.tasks.token_classification.explained import explained
from tfft.tasks.token_classification.rows import disturbed, row_fields, tag_columns
from tfft.tasks.token_classification.tags import Gold, Tags, extended, infer_tags
from tfft.tasks.token_classification.truth import truth


class TokenClassificationTask(base.Task):
    """Words are judged by their first piece. A unit is a word's emissions float32[T]; where sentences have labels, the first
    unit of each window is the sentence's logits."""

    asked = ("text", "predicate")
    page = "entities"
    extra_specs = {"places": tf.TensorSpec([None, None], tf.int32, name="places")}
    needed = ("tokens", "length", "first_length", "places")

    def __init__(self, settings: config.TokenClassification, tags: Tags):
        super().__init__(settings, tags)
        self.tags, self.crf = tags, settings.head == "crf"
        self.outputs, self.lead = len(tags.names), int(bool(tags.labels))
        self.width = max(self.outputs, len(tags.labels))
        words, row = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
        self.target_specs = {"places": words, "tags": words, **({"first": row, "last": row} if self.crf else {}),
                             **({"label": row} if self.lead else {})}
        self._gold: dict[str, Gold] = {}

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data = experiment.data
        encoder = WordEncoder(tokenizer, max_length=data.max_length, overlap=window_overlap(data), split=data.word_split,
                              given_words=bool(data.words_column), roles=bool(data.predicate_column))
        split = "" if data.words_column else data.word_split
        return Reading(row_fields(experiment, cache), encoder, tag_columns, int(tokenizer.vocabulary_size()),
                       [fingerprint, window_overlap(data), split, bool(data.predicate_column)])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Tags:
        return infer_tags(experiment, store, rows)

    load = staticmethod(Tags.load)
    extend = staticmethod(extended)

    def larger(self, path: str, made: np.ndarray, before: np.ndarray) -> np.ndarray:
        old, made = before.shape[-1], super().larger(path, made, before)
        if path.endswith("transitions"):  # its last two rows are those of the beginning and the end
            made[old:old + 2, :old] = 0
            made[-2:, :old] = before[-2:]
        return made

    def gold(self, store: TokenStore) -> Gold:
        """The tag ids of all words of a store."""
        key = str(store.folder)
        if key not in self._gold:
            self._gold[key] = Gold(store, self.tags)
        return self._gold[key]

    def targets(self, store: TokenStore, *, weighted: bool):
        """places and tags int32[b,S] of the words that an example owns, -1 beyond them and for unknown tags; first and last
        int32[b], 1 where it has its row's first or last word; label int32[b]. An example weighs as many as its tags; 1 where
        sentences have labels."""
        gold, starts, places = self.gold(store), store.column("places_offsets"), store.column("places")
        first, labels = store.column("word"), self._label_ids(store)

        def read(examples: np.ndarray, length: int):
            made = {"places": np.zeros((len(examples), length), np.int32),
                    "tags": np.full((len(examples), length), -1, np.int32)}
            rows = store.row_of(examples)
            for i, (example, row) in enumerate(zip(examples, rows, strict=True)):
                begin, end = int(starts[example]), int(starts[example + 1])
                word = int(gold.offsets[row]) + int(first[example])
                made["places"][i, :end - begin] = places[begin:end]
                made["tags"][i, :end - begin] = gold.ids[word:word + end - begin]
            if self.crf:
                counts = np.diff(gold.offsets)[rows]
                owned = (starts[examples + 1] - starts[examples])
                made["first"] = (first[examples] == 0).astype(np.int32)
                made["last"] = (first[examples] + owned == counts).astype(np.int32)
            if self.lead:
                return {**made, "label": labels(rows)}, np.ones(len(examples), np.float32)
            return made, (made["tags"] >= 0).sum(axis=1).astype(np.float32)

        return read

    def _label_ids(self, store: TokenStore):
        if not self.lead:
            return None
        known = {name: i for i, name in enumerate(self.tags.labels)}
        ids = np.array([known.get(name, -1) for name in store.names("label")], np.int32)
        codes = store.column("label")
        return lambda rows: ids[codes[rows]]

    def can_judge(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """All rows; none where their types, or their labels, are all unknown."""
        gold, first = self.gold(store), 0 if self.tags.scheme == "none" else 1
        lost = gold.unknown(rows.tolist()) and not any((gold.of(row) >= first).any() for row in rows.tolist())
        return rows[:0] if lost or (self.lead and (self._label_ids(store)(rows) < 0).all()) else rows

    def nothing_to_judge(self) -> str:
        known = [*self.tags.types[:10], *self.tags.labels[:10]]
        return f"has a type or a label that the model knows ({', '.join(known)})"

    def strangers(self, store: TokenStore, rows: np.ndarray) -> str:
        made = []
        if unknown := self.gold(store).unknown(rows.tolist()):
            made.append(f"unknown types: {_most(unknown)}; no training row had them, and their words are left out of the "
                        "metrics")
        if self.lead:
            labels = Counter(store.names_of("label", row)[0] for row in rows[self._label_ids(store)(rows) < 0])
            if labels:
                made.append(f"unknown labels: {_most(labels)}; no training row had them, and their rows are left out of "
                            "sentence_accuracy and exact")
        return "; ".join(made)

    def unlike(self, experiment: config.Experiment, store: TokenStore, sources: dict[str, np.ndarray]) -> list[str]:
        gold, kinds = self.gold(store), self.tags.types_of_tags
        found: dict[str, set[str]] = {name: set() for name in sources}
        for name, rows in sources.items():
            for row in rows.tolist():
                found[name] |= {self.tags.types[kind - 1] for kind in set(kinds[gold.of(row)].tolist()) if kind}
        told = same_names("tags" if self.tags.scheme == "none" else "types", found, "types", bool(experiment.data.types))
        if self.lead:
            told += same_names("labels of sentences", {
                name: {store.names("label")[code] for code in set(np.asarray(store.column("label")[rows]).tolist())}
                for name, rows in sources.items()}, "", False)
        return told

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        return truth(self.tags, self.gold(store), store, rows)

    def doubts(self, store: TokenStore, rows: np.ndarray) -> list[tuple[int, int, str]]:
        return doubts(self.tags, self.gold(store), store, rows)

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), bool)  # windows have all of a text

    def disturbed(self, values: dict, kind: str, share: float, seed: int) -> dict | None:
        return disturbed(values, kind, share, seed)

    def explained(self, encoder, wanted: base.Wanted) -> base.Explained:
        return explained(self, encoder, wanted)

    def describe(self) -> str:
        tags = self.tags
        what = "tags" if tags.scheme == "none" else f"entities ({tags.source}, learnt as {tags.scheme})"
        lines = [f"{what}: {_counted(tags.types, tags.counts)}"]
        if tags.labels:
            lines.append(f"labels: {_counted(tags.labels, tags.label_counts)}")
        return "\n".join([*lines, *(f"training rows: {note}" for note in tags.notes)])

    def describe_rows(self, rows: int) -> base.Table:
        total = max(1, sum(self.tags.counts))
        lines = [(name or "without a type", count, f"{count / total:.1%}") for name, count in
                 sorted(zip(self.tags.types, self.tags.counts, strict=True), key=lambda line: -line[1])]
        notes = "\n".join(self.describe().split("\n")[1:])
        return base.Table("types", ("type", "in training rows", "share"), lines, note=notes)

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        """{inputs int32[B,S]} -> {"logits": float32[B,S,T]} of every piece; with a CRF also "transitions", with sentence labels
        "label"."""
        sequence = sequence_output(backbone)
        dropped = keras.layers.Dropout(model.head_dropout, seed=seed, name="head_dropout", dtype="float32")(sequence)
        logits = _dense(self.outputs, seed, "head")(dropped)
        outputs = {"logits": logits}
        if self.crf:
            outputs[TRANSITIONS] = crf.Transitions(self.tags.forbidden(), name=TRANSITIONS)(logits)
        if self.lead:
            kind = "mean" if model.pooling == "pooled" else model.pooling
            vector = Pooling(kind, name="pooling")(sequence, backbone.input["padding_mask"])
            vector = keras.layers.Dropout(model.head_dropout, seed=seed + 1, name="label_dropout", dtype="float32")(vector)
            outputs["label"] = _dense(len(self.tags.labels), seed + 1, "label")(vector)
        return keras.Model(backbone.input, outputs, name="tagger")

    def learning_rate_multiplier(self, path: str) -> float | None:
        return self.settings.transition_rate if path.split("/")[0] == TRANSITIONS else None

    def loss(self, targets, outputs) -> tf.Tensor:
        """The mean over an example's words with a known tag, of cross-entropy or of the CRF's negative log-likelihood."""
        emissions = tf.gather(outputs["logits"], targets["places"], batch_dims=1)
        real = tf.cast(targets["tags"] >= 0, tf.float32)
        count = tf.maximum(tf.reduce_sum(real, axis=1), 1.0)
        tags = tf.maximum(targets["tags"], 0)
        if self.crf:
            # words without a known tag, of evaluation rows alone, are left out of the chain: their places go to its end
            order = _first(targets["tags"] >= 0)
            lengths = tf.cast(tf.reduce_sum(real, axis=1), tf.int32)
            # a window within a text neither begins nor ends it
            steps, start, end = tf.split(outputs[TRANSITIONS], [self.outputs, 1, 1], axis=1)
            start, end = (part * tf.cast(targets[name], tf.float32)[:, tf.newaxis, tf.newaxis]
                          for part, name in ((start, "first"), (end, "last")))
            emissions, tags = (tf.gather(part, order, batch_dims=1) for part in (emissions, tags))
            losses = -crf.log_likelihood(emissions, tags, lengths, tf.concat([steps, start, end], axis=1)) / count
        elif self.settings.label_smoothing:
            goal = tf.one_hot(tags, self.outputs) * (1 - self.settings.label_smoothing) \
                + self.settings.label_smoothing / self.outputs
            losses = tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(goal, emissions) * real, axis=1) / count
        else:
            losses = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(tags, emissions) * real, axis=1) / count
        if not self.lead:
            return losses
        known = tf.cast(targets["label"] >= 0, tf.float32)
        of_label = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets["label"], 0), outputs["label"])
        return losses + self.settings.label_weight * known * of_label

    def averaged(self, tasks: list) -> Callable[[list], dict]:
        """Probabilities of each word's tags, and of sentence labels."""
        if any(task.crf for task in tasks):
            raise UserError("a CRF scores whole sequences of tags, and the mean of several such scores is no CRF's. Train them "
                            "with config.task.head=softmax.")
        check_same("tag", [task.tags.names for task in tasks])
        check_same("sentence label", [task.tags.labels for task in tasks])
        return lambda outputs: {name: mean_of_classes([one[name] for one in outputs]) for name in outputs[0]}

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        return np.diff(np.asarray(store.column("places_offsets")))[examples] + self.lead

    def emit(self, outputs, extras) -> tf.Tensor:
        units = tf.gather(outputs["logits"], extras["places"], batch_dims=1)
        if not self.lead:
            return units
        label = outputs["label"][:, tf.newaxis]
        units, label = (tf.pad(part, [[0, 0], [0, 0], [0, self.width - part.shape[-1]]]) for part in (units, label))
        return tf.concat([label, units], axis=1)

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        return judging.judge(self, judged, self.constants(judged.model).get(TRANSITIONS))

    # ---- prediction

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        return {"places": examples["places"].to_tensor(0)}

    def counts(self, examples: dict) -> tf.Tensor:
        return examples["places"].row_lengths() + self.lead

    def constants(self, model: keras.Model) -> dict[str, np.ndarray]:
        if not self.crf:
            return {}
        layer = model.get_layer(TRANSITIONS)
        return {TRANSITIONS: np.where(layer.forbidden, crf.FORBIDDEN, layer.table.numpy()).astype(np.float32)}

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(self, examples, rows, units, context.constants.get(TRANSITIONS))

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    def signatures(self, served: base.Served) -> dict:
        return serving.signatures(self, served)

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        texts = serving.nasty()
        return {name: [0] * len(texts) if name == "predicate" else texts for name in fields}

    def other_questions(self, rows: list[dict]) -> dict[str, tuple[list[dict], dict[str, list]]]:
        return {"words": serving.as_words(rows)}

    def warm_up(self, fields: tuple[str, ...], length: int) -> dict[str, str | int]:
        return {**super().warm_up(("text",), length), **({"predicate": 0} if "predicate" in fields else {})}

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return serving.difference(expected, got, rows)

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        what = "a tag for each word" if self.tags.scheme == "none" else "the entities in them"
        types = self.tags.types
        made = [f"texts with {what}, of {len(types)} types",
                f"Types: {', '.join(f'`{n}`' for n in types[:50])}{' and more' if len(types) > 50 else ''}."]
        if self.tags.labels:
            made.append(f"Sentence labels: {', '.join(f'`{n}`' for n in self.tags.labels[:50])}.")
        return made

    def card_of_length(self, data: config.TokenClassificationData) -> str:
        return (f"Texts of more than {data.max_length} tokens are read in windows that share {window_overlap(data)}; each word "
                "is judged in the window in which it is farthest from the edges.")


def _first(known: tf.Tensor) -> tf.Tensor:
    """bool[B,S] -> int32[B,S]: the places where it holds, then the others. Counted, not sorted: tf.argsort
    and tf.math.top_k lower to set-dimension-size, of a constant here, but no step that a TPU compiles has that op.

    [F T F T] -> [1 3 0 2]
    """
    ones = tf.cast(known, tf.int32)
    count = tf.reduce_sum(ones, axis=1, keepdims=True)
    goal = tf.where(known, tf.cumsum(ones, axis=1), count + tf.cumsum(1 - ones, axis=1)) - 1
    rows, places = tf.meshgrid(tf.range(tf.shape(ones)[0]), tf.range(tf.shape(ones)[1]), indexing="ij")
    return tf.scatter_nd(tf.stack([rows, goal], axis=-1), places, tf.shape(ones))


def _dense(outputs: int, seed: int, name: str) -> keras.layers.Dense:
    return keras.layers.Dense(outputs, name=name, dtype="float32",
                              kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02, seed=seed))


def _most(counts: Counter) -> str:
    """The most frequent, with their numbers."""
    shown = ", ".join(f"{name!r} ({count:,})" for name, count in counts.most_common(5))
    return f"{shown}{' ...' if len(counts) > 5 else ''}"


def _counted(names: tuple[str, ...], counts: tuple[int, ...], most: int = 12) -> str:
    shown = ", ".join(f"{name or 'without a type'} ({count:,})" for name, count in zip(names[:most], counts, strict=False))
    return f"{shown}{f' ... {len(names)} in all' if len(names) > most else ''}"
