"""What a training writes beside its checkpoints: its configuration, and a line a step in metrics.jsonl."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from cwcf_jax.training.config import FREE, TrainingConfig

CONFIG = "config.json"
METRICS = "metrics.jsonl"


class ResumeError(ValueError):
    """A folder whose training is not the one asked for; the message names every difference."""


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other trainings out of the folder until this one ends, however it does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResumeError(f"{folder}: another training is writing here") from error
        yield


def identity(config: TrainingConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a training to go on: its settings, and facts about its data and weights."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in FREE}
    return json.loads(json.dumps({"settings": settings, "facts": facts}))


def claim(folder: pathlib.Path, wanted: dict[str, Any]) -> None:
    """Writes the identity of a new training, or checks that of the one that is there.

    Raises:
        ResumeError: the folder holds another training, or something else.
    """
    file = folder / CONFIG
    if not file.exists():
        strangers = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
        if strangers:
            raise ResumeError(
                f"{folder}: holds {', '.join(strangers[:5])} but no {CONFIG}; --output needs a new folder"
            )
        replace_text(file, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
        differences = [
            f"{'--' if part == 'settings' else ''}{key} was {there[part].get(key)!r}, is {wanted[part].get(key)!r}"
            for part in ("settings", "facts")
            for key in sorted(there[part].keys() | wanted[part].keys())
            if there[part].get(key) != wanted[part].get(key)
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ResumeError(f"{file}: cannot be read ({error})") from error
    if differences:
        raise ResumeError(
            f"{folder} holds a training with other settings; give another --output, or the settings it began with:\n  "
            + "\n  ".join(differences)
        )


class MetricsLog:
    """One JSON object a line, each written whole; a step appears once."""

    def __init__(self, folder: pathlib.Path, *, after: int):
        """Drops the lines after step ``after``, and a line that a killed process left unfinished."""
        self._file = folder / METRICS
        if self._file.exists():
            kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] <= after]
            replace_text(self._file, "".join(kept))

    def write(self, line: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl up to the first that is not whole."""
    lines: list[dict[str, Any]] = []
    for text in (folder / METRICS).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def replace_text(file: pathlib.Path, text: str) -> None:
    """Writes the whole file or none of it."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
