"""This benchmark measures a server with many simultaneous clients: seconds of requests, errors and memory.

cwcf serve &
python -m benchmarks.serving --address=http://127.0.0.1:8008/ --pictures=FOLDER --clients=32 --seconds=60

Each client uploads a picture, searches with the picture or a box of the picture, requests an explanation of the second
hit and fetches that hit's picture; then the client continues with another picture. Every fourth search is re-ranked.
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

_ADDRESS = flags.DEFINE_string("address", "http://127.0.0.1:8008/", "Address of the server.")
_PICTURES = flags.DEFINE_string("pictures", None, "Folder of photographs that serve as queries.", required=True)
_CLIENTS = flags.DEFINE_integer("clients", 32, "Number of simultaneous clients.", lower_bound=1)
_SECONDS = flags.DEFINE_integer("seconds", 60, "Duration in seconds.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", 0, "Process number of the server, whose memory is measured; 0 for none.")
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Runs all clients, and prints and saves the results."""
    del argv
    folder = pathlib.Path(_PICTURES.value)
    pictures = [folder / path for path in list_pictures(folder)]
    seconds: dict[str, list[float]] = {}
    errors: list[str] = []
    end = time.monotonic() + _SECONDS.value
    clients = [
        threading.Thread(target=run_client, args=(seed, pictures, end, seconds, errors))
        for seed in range(_CLIENTS.value)
    ]
    for thread in clients:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in clients):
        memory.append(resident_megabytes(_PROCESS.value))
        time.sleep(1)
    result = {
        "what": "seconds of a request",
        "clients": _CLIENTS.value,
        "pictures": len(pictures),
        "requests": sum(map(len, seconds.values())),
        "errors": errors,
        "seconds": {
            name: {
                "count": len(times),
                **{f"p{percent}": float(np.percentile(times, percent)) for percent in (50, 95, 100)},
            }
            for name, times in sorted(seconds.items())
        },
        "resident_mb": [round(megabytes) for megabytes in memory[::10]],
        "machine": measuring.describe_machine(),
    }
    measuring.print_and_save(result, _OUTPUT.value)


def run_client(
    seed: int, pictures: Sequence[pathlib.Path], end: float, seconds: dict[str, list[float]], errors: list[str]
) -> None:
    """Sends the requests of a person at a browser, without pauses, until the time ``end``."""
    generator = random.Random(seed)  # noqa: S311

    def send_request(route: str, body: bytes, kind: str = "application/json") -> Any:
        address = f"{_ADDRESS.value.rstrip('/')}/api/{route}"
        request = urllib.request.Request(address, body or None, {"Content-Type": kind})  # noqa: S310
        start = time.monotonic()
        with urllib.request.urlopen(request, timeout=300) as response:  # noqa: S310
            content = response.read()
        seconds.setdefault(route.split("?")[0], []).append(time.monotonic() - start)
        return json.loads(content) if response.headers["Content-Type"] == "application/json" else content

    for search_number in itertools.count():
        if time.monotonic() > end:
            return
        try:
            upload = send_request("uploads", generator.choice(pictures).read_bytes(), "image/jpeg")
            query = {"upload": upload["upload"], "aggregation": generator.choice(("ofa", "ona"))}
            if search_number % 2:
                query["box"] = [upload["width"] // 4, upload["height"] // 4, upload["width"], upload["height"]]
            if search_number % 4 == 3:
                query["rerank"] = 20
            hit = send_request("search", json.dumps(query).encode())["hits"][1]
            send_request("explain", json.dumps({**query, "hit": hit["path"], "cells": hit["cells"]}).encode())
            send_request(f"pictures?{urllib.parse.urlencode({'path': hit['path']})}", b"")
        except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
            errors.append(repr(error))


def resident_megabytes(process: int) -> float:
    """Returns the resident memory of a process in megabytes; 0 for process number 0."""
    if not process:
        return 0.0
    pages = int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    app.run(main)
