"""This module parses list flags of whole numbers."""

from collections.abc import Sequence


def integers(flag: str, texts: Sequence[str], low: int, high: int | None) -> tuple[int, ...]:
    """Returns the values of a list flag in ascending order, without repetitions; ValueError names the flag."""
    values = []
    for text in texts:
        if not text.strip().isdecimal() or int(text) < low or (high is not None and int(text) > high):
            bound = f"{low} to {high}" if high is not None else f"at least {low}"
            raise ValueError(f"--{flag}: {text!r} is not a whole number, {bound}")
        values.append(int(text))
    if not values:
        raise ValueError(f"--{flag} needs at least one number")
    return tuple(sorted(set(values)))
