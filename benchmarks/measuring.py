"""This module times implementations in turns, summarises the times, and describes the machine."""

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
    implementations: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, pause: float = 0.0
) -> dict[str, list[float]]:
    """Times implementations in turns, so that other load on the machine falls on all of them.

    Args:
        implementations: the functions by name.
        rounds: number of rounds that are timed; every round calls each implementation once.
        warm_up: number of rounds before the timed rounds.
        pause: seconds of sleep before each call, while threads of the previous call may still spin.

    Returns:
        For each implementation the seconds of every timed round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for round_number in range(-warm_up, rounds):
        for name, call in implementations.items():
            time.sleep(pause)
            start = time.perf_counter()
            call()
            if round_number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: Iterable[float]) -> dict[str, float]:
    """Returns the median, the minimum and the maximum."""
    array = np.array(list(values), np.float64)
    return {"median": float(np.median(array)), "min": float(array.min()), "max": float(array.max())}


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """Returns the `spread` of ``slower / faster``, round by round."""
    return spread(np.array(slower) / np.array(faster))


def describe_machine() -> dict[str, Any]:
    """Describes the machine and the versions that a benchmark runs with."""
    return {
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "processor": hardware.processor(),
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def drop_from_page_cache(paths: Iterable[pathlib.Path]) -> None:
    """Drops files from the page cache; files that a process has mapped into memory stay there."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def memory_bandwidth(megabytes: int = 512, rounds: int = 5) -> dict[str, float]:
    """Measures how many bytes a second one thread of numpy reads from memory."""
    values = np.ones(megabytes * 1_000_000 // 8, np.uint64)
    seconds = take_turns({"read": values.max}, rounds)["read"]
    return spread(values.nbytes / duration for duration in seconds)


def peak_memory() -> dict[str, int]:
    """Returns the memory of this process in bytes: its peak so far, and its own and its mapped pages at present."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "Rss"))}
    return {"peak": sizes["VmHWM"], "own": sizes["RssAnon"], "mapped": sizes["RssFile"]}


def print_and_save(result: Mapping[str, Any], output: str) -> None:
    """Prints the result as JSON and saves it, unless ``output`` is empty, in the file ``output``."""
    print(json.dumps(result, indent=1))
    save(result, output)


def save(result: Mapping[str, Any], output: str) -> None:
    """Saves the result as JSON in the file ``output``, which is overwritten; does nothing if ``output`` is empty."""
    if output:
        path = pathlib.Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, result)
