"""Losses of a whole batch of texts: B rows of K texts each, and what is no negative though it stands in another row."""

import tensorflow as tf

FAR = -1e9  # of what does not count


def of_batch(settings, kind: str, targets: dict, outputs: tf.Tensor) -> tf.Tensor:
    """float32[B], summed over the widths of settings.matryoshka and the whole.

    outputs float32[B*K,D], a row's texts one after another. targets: "same" int32[B,K], alike where two texts are the same;
    "there" int32[B,K]; "score" float32[B], 0 to 1, or "label" int32[B].
    """
    texts = tf.reshape(outputs, [-1, targets["same"].shape[1], outputs.shape[-1]])
    widths = sorted({*settings.matryoshka, outputs.shape[-1]})
    return tf.add_n([_of_width(settings, kind, targets, tf.math.l2_normalize(texts[..., :width], axis=-1)) for width in widths])


def _of_width(settings, kind: str, targets: dict, texts: tf.Tensor) -> tf.Tensor:
    """The same of unit vectors float32[B,K,D]."""
    if settings.loss == "ranking":
        found = ranking(texts, targets, settings.temperature)
        return (found + ranking_back(texts, targets, settings.temperature)) / 2 if settings.symmetric else found
    if settings.loss == "triplet":
        return (triplet_of_labels if kind == "labelled" else triplet)(texts, targets, settings.margin)
    if settings.loss == "contrastive" and kind == "labelled":
        return contrastive_of_labels(texts, targets, settings.margin)
    cosine = tf.reduce_sum(texts[:, 0] * texts[:, 1], axis=-1)
    if settings.loss == "cosine":
        return tf.square(cosine - targets["score"])
    if settings.loss == "cosent":
        return cosent(cosine, targets["score"], targets["there"][:, 1] > 0, settings.temperature)
    return contrastive(cosine, targets["score"] >= 0.5, settings.margin)


def strangers(targets: dict) -> tf.Tensor:
    """bool[B,B,K-1]: which texts but the first of all rows are negatives of a row. Not: absent ones, its own text or the one
    that belongs to it wherever they stand, what belongs to the same text in another row, what has its label."""
    same, there = targets["same"], targets["there"] > 0
    first, second, others = same[:, 0], same[:, 1], same[:, 1:]
    made = there[:, 1:] & (others != first[:, tf.newaxis, tf.newaxis]) & (others != second[:, tf.newaxis, tf.newaxis])
    alike = (first[:, tf.newaxis] == first)[..., tf.newaxis]
    belongs = tf.range(others.shape[1]) == 0
    made &= ~(alike & belongs)
    if "label" in targets:
        made &= _other_label(targets["label"])[..., tf.newaxis]
    return made


def ranking(texts: tf.Tensor, targets: dict, temperature: float) -> tf.Tensor:
    """-log(exp(s) / (exp(s) + sum of exp(s') over the row's negatives)), s = cosine / temperature: multiple negatives ranking
    (Henderson et al. 2017, section 4; with hard negatives as in Karpukhin et al. 2020)."""
    scores = tf.einsum("bd,ckd->bck", texts[:, 0], texts[:, 1:])
    negatives = tf.where(strangers(targets), scores / temperature, FAR)
    return _softmax_loss(tf.reduce_sum(texts[:, 0] * texts[:, 1], axis=-1) / temperature, negatives)


def ranking_back(texts: tf.Tensor, targets: dict, temperature: float) -> tf.Tensor:
    """The same from the second texts: which row's first text does each belong to?"""
    same, there = targets["same"], targets["there"] > 0
    first, second = same[:, 0], same[:, 1]
    negative = (there[:, 0] & (first != first[:, tf.newaxis]) & (first != second[:, tf.newaxis])
                & (second != second[:, tf.newaxis]))
    if "label" in targets:
        negative &= _other_label(targets["label"])
    scores = tf.matmul(texts[:, 1], texts[:, 0], transpose_b=True)
    own = tf.reduce_sum(texts[:, 0] * texts[:, 1], axis=-1) / temperature
    return _softmax_loss(own, tf.where(negative, scores / temperature, FAR)[..., tf.newaxis])


def _softmax_loss(own: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """own float32[B], negatives float32[B,...]"""
    flat = tf.reshape(negatives, [tf.shape(negatives)[0], negatives.shape[2] * tf.shape(negatives)[1]])
    return tf.reduce_logsumexp(tf.concat([own[:, tf.newaxis], flat], axis=1), axis=1) - own


def cosent(cosine: tf.Tensor, score: tf.Tensor, there: tf.Tensor, temperature: float) -> tf.Tensor:
    """log(1 + sum of exp((cosine_j - cosine_i) / temperature) over all pairs of rows with score_i > score_j), the same for
    every row (CoSENT, Su 2022)."""
    wrong = (cosine - cosine[:, tf.newaxis]) / temperature
    counts = (score[:, tf.newaxis] > score) & there & there[:, tf.newaxis]
    terms = tf.reshape(tf.where(counts, wrong, FAR), [-1])
    return tf.zeros_like(cosine) + tf.reduce_logsumexp(tf.concat([[0.0], terms], axis=0))


def contrastive(cosine: tf.Tensor, together: tf.Tensor, margin: float) -> tf.Tensor:
    """d^2 / 2 of pairs that belong together, max(0, margin - d)^2 / 2 of others, d = 1 - cosine (Hadsell et al. 2006)."""
    distance = 1 - cosine
    return tf.where(together, tf.square(distance), tf.square(tf.nn.relu(margin - distance))) / 2


def triplet(texts: tf.Tensor, targets: dict, margin: float) -> tf.Tensor:
    """max(0, margin + distance to what belongs - distance to a negative), the mean over the row's own hard negatives; where it
    has none, of the nearest negative in the batch."""
    cosine = tf.reduce_sum(texts[:, 0] * texts[:, 1], axis=-1)
    negative = strangers(targets)
    scores = tf.einsum("bd,ckd->bck", texts[:, 0], texts[:, 1:])
    nearest = tf.reduce_max(tf.where(negative, scores, FAR), axis=[1, 2])
    mined = tf.nn.relu(margin + nearest - cosine)
    if texts.shape[1] == 2:
        return mined
    same, there = targets["same"], targets["there"] > 0
    own = there[:, 2:] & (same[:, 2:] != same[:, :1]) & (same[:, 2:] != same[:, 1:2])
    losses = tf.nn.relu(margin + tf.einsum("bd,bkd->bk", texts[:, 0], texts[:, 2:]) - cosine[:, tf.newaxis])
    return tf.where(tf.reduce_any(own, axis=1), _mean(losses, own), mined)


def triplet_of_labels(texts: tf.Tensor, targets: dict, margin: float) -> tf.Tensor:
    """The same of the farthest text of the row's label and the nearest of another one, among all texts of the batch (Hermans et
    al. 2017, equation 5); 0 where there is none."""
    scores, together, apart = _by_label(texts, targets)
    farthest = tf.reduce_min(tf.where(together, scores, -FAR), axis=1)
    nearest = tf.reduce_max(tf.where(apart, scores, FAR), axis=1)
    both = tf.reduce_any(together, axis=1) & tf.reduce_any(apart, axis=1)
    return tf.where(both, tf.nn.relu(margin + nearest - farthest), 0.0)


def contrastive_of_labels(texts: tf.Tensor, targets: dict, margin: float) -> tf.Tensor:
    """`contrastive` of the row's text with all others of the batch: the mean over its label's, plus that over the others'."""
    scores, together, apart = _by_label(texts, targets)
    losses = contrastive(scores, together, margin)
    return _mean(losses, together) + _mean(losses, apart)


def _by_label(texts: tf.Tensor, targets: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of each row's first text and all texts of the batch, [B,B*K] each: cosines float32, whether they are others of one
    label bool, whether of two labels bool."""
    count, several, width = tf.shape(texts)[0], texts.shape[1], texts.shape[2]
    same, there = (tf.reshape(targets[name], [count * several]) for name in ("same", "there"))
    labels = tf.repeat(targets["label"], several)
    others = (there > 0) & (same != targets["same"][:, :1])
    alike = labels == targets["label"][:, tf.newaxis]
    scores = tf.matmul(texts[:, 0], tf.reshape(texts, [count * several, width]), transpose_b=True)
    return scores, others & alike, others & ~alike


def _other_label(labels: tf.Tensor) -> tf.Tensor:
    return labels != labels[:, tf.newaxis]


def _mean(values: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """float32[B] over the last axis; 0 where there is none."""
    count = tf.reduce_sum(tf.cast(which, tf.float32), axis=-1)
    return tf.reduce_sum(tf.where(which, values, 0.0), axis=-1) / tf.maximum(count, 1.0)
