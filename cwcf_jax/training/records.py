"""This module writes the records of a training: its settings in config.json, and its log in metrics.jsonl."""

import dataclasses
import json
import pathlib
from typing import Any

from cwcf_jax import files
from cwcf_jax.training.config import CHANGEABLE_FIELDS, TrainingConfig

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"


class ResumeError(ValueError):
    """Raised when a folder holds another training than the requested one; the message names every difference."""


def identity(config: TrainingConfig, facts: dict[str, Any]) -> dict[str, Any]:
    """Returns what must be equal for a training to be resumed: its settings, and facts about its data and weights."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in CHANGEABLE_FIELDS}
    return files.as_json({"settings": settings, "facts": facts})


def claim(folder: pathlib.Path, expected: dict[str, Any]) -> None:
    """Writes the identity of a new training into its folder, or compares an existing one with ``expected``.

    Raises:
        ResumeError: the folder holds another training, or other files.
    """
    settings = {f"--{name}": value for name, value in expected["settings"].items()}
    advice = "Give another --output, or the settings that the training started with."
    files.claim(folder / CONFIG_FILE, settings | expected["facts"], ResumeError, advice=advice)


class MetricsLog:
    """A `MetricsLog` appends lines to metrics.jsonl: one JSON object for each logged step, written in one piece."""

    def __init__(self, folder: pathlib.Path, *, after: int):
        """Removes the lines after step ``after``, and an incomplete line that a killed process has left."""
        self._file = folder / METRICS_FILE
        if self._file.exists():
            kept_lines = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["step"] <= after]
            files.write_text(self._file, "".join(kept_lines))

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line."""
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of the metrics.jsonl in a folder, up to the first incomplete line."""
    lines: list[dict[str, Any]] = []
    for text in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
