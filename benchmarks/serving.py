"""Many clients of one server at once: seconds of a request, errors, and the server's memory.

cwcf serve &
python -m benchmarks.serving --address=http://127.0.0.1:8008/ --pictures=FOLDER --clients=32 --seconds=60

Each client uploads a picture, searches with it and with a region of it, re-ranked now and then, asks why the second hit
was found, and fetches its picture; then begins again with another.
"""

import itertools
import json
import pathlib
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.images import list_pictures

_ADDRESS = flags.DEFINE_string("address", "http://127.0.0.1:8008/", "Where the server is.")
_PICTURES = flags.DEFINE_string("pictures", None, "A folder of photographs to ask with.", required=True)
_CLIENTS = flags.DEFINE_integer("clients", 32, "How many ask at once.", lower_bound=1)
_SECONDS = flags.DEFINE_integer("seconds", 60, "For how long.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", 0, "The server's process, to watch its memory; 0: not.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Asks, waits, counts."""
    del argv
    folder = pathlib.Path(_PICTURES.value)
    pictures = [folder / path for path in list_pictures(folder)]
    taken: dict[str, list[float]] = {}
    errors: list[str] = []
    end = time.monotonic() + _SECONDS.value
    clients = [
        threading.Thread(target=client, args=(seed, pictures, end, taken, errors)) for seed in range(_CLIENTS.value)
    ]
    for one in clients:
        one.start()
    memory = []
    while any(one.is_alive() for one in clients):
        memory.append(resident(_PROCESS.value))
        time.sleep(1)
    result = {
        "what": "seconds of a request",
        "clients": _CLIENTS.value,
        "pictures": len(pictures),
        "requests": sum(map(len, taken.values())),
        "errors": errors,
        "seconds": {
            name: {"count": len(times), **{f"p{part}": float(np.percentile(times, part)) for part in (50, 95, 100)}}
            for name, times in sorted(taken.items())
        },
        "resident_mb": [round(one) for one in memory[::10]],
        "machine": measuring.machine(),
    }
    measuring.write(result, _OUTPUT.value)


def client(
    seed: int, pictures: Sequence[pathlib.Path], end: float, taken: dict[str, list[float]], errors: list[str]
) -> None:
    """One person at a browser, without pauses."""
    choose = random.Random(seed)  # noqa: S311

    def ask(what: str, body: bytes, kind: str = "application/json") -> Any:
        address = f"{_ADDRESS.value.rstrip('/')}/api/{what}"
        request = urllib.request.Request(address, body or None, {"Content-Type": kind})  # noqa: S310
        before = time.monotonic()
        with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
            content = answer.read()
        taken.setdefault(what.split("?")[0], []).append(time.monotonic() - before)
        return json.loads(content) if answer.headers["Content-Type"] == "application/json" else content

    for turn in itertools.count():
        if time.monotonic() > end:
            return
        try:
            found = ask("uploads", choose.choice(pictures).read_bytes(), "image/jpeg")
            query = {"upload": found["upload"], "aggregation": choose.choice(("ofa", "ona"))}
            if turn % 2:
                query["box"] = [found["width"] // 4, found["height"] // 4, found["width"], found["height"]]
            if turn % 4 == 3:
                query["rerank"] = 20
            hit = ask("search", json.dumps(query).encode())["hits"][1]
            ask("explain", json.dumps({**query, "hit": hit["path"], "cells": hit["cells"]}).encode())
            ask(f"pictures?{urllib.parse.urlencode({'path': hit['path']})}", b"")
        except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
            errors.append(repr(error))


def resident(process: int) -> float:
    """Megabytes of memory that a process holds; 0 if none is watched."""
    if not process:
        return 0.0
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    app.run(main)
