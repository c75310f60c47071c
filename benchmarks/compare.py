"""This program compares the results of a benchmark with committed results and prints losses of more than a tenth.

python -m benchmarks.compare NEW.json [OLD.json]

OLD.json is by default the file of the same name in benchmarks/results. The program compares the medians that both files
have. The exit code is 1 after a loss.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"

MAX_LOSS = 0.1
"""The largest loss that is accepted, as a share of a figure."""

LESS_IS_BETTER = ("/seconds", "/cold/", "/warm/", "/later/", "/times_of_", ", of the loop")
"""Parts of the names of figures for which less is better; for all other figures more is better."""


def main() -> None:
    """Prints all losses; exits with 1 if there are any."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    new_path = pathlib.Path(sys.argv[1])
    old_path = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else RESULTS / new_path.name
    try:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (old_path, new_path))
    except (OSError, ValueError) as error:
        sys.exit(f"compare: {error}")
    compared, losses = compare(old, new)
    if not compared:
        sys.exit(f"compare: {new_path} and {old_path} have no figure in common")
    print("\n".join([*losses, f"{compared} figures compared with {old_path}; {len(losses)} lost more than a tenth"]))
    sys.exit(1 if losses else 0)


def compare(old: Any, new: Any) -> tuple[int, list[str]]:
    """Returns the number of medians that both results have, and a line for each loss of more than `MAX_LOSS`."""
    new_medians, compared, losses = dict(medians(new)), 0, []
    for name, old_median in medians(old):
        if name not in new_medians:
            continue
        compared += 1
        less_is_better = any(part in name for part in LESS_IS_BETTER)
        if (
            new_medians[name] * (1 - MAX_LOSS) > old_median
            if less_is_better
            else new_medians[name] < old_median * (1 - MAX_LOSS)
        ):
            losses.append(f"{name}: {old_median:.4g} before, {new_medians[name]:.4g} now")
    return compared, losses


def medians(content: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yields each median of `measuring.spread` with the path of its names; settings are the names of rows in a list."""
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
