"""What a training writes beside its checkpoints: its configuration, and a line a step in metrics.jsonl."""

import dataclasses
import json
import pathlib
from typing import Any

from cwcf_jax import files
from cwcf_jax.training.config import FREE, TrainingConfig

CONFIG = "config.json"
METRICS = "metrics.jsonl"


class ResumeError(ValueError):
    """A folder whose training is not the one asked for; the message names every difference."""


def identity(config: TrainingConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a training to go on: its settings, and facts about its data and weights."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in FREE}
    return files.as_json({"settings": settings, "facts": facts})


def claim(folder: pathlib.Path, wanted: dict[str, Any]) -> None:
    """Writes the identity of a new training, or checks that of the one that is there.

    Raises:
        ResumeError: the folder holds another training, or something else.
    """
    settings = {f"--{name}": value for name, value in wanted["settings"].items()}
    advice = "Give another --output, or the settings it began with."
    files.claim(folder / CONFIG, settings | wanted["facts"], ResumeError, advice=advice)


class MetricsLog:
    """One JSON object a line, each written whole; a step appears once."""

    def __init__(self, folder: pathlib.Path, *, after: int):
        """Drops the lines after step ``after``, and a line that a killed process left unfinished."""
        self._file = folder / METRICS
        if self._file.exists():
            kept = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] <= after]
            files.write_text(self._file, "".join(kept))

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
