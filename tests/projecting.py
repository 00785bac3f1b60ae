"""What TensorBoard's own projector plugin reads in a folder of events."""

import json
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client


class Projector:
    def __init__(self, folder: Path):
        events = EventMultiplexer().AddRunsFromDirectory(str(folder))
        events.Reload()
        self._apps = ProjectorPlugin(TBContext(
            logdir=str(folder), data_provider=MultiplexerDataProvider(events, str(folder)))).get_plugin_apps()

    def _get(self, route: str, **asked: str) -> bytes:
        answer = Client(self._apps[route]).get(f"/?{urlencode(asked)}")
        assert answer.status_code == 200, answer.data
        return answer.data

    def runs(self) -> list[str]:
        return json.loads(self._get("/runs"))

    def config(self, run: str) -> dict:
        return json.loads(self._get("/info", run=run))

    def tensor(self, run: str, name: str) -> np.ndarray:
        shape = next(one["tensorShape"] for one in self.config(run)["embeddings"] if one["tensorName"] == name)
        return np.frombuffer(self._get("/tensor", run=run, name=name), np.float32).reshape(shape)

    def rows(self, run: str, name: str) -> list[dict[str, str]]:
        header, *lines = [line.split("\t") for line in self._get("/metadata", run=run, name=name).decode().splitlines()]
        return [dict(zip(header, line, strict=True)) for line in lines]
