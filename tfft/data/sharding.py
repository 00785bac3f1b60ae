"""A token store that is made in shards, each by itself, by whoever reaches the cache: it can be gone on with, and ends as the
store that would have been made at once.

    <cache>/stores/NAME.making/counts-0-12.json          records of the source's units 0 to 11
    <cache>/stores/NAME.making/shard-00003-of-01000/     a store of its rows, and heard.json, what reading them told
    <cache>/stores/NAME                                  what that folder becomes when all is there
"""

import contextlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

from tfft.data.heard import Heard
from tfft.data.parts import Part, cut, groups, times_read
from tfft.data.prepare import Preparer, keep_told, kept_told
from tfft.data.sources import Source
from tfft.data.store import check_names
from tfft.data.store_folders import publish, temporary_folder, told_errors, whole, write_folder
from tfft.errors import UserError
from tfft.files import copy_tree, remove_tree, write_text

MANY_TIMES = 8  # reading takes a 24th of the time of tokenising and writing
SHARD_BYTES = 256 << 20  # of a source's files, where the number of its shards is not given


class Size(NamedTuple):
    """Of a store."""

    rows: int
    tokens: int
    shards: int


class Making:
    """The store of a source, on its way. name: what Preparer.name calls it; stores: the folder that it shall be in, where it is
    not that of the cache. There folders cannot be renamed (in an object store) or not from here (on another disk): shards are
    copied into the store's own, and what makes it, or one of them, whole is its meta.json, which is written last."""

    def __init__(self, preparer: Preparer, source: Source, name: str, stores: Path | None = None):
        self.preparer, self.source = preparer, source
        self.place = (stores or preparer.cache / "stores") / name
        self._elsewhere = stores is not None
        self.folder = self.place if self._elsewhere else self.place.with_name(f"{name}.making")

    def begin(self) -> None:
        with told_errors(self.place.parent):
            self.folder.mkdir(parents=True, exist_ok=True)

    def finished(self) -> bool:
        with told_errors(self.place.parent):
            return self._whole(self.place)

    def _whole(self, folder: Path) -> bool:
        return (folder / "meta.json").exists() if self._elsewhere else whole(folder) is not None

    # ---- how many records there are

    def uncounted(self, tasks: int) -> list[tuple[int, int]]:
        """Groups of units that `count` has yet to do, of about so many in all."""
        return [group for group in self._groups(tasks) if not self._counted(group).exists()]

    def count(self, group: tuple[int, int]) -> None:
        counts = json.dumps(self.source.counts(*group))
        with told_errors(self.place.parent), contextlib.suppress(FileNotFoundError):  # whoever counts the same was faster
            write_text(self._counted(group), counts)

    def parts(self, tasks: int, shards: int) -> tuple[list[Part], str]:
        """What each shard has, of about so many; and a word where reading would take long."""
        counts = self._counts(tasks)
        parts = cut(counts, *self.source.window(lambda: sum(counts)), shards)
        if (times := times_read(counts, parts)) < MANY_TIMES:
            return parts, ""
        return parts, (f"every record is read {times:.0f} times, since shards begin inside files and these are read from their "
                       f"start: in {shards:,} files or more, or fewer shards, it would be done sooner")

    def records(self, tasks: int) -> int:
        """How many records the shards have."""
        counts = self._counts(tasks)
        first, last = self.source.window(lambda: sum(counts))
        return max(0, min(sum(counts), sum(counts) if last is None else last) - first)

    def _groups(self, tasks: int) -> list[tuple[int, int]]:
        return groups(self.source.units, tasks)

    def _counted(self, group: tuple[int, int]) -> Path:
        return self.folder / f"counts-{group[0]}-{group[1]}.json"

    def _counts(self, tasks: int) -> list[int]:
        return [count for group in self._groups(tasks) for count in json.loads(self._counted(group).read_text())]

    # ---- the shards

    def shard(self, number: int, shards: int) -> Path:
        return self.folder / f"shard-{number:05}-of-{shards:05}"

    def missing(self, shards: int) -> list[int]:
        """The shards that are not there yet.

        Raises: UserError where there are some of another number of shards.
        """
        others = {path.name[-5:] for path in self.folder.iterdir() if path.name.startswith("shard-")} - {f"{shards:05}"}
        if others:
            raise UserError(f"{self.folder} has shards of a preparation in {int(min(others))} shards, not {shards}. Give the "
                            "--shards of before to go on with it, or remove that folder to begin anew.")
        return [number for number in range(shards) if not self._whole(self.shard(number, shards))]

    def make(self, number: int, shards: int, part: Part) -> None:
        """Makes one shard, unless it is there."""
        def build(folder: Path) -> None:
            self.preparer.write(folder, self.source.rows_of(part))
            (folder / "heard.json").write_text(json.dumps(self.source.heard.to_json()))

        place = self.shard(number, shards)
        if self._whole(place):
            return
        if not self._elsewhere:
            write_folder(self.preparer.cache, place, build)
            return
        with told_errors(self.preparer.cache / "stores"), temporary_folder(self.preparer.cache) as temporary:
            build(Path(temporary))
            with told_errors(self.place.parent):
                copy_tree(Path(temporary), place, last="meta.json")

    def finish(self, shards: int) -> None:
        """Puts the store into its place.

        Raises: UserError where all shards together are no store, as one would have been refused.
        """
        folders = [self.shard(number, shards) for number in range(shards)]
        heard, metas = Heard(), []
        for folder in folders:
            heard.add(json.loads((folder / "heard.json").read_text()))
            metas.append(json.loads((folder / "meta.json").read_text()))
        try:
            heard.check_encodings(self.source.kind)
            for name, too_many in {name: text for meta in metas for name, text in meta["too_many"].items()}.items():
                table = dict.fromkeys(one for meta in metas for one in meta["names"].get(name, []))
                check_names(len(table), too_many, next(iter(table), ""))
        except UserError:
            remove_tree(self.folder)  # what mends it makes another store
            raise
        with told_errors(self.place.parent):
            for path in self.folder.iterdir():  # counts, and what workers said
                if path.is_file():
                    path.unlink()
            keep_told(self.folder, heard.told(heard.broken_report()))
            write_text(self.folder / "meta.json", json.dumps({
                "shards": [folder.name for folder in folders], "rows": sum(meta["rows"] for meta in metas),
                "tokens": sum(meta["columns"].get("tokens", ["", 0])[1] for meta in metas)}))
            if not self._elsewhere:
                self._publish()

    def _publish(self) -> None:
        if self.place.exists() and whole(self.place) is None:
            shutil.rmtree(self.place)
        with contextlib.suppress(FileNotFoundError):  # another run of the same command was faster
            publish(self.folder, self.place)

    # ---- the store

    def size(self) -> Size:
        meta = json.loads((self.place / "meta.json").read_text())
        return Size(meta["rows"], meta["tokens"] if "shards" in meta else meta["columns"].get("tokens", ["", 0])[1],
                    len(meta.get("shards", [""])))

    def told(self) -> list[str]:
        """What reading the source told."""
        return kept_told(self.place)

    def fetch(self) -> None:
        """Copies the store from where it is to the cache, unless it is there."""
        here = self.preparer.cache / "stores" / self.place.name
        if whole(here) is None:
            write_folder(self.preparer.cache, here, lambda folder: copy_tree(self.place, folder))


def usual_shards(source: Source) -> int:
    """A number of shards that follows from the sizes of the source's files."""
    return max(1, -(-sum(source.units) // SHARD_BYTES))
