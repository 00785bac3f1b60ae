"""An index on disk.

    manifest.json    what it was made of and how; an index is whole where this is there
    documents/       ids and texts, a store of tfft.data.store
    vectors.npy      float32[n,D], of length 1
    faiss.index      the approximate index, where there is one
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import write_text
from tfft.vectors.approximate import Approximate
from tfft.vectors.exact import nearest

MANIFEST, DOCUMENTS, VECTORS, FAISS = "manifest.json", "documents", "vectors.npy", "faiss.index"
FORMAT = 1  # raise it whenever folders of before cannot be read as they are


class Index:
    """An index folder, opened: memory maps, of which a search reads what it needs.

    Raises: UserError where the folder holds no index, a damaged one, or one of another version.
    """

    def __init__(self, folder: Path, exact: bool = False):
        self.folder, self.manifest = folder, read_manifest(folder)
        try:
            self._documents = TokenStore(folder / DOCUMENTS)
            self.vectors = np.load(folder / VECTORS, mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The index {folder} is damaged ({error}). Make it anew: {self.manifest.get('command')}") from error
        found = self.manifest["approximate"]
        self._approximate = Approximate(folder / FAISS, self.vectors, found["probes"]) if found and not exact else None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimensions(self) -> int:
        return self.vectors.shape[1]

    def id(self, place: int) -> str:
        return self._documents.string("id", place)

    def text(self, place: int) -> str:
        return self._documents.string("text", place)

    def ids(self, places: np.ndarray) -> list[str]:
        """Those of a query's results; -1, which is none, is left out."""
        return [self.id(place) for place in places.tolist() if place >= 0]

    def search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """(places int64[q,k], the nearest first, -1 where there are no more; cosines float32[q,k]) of queries float32[q,D] of
        length 1."""
        if self._approximate:
            return self._approximate.search(queries, depth)
        return nearest(queries, self.vectors, depth)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises: UserError where there is no index."""
    try:
        made = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if made["format"] != FORMAT:
            raise UserError(f"The index {folder} has the format {made['format']}, this tfft reads {FORMAT}. Make it anew: "
                            f"{made['command']}")
        return made
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder} is no index: it has no {MANIFEST}. Make one: tfft index --workdir=runs/search "
                        f"--corpus=corpus.jsonl --output={folder}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"Cannot read {folder / MANIFEST}: {error!r}. Make the index anew with tfft index.") from error


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """The last file of an index."""
    write_text(folder / MANIFEST, json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False) + "\n")
