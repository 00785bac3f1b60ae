"""The models being served: finds new versions, loads them beside the old ones, and retires those when they are done."""

import asyncio
import dataclasses
import logging
import os
import time
from pathlib import Path

from tfft.errors import UserError
from tfft.serving.server import settings as config
from tfft.serving.server.batching import Batcher
from tfft.serving.server.refusal import Code, Refusal, invalid

LOG = logging.getLogger("tfft.serve")
KEPT = 50  # versions that have been unloaded, or did not load, in the status API
LOADING, AVAILABLE, UNLOADING, END = 20, 30, 40, 50  # TF Serving's ModelVersionStatus.State


@dataclasses.dataclass
class State:
    """What the status API says of a version."""
    state: int
    code: Code = Code.OK
    message: str = ""


class Model:
    """One name, its loaded versions and the state of all that were seen."""

    def __init__(self, settings: config.ModelSettings):
        self.settings = settings
        self.labels: dict[str, int] = {}             # those whose version has been loaded
        self.loaded = {}                             # version -> Version, serving
        self.batchers: dict[int, Batcher] = {}
        self.states: dict[int, State] = {}
        self.failed: dict[int, tuple] = {}           # version -> fingerprint of the folder that did not load
        self.seen: dict[int, tuple] = {}             # version -> fingerprint at the last look

    def labelled(self, label: str) -> int:
        """The version of a label. Raises: Refusal."""
        if label not in self.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self.labels[label]

    @property
    def newest(self) -> int | None:
        return max(self.loaded, default=None)


class Models:
    """All models by name. Runs in the event loop; loading and closing run in threads."""

    def __init__(self, settings: config.Settings, metrics):
        self.settings, self.metrics = settings, metrics
        self.by_name = {model.name: Model(model) for model in settings.models}
        self._closing: set[asyncio.Task] = set()
        self._looking = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return all(model.loaded for model in self.by_name.values())

    async def start(self) -> None:
        """Loads what is there. Raises: UserError for a model of which no version can be loaded."""
        await self.look(settled=False)
        for name, model in self.by_name.items():
            if not model.loaded:
                why = "; ".join(f"version {v}: {s.message}" for v, s in sorted(model.states.items()) if s.message)
                raise UserError(f"Model {name!r}: nothing in {model.settings.folder} can be loaded. {why}")

    async def poll(self) -> None:
        """Looks for new versions, for ever."""
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                await self.look()
            except Exception:
                LOG.exception("looking for new versions failed; it is tried again")

    async def poll_config(self) -> None:
        """Reads the model config file again and again; a wrong one changes nothing."""
        known, told = self.settings.models, ""
        while True:
            await asyncio.sleep(self.settings.config_poll_seconds)
            try:
                models = await asyncio.to_thread(config.models_of, [], self.settings.config_file)
            except (UserError, OSError) as error:
                if str(error) != told:
                    LOG.error("%s What was served before goes on.", error)
                told = str(error)
                continue
            if models != known:
                await self.change(models)
            known, told = models, ""

    async def change(self, models: tuple[config.ModelSettings, ...]) -> None:
        """Serves these models from now on. New versions are loaded before labels move and before old ones go."""
        async with self._looking:
            for settings in models:
                model = self.by_name.setdefault(settings.name, Model(settings))
                if model.settings.folder != settings.folder:  # its numbers mean other versions now
                    for number in list(model.loaded):
                        self._retire(model, number)
                    self.by_name[settings.name] = model = Model(settings)
                model.settings = settings
            for name in self.by_name.keys() - {settings.name for settings in models}:
                for number in list(self.by_name[name].loaded):
                    self._retire(self.by_name[name], number)
                del self.by_name[name]
        await self.look(settled=False)
        LOG.info("the model config has changed: serving %s", ", ".join(self.by_name))

    def find(self, name: str, version: int | None = None, label: str = ""):
        """(Version, Batcher) for a request. Raises: Refusal as TF Serving words it."""
        model = self.model(name)
        if label:
            version = model.labelled(label)
        if version is None:
            version = model.newest
        if version not in model.loaded:
            shown = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal(Code.NOT_FOUND, f"Servable not found for request: {shown}")
        return model.loaded[version], model.batchers[version]

    def model(self, name: str) -> Model:
        if name not in self.by_name:
            raise Refusal(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
        return self.by_name[name]

    async def look(self, settled: bool = True) -> None:
        """Loads and retires what the folders and policies say now.

        settled: a new folder is taken only when it has not changed since the last look, as one being copied does.
        """
        async with self._looking:
            for model in self.by_name.values():
                await self._look_at(model, settled)

    async def _look_at(self, model: Model, settled: bool) -> None:
        found = config.versions(model.settings.folder)
        prints = {version: await asyncio.to_thread(fingerprint, folder) if version not in model.loaded else ()
                  for version, folder in found.items()}
        for version in [v for v in model.failed if v not in found]:
            del model.failed[version]
            model.states.pop(version, None)
        usable = [v for v in found if v in model.loaded or model.failed.get(v) != prints[v]]
        target = config.wanted(model.settings, usable)
        for version in target:
            if version in model.loaded or (settled and model.seen.get(version) != prints[version]):
                continue
            if not await self._load(model, version, found[version], prints[version]):
                return await self._look_at(model, settled)  # an older one may have to do
        model.seen = prints
        target = [version for version in target if version in model.loaded]
        model.labels = {label: version if version in model.loaded else model.labels.get(label)
                        for label, version in model.settings.labels.items()
                        if version in model.loaded or model.labels.get(label) in model.loaded}
        target += [version for version in model.labels.values() if version not in target]  # until the label has moved
        for version in [v for v in model.loaded if target and v not in target]:
            self._retire(model, version)

    async def _load(self, model: Model, number: int, folder: Path, before: tuple) -> bool:
        """Loads and warms up a version; then it serves."""
        from tfft.serving.server.version import Version, give_back
        from tfft.serving.server.warmup import warm_up

        name = model.settings.name
        LOG.info("loading %s version %d from %s", name, number, folder)
        model.states[number] = State(LOADING)
        started = time.monotonic()
        try:
            version = await asyncio.to_thread(Version, name, number, folder, self.settings.threads,
                                              self.settings.allow_file_ops)
            warming = asyncio.create_task(asyncio.to_thread(warm_up, version, self._busy))
            try:
                warmed = await asyncio.shield(warming)
                await asyncio.to_thread(give_back)  # what the largest requests have taken
                if await asyncio.to_thread(fingerprint, folder) != before:
                    raise Refusal(Code.ABORTED, f"{folder} changed while it was loaded")
            except BaseException:
                version.given_up = True
                await asyncio.wait([warming])  # nothing may be running when it is closed
                await asyncio.to_thread(version.close)
                raise
        except Refusal as refusal:
            model.failed[number] = before
            model.states[number] = State(END, refusal.code, refusal.message)
            self.metrics.load_failures.labels(name).inc()
            others = f"; {name} version {model.newest} goes on" if model.loaded else ""
            LOG.error("cannot load %s version %d: %s%s. It is tried again when the folder changes.", name, number,
                      refusal.message, others)
            return False
        batching = config.batching_of(folder, self.settings.batching)
        model.batchers[number] = Batcher(batching, self.metrics.batches(name))
        model.loaded[number] = version
        model.states[number] = State(AVAILABLE)
        self.metrics.loaded.labels(name, str(number)).set(1)
        shared = f"; {version.shared / 1e6:,.0f} MB of weights shared with what is loaded" if version.shared else ""
        LOG.info("loaded %s version %d in %.1f s (%d warm-up requests%s)", name, number, time.monotonic() - started, warmed,
                 shared)
        return True

    def _busy(self) -> bool:
        """Whether any version has requests."""
        return any(version.requests for model in list(self.by_name.values()) for version in list(model.loaded.values()))

    def _retire(self, model: Model, number: int) -> None:
        version, batcher = model.loaded.pop(number), model.batchers.pop(number)
        model.states[number] = State(UNLOADING)
        task = asyncio.create_task(self._close(model, version, batcher))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, model: Model, version, batcher: Batcher) -> None:
        """Closes a version when its last request has ended."""
        while version.requests:
            await asyncio.sleep(0.05)
        try:
            await asyncio.to_thread(batcher.close)
            await asyncio.to_thread(version.close)
        except Exception:
            LOG.exception("%s version %d could not be unloaded", version.name, version.number)
        if version.number not in model.loaded:
            model.states[version.number] = State(END)
            for number in sorted(n for n, state in model.states.items() if state.state == END)[:-KEPT]:
                del model.states[number]
            self.metrics.loaded.remove(model.settings.name, str(version.number))
        LOG.info("unloaded %s version %d", model.settings.name, version.number)

    async def close(self) -> None:
        for model in self.by_name.values():
            for number in list(model.loaded):
                self._retire(model, number)
        await asyncio.gather(*self._closing)


def fingerprint(folder: Path) -> tuple:
    """Changes with any file in a folder: names, sizes, times."""
    made = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            try:
                status = os.stat(os.path.join(place, name))
            except OSError:
                continue
            made.append((os.path.relpath(os.path.join(place, name), folder), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(made)
