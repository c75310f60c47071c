"""Results files: what was measured, and everything needed to measure it again."""

import dataclasses
import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

import jax

from cwcf_jax import hardware

PACKAGES = ("cwcf-jax", "jax", "jaxlib", "flax", "numpy", "pillow")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured setting.

    Attributes:
        method: ``Raw``, ``OfA``, ``OnA``, ...
        nc: N_C; None where the method has none.
        npca: N_pca; likewise.
        qe: rows in the expanded query; 0: none.
        rerank: images re-ranked by regions; 0: none.
        map: mean average precision over the queries.
        per_query: average precision of each.
        paper: the paper's value, if it has one.
        low: of the 95 % bootstrap interval over queries; None where there is one query.
        high: likewise.
        metrics: recall, and what the revisited protocol asks for.
        network: whose maps.
        dim: length of the descriptor.
        online: images of a search by OfA that were scored anew by OnA; 0: none.
        neighbourhood: how the best images were ranked by how they lie to one another: ``method``, ``images`` and the
            method's parameters; empty where they were not.
    """

    method: str
    nc: int | None
    npca: int | None
    qe: int
    rerank: int
    map: float
    per_query: dict[str, float]
    paper: float | None
    low: float | None = None
    high: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    network: str = ""
    dim: int | None = None
    online: int = 0
    neighbourhood: dict[str, str | int | float] = dataclasses.field(default_factory=dict)

    def steps(self) -> str:
        """What followed the search, for columns and curves, such as ``R 100, QE 10``; empty where nothing did."""
        counts = (("OnA", self.online), ("R", self.rerank), ("QE", self.qe))
        steps = [f"{name} {count}" for name, count in counts if count]
        if self.neighbourhood:
            steps.append("{method} {images}".format(**self.neighbourhood))
        return ", ".join(steps)


def environment(command: Sequence[str]) -> dict[str, Any]:
    """Command, commit, hardware and package versions of this run; ``command`` is what follows ``python -m``."""
    devices = jax.devices()
    return {
        "command": shlex.join(["python", "-m", *command]),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "hardware": {
            "platform": devices[0].platform,
            "devices": [device.device_kind for device in devices],
            "machine": platform.machine(),
            "processor": hardware.processor(),
            "cores": os.cpu_count(),
        },
        "packages": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    """None for a library that is used from its source without being installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with ``-dirty`` if it was changed; None outside a checkout."""
    folder = pathlib.Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
