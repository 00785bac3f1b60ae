"""What reading a source tells beside its rows: words on files, and what was skipped. Of parts read apart it is put together
again."""

from collections import Counter
from typing import Any

from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError

KEPT = 20
UNDECODABLE = 0.01  # share of a file's rows above which its encoding is not that of the config


class Heard:
    """notes: what is to be told -> of which files; broken_count, broken (the first KEPT): rows that were skipped; read: records
    by file; undecodable: file -> the first that is in another encoding, how many are."""

    def __init__(self):
        self.notes: dict[str, list[str]] = {}
        self.broken_count, self.broken = 0, []
        self.read: Counter[str] = Counter()
        self.undecodable: dict[str, tuple[Broken, int]] = {}

    def note(self, note: Note) -> None:
        self.notes.setdefault(note.text, []).append(note.file)

    def count(self, record: Record | Broken) -> None:
        """Counts a record that a reader gave."""
        self.read[record.file] += 1
        if isinstance(record, Broken) and record.undecodable:
            self.count_undecodable(record)

    def count_undecodable(self, broken: Broken) -> None:
        first, count = self.undecodable.get(broken.file, (broken, 0))
        self.undecodable[broken.file] = first, count + 1

    def skip(self, broken: Broken) -> None:
        self.broken_count += 1
        if len(self.broken) < KEPT:
            self.broken.append(broken)

    def forget_counts(self) -> None:
        """Leaves to others to count what has been read so far."""
        self.read.clear()
        self.undecodable.clear()

    def told(self, broken_report: str) -> list[str]:
        """A line for each of the first KEPT words, and the report of broken rows, if there is one."""
        lines = [f"{files[0]}{f' and {len(files) - 1} more' if files[1:] else ''}: {text}"
                 for text, files in self.notes.items()]
        more = [f"... and {len(lines) - KEPT} more such words on files"] if len(lines) > KEPT else []
        return lines[:KEPT] + more + ([broken_report] if self.broken_count else [])

    def broken_report(self) -> str:
        """What was skipped, in one line; '' if nothing."""
        if not self.broken_count:
            return ""
        plural = "row" if self.broken_count == 1 else "rows"
        first = self.broken[0]
        return f"{self.broken_count} broken {plural} skipped; first: {first.file}:{first.line}: {first.reason}"

    def check_encodings(self, kind: str) -> None:
        """Raises: UserError where more of a file's rows would be left out for their encoding than a few that are damaged."""
        for file, (first, count) in self.undecodable.items():
            if count > UNDECODABLE * self.read[file]:
                raise UserError(f"{file}: {count:,} of {self.read[file]:,} rows are not in the encoding that they are read "
                                "in: on_broken_row=skip leaves out 1% of a file's rows for that, no more. The first: line "
                                f"{first.line}: {first.reason}.{encoding_advice(first, kind)}")

    def to_json(self) -> dict[str, Any]:
        return {"notes": self.notes, "broken_count": self.broken_count, "broken": self.broken, "read": self.read,
                "undecodable": self.undecodable}

    def add(self, other: dict[str, Any]) -> None:
        """Adds what was heard of the part that follows, as `to_json` gave it. A word on a file that both were told is one."""
        for text, files in other["notes"].items():
            known = set(self.notes.get(text, []))
            self.notes.setdefault(text, []).extend(file for file in files if file not in known)
        self.broken_count += other["broken_count"]
        self.broken = (self.broken + [Broken(*broken) for broken in other["broken"]])[:KEPT]
        self.read.update(other["read"])
        for file, (first, count) in other["undecodable"].items():
            known, before = self.undecodable.get(file, (Broken(*first), 0))
            self.undecodable[file] = known, before + count


def encoding_advice(broken: Broken, kind: str) -> str:
    """What to do about a row of a source of this kind that is in another encoding."""
    if "--config.data.encoding=" in broken.reason:
        return ""
    if kind == "parquet":
        return " Write the column as text, decoded, where the file is made."
    return " Set --config.data.encoding to what the file is in, or mend the file."
