"""Reads TensorFlow Datasets, prepared before or downloaded now, into records."""

import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from tfft.data.records import Record
from tfft.errors import UserError, unknown


def open_builder(name: str, data_dir: str):
    """The tfds builder of NAME[/CONFIG][:VERSION], prepared (that is, downloaded) if it was not.

    Raises: UserError where there is no such dataset, or it cannot be downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"tfds:{name}: pip install tensorflow-datasets importlib_resources ({error})") from error
    folder = os.path.abspath(os.path.expanduser(data_dir)) if data_dir else None
    try:
        builder = tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        if folder and os.path.isdir(folder):
            known += [n for n in sorted(os.listdir(folder)) if n not in known and n != "downloads"]
        plain = name.split(":")[0].split("/")[0]
        told = (unknown("TensorFlow dataset", plain, known) if plain not in known
                else f"It is not in this version or config in {folder or 'the default data folder'}.")
        raise UserError(f"tfds:{name}: {told} Datasets prepared by yourself are looked for in "
                        f"config.data.tfds_data_dir.") from error
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"tfds:{name}: {str(error).splitlines()[0]}") from error
    if not builder.is_prepared():
        _prepare(builder, name)
    return builder


def _prepare(builder, name: str) -> None:
    """Downloads a dataset."""
    remedy = ("Prepare it where there is a network and name the folder of the prepared datasets with "
              "--config.data.tfds_data_dir=FOLDER.")
    host = next((urllib.parse.urlparse(url).hostname for url in builder.url_infos or {}), None)
    if host and not urllib.request.getproxies():  # without this, tfds retries for minutes before it says so
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise UserError(f"tfds:{name} is not prepared in {builder.data_dir}, and cannot be downloaded: no network "
                            f"({host} is unknown here). {remedy}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever the dataset's own download script raises
        raise UserError(f"tfds:{name} is not prepared in {builder.data_dir}, and preparing it failed: {error!r:.300}. "
                        f"{remedy}") from error


def read(builder, split: str, spec: str) -> Iterator[Record]:
    """The rows of a prepared dataset's split, in the order of its files. Label ids become label names."""
    import tensorflow_datasets as tfds

    try:
        dataset = builder.as_dataset(split=split, shuffle_files=False,
                                     read_config=tfds.ReadConfig(interleave_cycle_length=1))
    except (ValueError, AssertionError) as error:
        raise UserError(f"{spec}: {unknown('split', split, builder.info.splits)}") from error
    features = builder.info.features
    if not hasattr(features, "keys"):
        raise UserError(f"{spec}: this dataset's examples have no named columns, so they cannot be read as rows.")
    for line, example in enumerate(tfds.as_numpy(dataset), 1):
        yield Record({name: _plain(value, features[name]) for name, value in example.items()}, spec, line)


def _plain(value: Any, feature: Any) -> Any:
    """A plain Python value. bytes that are no UTF-8 stay bytes; label ids below 0 (hidden labels) become None."""
    names = getattr(getattr(feature, "feature", feature), "names", None)  # of a ClassLabel or a Sequence of them
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [_plain(v, feature) for v in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value
