"""Search in an index beside TF Serving's API:

    POST /v1/models/NAME:search {"query": "How do I reset it?", "k": 3} -> {"results": [{"id", "score", "text"}, ...]}

Several queries, in a list, have a list of results each. Queries are embedded by the served model.
"""

import asyncio

import numpy as np

from tfft.serving.server import rest_json
from tfft.serving.server.inference import Inference, Request
from tfft.serving.server.refusal import Code, Refusal, invalid
from tfft.vectors.exact import unit
from tfft.vectors.folder import Index

MOST = 1000    # results of a query
COMPARED = 8   # documents that are embedded anew, to know that a version is the index's own
ALIKE = 0.9995  # cosine; weights in half the bits are nearer than that, those of another training are not


class Search:
    """The index of a served model. Every version of it is compared with the index once."""

    def __init__(self, index: Index, inference: Inference):
        self.index, self._inference = index, inference
        self._known: set[int] = set()

    async def check(self, asked: Request) -> int:
        """The version that is asked. Raises: Refusal where it makes other vectors than those of the index."""
        found, _ = self._inference.models.find(asked.name, asked.version, asked.label)
        if found.number in self._known:
            return found.number
        manifest = self.index.manifest
        signature = "embed_passage" if manifest["query_prompt"] != manifest["passage_prompt"] else "embed"
        texts = [self.index.text(place) for place in range(min(COMPARED, len(self.index)))]
        made = await self._embedded(Request(asked.name, found.number, signature=signature), texts)
        own = self.index.vectors[:len(texts)]
        if made.shape != own.shape or (made * own).sum(axis=1).min() < ALIKE:
            raise Refusal(Code.FAILED_PRECONDITION, f"version {found.number} of model {asked.name} makes other vectors than "
                          f"those of the index {self.index.folder}. Make it anew: {manifest['command']}")
        self._known.add(found.number)
        return found.number

    async def __call__(self, asked: Request, document: dict) -> bytes:
        """The answer to a request's JSON. Raises: Refusal."""
        query, k = document.get("query"), document.get("k", 10)
        queries = query if isinstance(query, list) else [query]
        if not queries or not all(isinstance(one, str) and one.strip() for one in queries):
            raise invalid('"query" must be a text, or a list of texts, that are not blank')
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST:
            raise invalid(f'"k" must be a whole number from 1 to {MOST}')
        asked.version, asked.label, asked.signature = await self.check(asked), "", "embed"
        vectors = await self._embedded(asked, queries)
        made = await asyncio.to_thread(self._found, vectors, k)
        return rest_json.dumps({"results": made if isinstance(query, list) else made[0]})

    async def _embedded(self, asked: Request, texts: list[str]) -> np.ndarray:
        """float32[n,D] of length 1."""
        rows = {"instances": [{"text": text} for text in texts]}
        _, outputs = await self._inference.predict(asked, lambda signature: rest_json.inputs(rows, signature))
        if "embedding" not in outputs:
            raise Refusal(Code.FAILED_PRECONDITION, f"model {asked.name} answers no embedding")
        return unit(outputs["embedding"][:, :self.index.dimensions])

    def _found(self, vectors: np.ndarray, k: int) -> list[list[dict]]:
        places, scores = self.index.search(vectors, k)
        return [[{"id": self.index.id(place), "score": score, "text": self.index.text(place)}
                 for place, score in zip(row, values, strict=True) if place >= 0]
                for row, values in zip(places.tolist(), scores.tolist(), strict=True)]
