"""This module defines the rows of results files, and the record of the run that is needed to repeat it."""

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
    """A `Row` holds the result of one measured setting.

    Attributes:
        method: name of the method: ``Raw``, ``OfA``, ``OnA``, ...
        nc: N_C; None if the method has no N_C.
        npca: N_pca; None if the method has no N_pca.
        qe: number of descriptors in the expanded query; 0: no expansion.
        rerank: number of images re-ranked by regions; 0: no re-ranking.
        map: mean average precision over the queries.
        per_query: average precision of each query.
        paper: mAP in the paper; None if the paper has no value.
        low: lower end of the 95 % bootstrap interval over queries; None if there is only one query.
        high: upper end of this interval.
        metrics: recall, and the further metrics of the revisited protocol.
        network: name of the network.
        dim: length of a descriptor.
        online: number of OfA's best images that are scored anew by OnA; 0: none.
        neighbourhood: ranking of the best images by their neighbours: ``method``, ``images`` and the parameters of the
            method; empty if there is none.
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
        """Returns the steps after the search, such as ``R 100, QE 10``; empty if there are none."""
        counts = (("OnA", self.online), ("R", self.rerank), ("QE", self.qe))
        steps = [f"{name} {count}" for name, count in counts if count]
        if self.neighbourhood:
            steps.append("{method} {images}".format(**self.neighbourhood))
        return ", ".join(steps)


def environment(command: Sequence[str]) -> dict[str, Any]:
    """Returns the command, commit, hardware and packages of this run; ``command`` is what follows ``python -m``."""
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
    """Returns the version of a package, or None if the package is not installed but used from its source."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Returns the commit of the checkout, with ``-dirty`` if files are changed; None outside a checkout."""
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
