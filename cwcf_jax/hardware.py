"""This module reads the name and the features of this machine's processor from Linux's /proc/cpuinfo."""

import functools
import pathlib
import platform


@functools.cache
def processor() -> str:
    """Returns the processor's name; on systems without /proc/cpuinfo, Python's name for the processor."""
    return _cpuinfo_fields().get("model name") or platform.processor() or platform.machine() or "unknown"


@functools.cache
def processor_flags() -> frozenset[str]:
    """Returns the processor's features, such as ``avx512_bf16``; empty on systems without /proc/cpuinfo."""
    return frozenset(_cpuinfo_fields().get("flags", "").split())


def _cpuinfo_fields() -> dict[str, str]:
    """Returns the fields of the first processor in /proc/cpuinfo."""
    try:
        first_processor = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first_processor.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
