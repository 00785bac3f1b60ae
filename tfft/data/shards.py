"""Several shards of a store, read as one."""

from typing import Any

import numpy as np


def join(shards: list) -> tuple[dict[str, Any], dict]:
    """(columns, meta) of shards read as one store: codes and files in one count, rows and offsets one after another."""
    shards = [shard for shard in shards if len(shard)] or shards[:1]  # one without rows has no columns
    metas = [shard.meta for shard in shards]
    tables = {name: list(dict.fromkeys(n for meta in metas for n in meta["names"].get(name, [])))
              for name in dict.fromkeys(name for meta in metas for name in meta["names"])}
    files = list(dict.fromkeys(file for meta in metas for file in meta["files"]))
    columns = {}
    for name in shards[0].meta["columns"]:
        parts, add, maps = [shard.column(name) for shard in shards], np.zeros(len(shards), np.int64), None
        if name == "row":
            add = np.cumsum([0, *(meta["rows"] for meta in metas[:-1])])
        elif name.endswith("_offsets"):  # each begins at 0; all but the first leave that out
            sizes = [len(shard.column(name.removesuffix("_offsets"))) for shard in shards]
            add = np.cumsum([0, *sizes[:-1]])
            parts = [parts[0], *(part[1:] for part in parts[1:])]
        elif name in tables or name == "file":
            whole = {n: i for i, n in enumerate(files if name == "file" else tables[name])}
            maps = [np.array([whole[n] for n in (meta["files"] if name == "file" else meta["names"].get(name, []))] or [0],
                             np.int32) for meta in metas]
        columns[name] = Joined(parts, add, maps)
    return columns, {"rows": sum(meta["rows"] for meta in metas), "names": tables, "files": files,
                     "fields": metas[0]["fields"], "columns": metas[0]["columns"],
                     "too_many": {name: text for meta in metas for name, text in meta.get("too_many", {}).items()}}


class Joined:
    """Several arrays as one, where indices of one place or a slice, of arrays or masks are asked for; nothing is copied but
    the answer. add: what each array's values are raised by; maps: what they stand for instead."""

    def __init__(self, parts: list[np.ndarray], add: np.ndarray, maps: list[np.ndarray] | None):
        self._parts, self._add, self._maps = parts, add, maps
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.dtype = np.dtype(np.int64) if add.any() else parts[0].dtype if maps is None else np.dtype(np.int32)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self._parts[0].shape[1:]

    def _of(self, shard: int, values: np.ndarray) -> np.ndarray:
        if self._maps is not None:
            return self._maps[shard][values]
        return values + self._add[shard] if self._add[shard] else values

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            first = min(max(int(np.searchsorted(self._starts, start, "right")), 1), len(self._parts)) - 1
            if stop <= self._starts[first + 1]:
                return self._of(first, self._parts[first][start - self._starts[first]:max(start, stop) - self._starts[first]])
            made = self._empty(stop - start)
            for shard in range(first, int(np.searchsorted(self._starts, stop))):
                low, high = max(start, self._starts[shard]), min(stop, self._starts[shard + 1])
                made[low - start:high - start] = self._of(shard, self._parts[shard][low - self._starts[shard]:
                                                                                  high - self._starts[shard]])
            return made
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        places = index.ravel()
        if len(places) and places.min() < 0:
            places = np.where(places < 0, places + len(self), places)
        if not _ascend(places):
            order = np.argsort(places, kind="stable")
            made = self._empty(len(places))
            made[order] = self._at(places[order])
        else:
            made = self._at(places)
        return made.reshape((*index.shape, *made.shape[1:]))[()]

    def _at(self, places: np.ndarray) -> np.ndarray:
        """The values at places that ascend: shard after shard, so that time does not grow with their product."""
        made, bounds = self._empty(len(places)), np.searchsorted(places, self._starts)
        if len(places) and (bounds[0] or bounds[-1] < len(places)):
            raise IndexError(f"no place {places[-1] if bounds[-1] < len(places) else places[0]} among {len(self)}")
        for shard in np.flatnonzero(np.diff(bounds)):
            mine = slice(bounds[shard], bounds[shard + 1])
            made[mine] = self._of(shard, self._parts[shard][places[mine] - self._starts[shard]])
        return made

    def _empty(self, count: int) -> np.ndarray:
        return np.empty((count, *self._parts[0].shape[1:]), self.dtype)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    def astype(self, dtype):
        return self[:].astype(dtype)


def _ascend(places: np.ndarray, step: int = 1 << 20) -> bool:
    """Whether no place is below the one before it; looked at part by part, for there may be many."""
    return all((part[1:] >= part[:-1]).all() for part in (places[at:at + step + 1] for at in range(0, len(places), step)))
