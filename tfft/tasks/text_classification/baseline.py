"""What simple methods reach: a constant answer, and a linear model of TF-IDF features (scikit-learn)."""

import numpy as np
from scipy import sparse, special

from tfft.data.look import WITHOUT_SPACES
from tfft.data.store import TokenStore
from tfft.tasks.text_classification import metrics

VERSION = 1  # of what is computed: raise it with every change
ROWS = 20_000  # of training rows that are learnt from, drawn at random
FEATURES = 100_000
LETTERS = 2000  # of a text that are looked at
TUNED = 5  # several labels: every so many-th row chooses the thresholds
CONSTANT, LINEAR = "a constant answer", "a linear model of TF-IDF features"


def baselines(task, train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict[str, float]]:
    """{method: metrics} on the judged rows, learnt from training rows. judged, train: (store, rows int64[n])."""
    store, rows = train
    rows = task.can_judge(store, rows)
    if len(rows) > ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, ROWS, replace=False))
    goals, truth = _targets(task, store, rows), _targets(task, *judged)
    made = {CONSTANT: _judge(task, truth, np.repeat(_constant(task, goals), len(truth), axis=0), None)}
    features = _features(_texts(store, rows), _texts(*judged))
    if features is not None and len(np.unique(goals, axis=0)) > 1:
        made[LINEAR] = _judge(task, truth, *_linear(task, goals, *features))
    return made


def _targets(task, store: TokenStore, rows: np.ndarray) -> np.ndarray:
    """int32[n] ids, float32[n,L], or values float32[n] in the data's own unit."""
    made = task.targets(store, weighted=False)(rows)[0]
    return made * task.labels.deviation + task.labels.mean if task.problem == "regression" else made


def _texts(store: TokenStore, rows: np.ndarray) -> list[str]:
    return ["\n".join(store.texts(row))[:LETTERS] for row in rows]


def _features(train: list[str], judged: list[str]):
    """TF-IDF of words and pairs of words, in scripts without spaces of up to three characters; None where no text has any."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    looked_at = "".join(train[:200])
    dense = len(WITHOUT_SPACES.findall(looked_at)) > 0.2 * len(looked_at)
    settings = {"analyzer": "char", "ngram_range": (1, 3)} if dense else {"ngram_range": (1, 2), "token_pattern": r"(?u)\w+"}
    maker = TfidfVectorizer(max_features=FEATURES, sublinear_tf=True, dtype=np.float32, **settings)
    try:
        return maker.fit_transform(train), maker.transform(judged)
    except ValueError:  # an empty vocabulary
        return None


def _constant(task, goals: np.ndarray) -> np.ndarray:
    """float32[1,L]: the most frequent label; each label that most rows have, or the most frequent one; the mean."""
    if task.problem == "regression":
        return np.full((1, 1), goals.mean(), np.float32)
    shares = np.bincount(goals, minlength=task.outputs) if goals.ndim == 1 else goals.mean(axis=0)
    made = np.zeros((1, task.outputs), np.float32)
    made[0, np.argmax(shares)] = 1
    if goals.ndim > 1:
        made[0, shares >= 0.5] = 1
    return made


def _linear(task, goals: np.ndarray, train, judged) -> tuple[np.ndarray, np.ndarray | None]:
    """(scores float32[n,L], thresholds float32[L] where several labels may hold)."""
    from sklearn.linear_model import Ridge
    from sklearn.svm import LinearSVC

    def scores(truth: np.ndarray, learnt, asked) -> np.ndarray:
        """[n] of a label that is there or not."""
        if truth.min() == truth.max():
            return np.full(asked.shape[0], float(truth[0]))
        return special.expit(2 * LinearSVC(random_state=0).fit(learnt, truth).decision_function(asked))

    if task.problem == "regression":
        return Ridge(solver="sparse_cg").fit(train, goals).predict(judged)[:, np.newaxis], None
    if task.problem == "single_label":
        model = LinearSVC(random_state=0).fit(train, goals)
        decided = model.decision_function(judged)
        found = np.zeros((judged.shape[0], task.outputs), np.float32)
        found[:, model.classes_] = special.expit(2 * (np.stack([-decided, decided], 1) if decided.ndim == 1 else decided))
        return found, None
    tuned = np.arange(train.shape[0]) % TUNED == 0
    each = [scores(goals[~tuned, k] > 0.5, train[~tuned], sparse.vstack([train[tuned], judged])) for k in range(task.outputs)]
    found = np.stack(each, axis=1).astype(np.float32)
    return found[tuned.sum():], metrics.tune_thresholds(goals[tuned], found[:tuned.sum()])


def _judge(task, truth: np.ndarray, found: np.ndarray, thresholds: np.ndarray | None) -> dict[str, float]:
    return metrics.compute(task.problem, truth, found, task.labels.names, thresholds)[0]
