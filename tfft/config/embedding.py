"""Embeddings of texts, for similarity and retrieval: settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

# what a row is -> losses that fit, the usual one first
LOSSES = {
    "pairs": ("ranking", "triplet"),
    "scored": ("cosent", "cosine", "contrastive"),
    "labelled": ("triplet", "contrastive", "ranking"),
}
COLLECTIONS = ("beir:", "trec:")
METRICS = {
    "pairs": ("ndcg_at_10", "mrr_at_10", "map_at_100", "precision_at_10", "recall_at_1", "recall_at_10", "recall_at_100",
              "loss"),
    "scored": ("spearman", "pearson", "loss"),
    "labelled": ("ndcg_at_10", "mrr_at_10", "precision_at_1", "loss"),
}


@dataclasses.dataclass(frozen=True)
class EmbeddingData(groups.Data):
    """Which column is what. Pairs that belong together: text and text_pair, perhaps negatives. Scored pairs: a score besides.
    Labelled texts: text and label."""

    text_column: str = setting("text", "column of the text: the query, where there are queries", own=True)
    text_pair_column: str = setting("text_pair", "column of the text that belongs to it, or a list of several, or with "
                                                 "score_column of the other text; '' with label_column", own=True)
    negative_columns: tuple[str, ...] = setting((), "columns of texts that do not belong to it though they are like it (hard "
                                                    "negatives): a text or a list in each; may be empty", own=True)
    score_column: str = setting("", "column of how alike the two texts are, a number; '' where rows have none", own=True)
    label_column: str = setting("", "column of the text's label: texts of one label belong together", own=True)
    corpus: str = setting("", "pairs: the collection whose documents evaluations search, beir:FOLDER or trec:FOLDER; '': the "
                              "texts that belong to the rows that are judged, and their hard negatives")

    @property
    def other_sources(self) -> tuple[str, ...]:
        return (f"documents:{self.corpus}",) if self.corpus else ()


@dataclasses.dataclass(frozen=True)
class Embedding(groups.Task):
    """A vector for a text, such that texts that belong together lie near each other."""

    name: str = setting("embedding", "the task", choices=("embedding",))
    loss: str = setting("auto", "auto: ranking for pairs, cosent for scores, triplet for labels",
                        choices=("auto", "ranking", "cosent", "cosine", "contrastive", "triplet"))
    temperature: float = setting(0.05, "ranking and cosent: what similarities are divided by", low=1e-3, high=10)
    symmetric: bool = setting(False, "ranking: find the text of each text_pair as well")
    margin: float = setting(0.5, "triplet and contrastive: distance (1 - cosine) that is far enough", low=0, high=2)
    negatives: int = setting(-1, "hard negatives of each row in a batch, drawn anew each epoch where a row has more; -1: as "
                                 "many as data.negative_columns", low=-1, high=64)
    projection: int = setting(0, "a dense layer to so many values; 0: the vector is as wide as the backbone", low=0)
    normalize: bool = setting(True, "vectors have the length 1, so that a dot product is the cosine")
    matryoshka: tuple[int, ...] = setting((), "vectors also cut to so many values are trained (Kusupati et al. 2022)")
    query_prompt: str = setting("", "what stands before each text, e.g. 'query: '; baked into exports")
    passage_prompt: str = setting("", "what stands before each text_pair and negative, e.g. 'passage: '")


def kind_of(data: EmbeddingData) -> str:
    """pairs, scored or labelled: what a row is."""
    return "labelled" if data.label_column else "scored" if data.score_column else "pairs"


def negatives_of(e) -> int:
    """How many hard negatives a row has in a batch."""
    return len(e.data.negative_columns) if e.task.negatives < 0 else e.task.negatives


def _metrics_of_any(task: Embedding) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in METRICS.values() for name in names))


def _fill(e):
    kind = kind_of(e.data)
    if kind == "labelled" and e.data.text_pair_column == EmbeddingData.text_pair_column:
        e = dataclasses.replace(e, data=dataclasses.replace(e.data, text_pair_column=""))
    if e.task.loss == "auto":
        e = dataclasses.replace(e, task=dataclasses.replace(e.task, loss=LOSSES[kind][0]))
    if e.eval.metric == "auto":
        e = dataclasses.replace(e, eval=dataclasses.replace(e.eval, metric=METRICS[kind][0]))
    return e


def _check(e) -> None:
    task, data, kind = e.task, e.data, kind_of(e.data)
    if not data.text_column:
        raise UserError("config.data.text_column is empty: every row needs a text.")
    if data.label_column and data.score_column:
        raise UserError("Set config.data.label_column or config.data.score_column, not both: a row is a labelled text or a "
                        "scored pair.")
    if kind == "labelled" and data.text_pair_column:
        raise UserError("config.data.label_column makes pairs of texts by their labels: leave data.text_pair_column unset.")
    if kind != "labelled" and not data.text_pair_column:
        raise UserError("config.data.text_pair_column is empty: a row needs the text that belongs to it, or a label "
                        "(config.data.label_column).")
    if kind != "pairs" and (data.negative_columns or task.negatives > 0):
        raise UserError("config.data.negative_columns and config.task.negatives are for pairs that belong together, not for "
                        f"{kind} rows.")
    if data.corpus and kind != "pairs":
        raise UserError(f"config.data.corpus is searched for the texts that belong to a query, which {kind} rows do not have: "
                        "set it to ''.")
    if data.corpus and not data.corpus.startswith(COLLECTIONS):
        raise UserError(f"config.data.corpus={data.corpus} is no collection. Write beir:FOLDER, trec:FOLDER or "
                        "trec:DOCUMENTS,QUERIES.")
    if task.negatives > 0 and not data.negative_columns:
        raise UserError(f"config.task.negatives={task.negatives}, but config.data.negative_columns names no column with them.")
    columns = [c for c in (data.text_column, data.text_pair_column, data.score_column, data.label_column,
                           *data.negative_columns) if c]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UserError(f"config.data names the column {twice[0]!r} twice.")
    if task.loss not in LOSSES[kind]:
        raise UserError(f"config.task.loss={task.loss} does not fit {kind} rows. Fitting: {', '.join(LOSSES[kind])}.")
    if task.symmetric and task.loss != "ranking":
        raise UserError("config.task.symmetric works with loss=ranking only.")
    if e.eval.metric not in METRICS[kind]:
        raise UserError(f"config.eval.metric={e.eval.metric} does not fit {kind} rows. Fitting: {', '.join(METRICS[kind])}.")
    if list(task.matryoshka) != sorted(set(task.matryoshka)) or min(task.matryoshka, default=1) < 1:
        raise UserError(f"config.task.matryoshka={task.matryoshka} must be positive and ascend.")
    if e.train.tokens_per_batch:
        raise UserError("config.train.tokens_per_batch makes batches of varying size, but texts of a batch are told apart from "
                        "each other: set it to 0, and global_batch_size to the rows of a batch.")


CONFIG = TaskConfig(settings=Embedding, data=EmbeddingData, metrics=_metrics_of_any, fill=_fill, check=_check,
                    check_calibration=no_calibration("an embedding has no probabilities"), lower_is_better=("loss",))
