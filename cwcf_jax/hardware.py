"""The processor of this machine, as Linux describes it in /proc/cpuinfo."""

import functools
import pathlib
import platform


@functools.cache
def processor() -> str:
    """Its name; what Python knows of it where Linux does not say."""
    return _described().get("model name") or platform.processor() or platform.machine() or "unknown"


@functools.cache
def processor_flags() -> frozenset[str]:
    """What it can do, such as ``avx512_bf16``; empty where Linux does not say."""
    return frozenset(_described().get("flags", "").split())


def _described() -> dict[str, str]:
    """The fields of the first processor."""
    try:
        first = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
