"""What every benchmark needs: turns, medians and spread, a cold page cache, the machine beside the figures."""

import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from cwcf_jax import files, hardware


def take_turns(
    run: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, pause: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each round of each implementation, taken in turns so that what else the machine does falls on all.

    ``pause``: seconds before each, for threads of the one before that still spin.
    """
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for counted in range(-warm_up, rounds):
        for name, call in run.items():
            time.sleep(pause)
            start = time.perf_counter()
            call()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and most."""
    found = np.array(list(values), np.float64)
    return {"median": float(np.median(found)), "min": float(found.min()), "max": float(found.max())}


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """`spread` of how many times longer one takes than the other, round by round."""
    return spread(np.array(slower) / np.array(faster))


def machine() -> dict[str, Any]:
    """Where a figure was measured."""
    return {
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "processor": hardware.processor(),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def forget(files: Iterable[pathlib.Path]) -> None:
    """Drops files that nobody has mapped from the page cache."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def memory_bandwidth(megabytes: int = 512, rounds: int = 5) -> dict[str, float]:
    """Bytes a second that one thread of numpy reads from memory."""
    values = np.ones(megabytes * 1_000_000 // 8, np.uint64)
    seconds = take_turns({"read": values.max}, rounds)["read"]
    return spread(values.nbytes / second for second in seconds)


def peak_memory() -> dict[str, int]:
    """Bytes: the most that the process held so far, and what of it now is its own and what mapped files."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "Rss"))}
    return {"peak": found["VmHWM"], "own": found["RssAnon"], "mapped": found["RssFile"]}


def write(result: Mapping[str, Any], output: str) -> None:
    """Prints the result as JSON, and keeps it in a file if one is named."""
    print(json.dumps(result, indent=1))
    keep(result, output)


def keep(result: Mapping[str, Any], output: str) -> None:
    """Keeps the result in a file if one is named; again, when there is more of it."""
    if output:
        path = pathlib.Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, result)
