"""Token stores made ahead of training, in shards: in this process, or by workers elsewhere (tfft.run.beam)."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tfft.assets import cache_folder, resolve_backbone
from tfft.config import Experiment, by_source, from_json, in_source, named_sources, to_json
from tfft.data.prepare import Preparer
from tfft.data.sharding import Making, usual_shards
from tfft.errors import UserError
from tfft.files import is_remote, to_path
from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
from tfft.tasks.table import TASKS
from tfft.training.summaries import Console


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker must know of a store. experiment: as JSON; cache: of assets and stores, '' for a worker's own; stores: the
    folder of stores, '' for that of the cache; corpus: it is the task's corpus; name: the store's, which follows from all files
    and is not computed again."""

    experiment: str
    cache: str
    stores: str
    spec: str
    corpus: bool
    name: str

    def making(self) -> Making:
        preparer = _preparer(self.experiment, self.cache, self.corpus)
        return Making(preparer, preparer.source(self.spec), self.name, to_path(self.stores) if self.stores else None)

    @property
    def called(self) -> str:
        """The source, as it is told."""
        return self.spec.split("#sha256")[0]


Work = Callable[[Job, Any], None]
# work, job, items: does the work of each, in any order, and says how it comes on; raises UserError of the first that did
Runner = Callable[[Work, Job, list, Console], None]


def count(job: Job, group: tuple[int, int]) -> None:
    job.making().count(group)


def make(job: Job, item: tuple) -> None:
    job.making().make(*item)


def here(work: Work, job: Job, items: list, console: Console) -> None:
    """The Runner that does it all in this process."""
    try:
        console.start("preparing", len(items))
        for done, item in enumerate(items, 1):
            work(job, item)
            console.advance(done, "")
    finally:
        console.stop()


def prepare_stores(experiment: Experiment, cache: Path, shards: int, run: Runner = here, stores: str = "",
                   fetch: bool = False) -> int:
    """Makes the stores that training and evaluating read, where they are not there: that of the training rows, or of those of
    each source of a mixture, in so many shards (0: by the size of its files), others in shards of about as many rows. stores:
    the folder of stores, if it is not that of the cache; with `fetch` they are copied there afterwards."""
    console = Console()
    for name, one in by_source(experiment).items():
        if name:
            console.say(f"source {name}")
        with in_source(name, one.data):
            _prepare_one(one, cache, shards, run, stores, fetch, console)
    return 0


def _prepare_one(experiment: Experiment, cache: Path, shards: int, run: Runner, stores: str, fetch: bool,
                 console: Console) -> None:
    """The stores of one source."""
    text, size = to_json(experiment), 0
    for spec, corpus in _sources(experiment, text, cache):
        preparer = _preparer(text, str(cache), corpus)
        source = preparer.source(spec)
        job = Job(text, "" if is_remote(stores) else str(cache), stores, spec, corpus, preparer.name(source))
        making = Making(preparer, source, job.name, to_path(stores) if stores else None)
        if not (there := making.finished()):
            _make(making, job, shards or usual_shards(source), size, run, console)
        rows, tokens, parts = making.size()
        console.say(f"{job.called}: {'there already, ' if there else ''}{rows:,} rows, {tokens:,} tokens in {parts:,} "
                    f"{'shard' if parts == 1 else 'shards'}")
        for line in making.told():
            console.say(line)
        if not rows:
            raise UserError(f"{spec} has no rows{f' where {source.data.where}' if source.data.where else ''}.")
        if fetch:
            making.fetch()
        size = size or -(-rows // parts)


def _make(making: Making, job: Job, shards: int, size: int, run: Runner, console: Console) -> None:
    """Makes a store: in so many shards, or in shards of about `size` records."""
    making.begin()
    if groups := making.uncounted(shards):
        console.say(f"{job.called}: counting its records")
        run(count, job, groups, console)
    parts, slow = making.parts(shards, -(-making.records(shards) // size) if size else shards)
    if not parts:
        making.preparer.store(job.spec)  # raises, in its words for that
    if slow:
        console.say(f"{job.called}: {slow}")
    missing = making.missing(len(parts))
    console.say(f"{job.called}: {len(missing):,} of {len(parts):,} shards to make")
    run(make, job, [(number, len(parts), parts[number]) for number in missing], console)
    making.finish(len(parts))


def _sources(experiment: Experiment, text: str, cache: Path) -> Iterable[tuple[str, bool]]:
    """(source, whether it is the corpus of the task) of each store, the training rows' first."""
    yield from ((spec, False) for spec in named_sources(experiment.data))
    if corpus := _preparer(text, str(cache), False).of_corpus():
        yield corpus[1], True


@functools.lru_cache(maxsize=4)
def _preparer(text: str, cache: str, corpus: bool) -> Preparer:
    """What prepares the rows of an experiment, or the task's corpus; every process fetches and loads the tokenizer itself."""
    if corpus:
        return _preparer(text, cache, False).of_corpus()[0]
    experiment = from_json(text)
    folder = Path(cache) if cache else cache_folder(experiment.data.cache)
    tokenizer = load_tokenizer(resolve_backbone(experiment.model.backbone, folder))
    reading = TASKS[experiment.task.name].reading(experiment, tokenizer, tokenizer_fingerprint(tokenizer), folder)
    return Preparer(experiment.data, reading, folder, lambda line: None)
