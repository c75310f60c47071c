"""Compares results of a benchmark with those that are committed, and names every loss of more than a tenth.

python -m benchmarks.compare NEW.json [OLD.json]

The old file is by default the one of the same name in benchmarks/results. Medians are compared where both files have
them. The exit code is 1 after a loss.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"

LOSS = 0.1
"""Share of a figure that may be lost."""

LESS_IS_BETTER = ("/seconds", "/cold/", "/warm/", "/later/", "/times_of_", ", of the loop")
"""Parts of the names of seconds, and of ratios to what is quicker; of all other figures more is better."""


def main() -> None:
    """Prints what was lost; the process ends with 1 if anything was."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    new = pathlib.Path(sys.argv[1])
    old = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else RESULTS / new.name
    try:
        before, now = (json.loads(path.read_text(encoding="utf-8")) for path in (old, new))
    except (OSError, ValueError) as error:
        sys.exit(f"compare: {error}")
    compared, losses = compare(before, now)
    if not compared:
        sys.exit(f"compare: {new} and {old} have no figure in common")
    print("\n".join([*losses, f"{compared} figures compared with {old}; {len(losses)} lost more than a tenth"]))
    sys.exit(1 if losses else 0)


def compare(before: Any, now: Any) -> tuple[int, list[str]]:
    """How many medians both results have, and a line for each that lost more than `LOSS`."""
    new, compared, losses = dict(medians(now)), 0, []
    for name, old in medians(before):
        if name not in new:
            continue
        compared += 1
        less = any(part in name for part in LESS_IS_BETTER)
        if new[name] * (1 - LOSS) > old if less else new[name] < old * (1 - LOSS):
            losses.append(f"{name}: {old:.4g} before, {new[name]:.4g} now")
    return compared, losses


def medians(content: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every median of `measuring.spread`, by the names on the way to it; rows of a list are named by their settings."""
    if isinstance(content, dict):
        if {"median", "min", "max"} <= content.keys():
            yield name, float(content["median"])
            return
        for key, value in content.items():
            yield from medians(value, f"{name}/{key}")
    elif isinstance(content, list):
        for i, value in enumerate(content):
            settings = {}
            if isinstance(value, dict):
                settings = {key: setting for key, setting in value.items() if isinstance(setting, str | int | list)}
            yield from medians(value, f"{name}/{settings or i}")


if __name__ == "__main__":
    main()
