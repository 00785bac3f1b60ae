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
                     "fields": metas[0]["fields"], "columns": metas[0]["columns"]}


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
            first = int(np.searchsorted(self._starts, start, "right")) - 1
            made = []
            for shard in range(max(first, 0), len(self._parts)):
                low, high = max(start - self._starts[shard], 0), stop - self._starts[shard]
                if high <= 0:
                    break
                made.append(self._of(shard, self._parts[shard][low:high]))
            return made[0] if len(made) == 1 else np.concatenate(made or [self._parts[0][:0].astype(self.dtype)])
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        places = np.where(index < 0, index + len(self), index)
        shards = np.searchsorted(self._starts, places, "right") - 1
        made = np.zeros((*index.shape, *self._parts[0].shape[1:]), self.dtype)
        for shard in np.unique(shards):
            mine = shards == shard
            made[mine] = self._of(shard, self._parts[shard][places[mine] - self._starts[shard]])
        return made[()]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    def astype(self, dtype):
        return self[:].astype(dtype)
