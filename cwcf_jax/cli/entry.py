"""From arguments to a command and an exit code."""

import argparse
import importlib
import os
import sys
from typing import NoReturn

from cwcf_jax.cli.parser import build

TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000"
)

EXPECTED = (ValueError, OSError, RuntimeError)
"""Errors whose message says what to do; others are defects and show where."""


EXTRAS = {"serve": "web", "weights": "weights"}
"""The extras of commands that need another one than ``index``."""


def run() -> NoReturn:
    """Reads the arguments of this process, runs the command and exits."""
    arguments = build().parse_args()
    _tune_memory()
    from cwcf_jax import compilation_cache  # late: help and refusals need not wait for JAX

    compilation_cache.enable()
    sys.exit(call(arguments))


def call(arguments: argparse.Namespace) -> int:
    """Runs a command and returns its exit code; of `EXPECTED` errors it prints the message to stderr."""
    try:
        command = importlib.import_module(f"cwcf_jax.cli.{arguments.command}")
        return int(command.main(arguments))
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("cwcf_jax"):
            raise
        extra = EXTRAS.get(arguments.command, "index")
        return _complain(f"{error.name} is not installed; pip install 'cwcf-jax[{extra}]'")
    except BrokenPipeError:  # `cwcf search ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (Python flushes it when it ends)
        return 0
    except KeyboardInterrupt:
        _complain("interrupted; what was finished is kept, the same command goes on")
        return 130
    except EXPECTED as error:
        if os.environ.get("CWCF_DEBUG"):
            raise
        return _complain(str(error))


def _complain(message: str) -> int:
    print(f"cwcf: {message}", file=sys.stderr)
    return 1


def _tune_memory() -> None:
    """Starts over with glibc told how to allocate, unless the user did; it reads this only when a process begins.

    A pass takes and returns hundreds of megabytes, whose pages cost a fifth of its time or more: so huge pages, and
    nothing given back to the system that the next pass needs. One arena: what one of many threads frees serves the
    others (docs/performance.md).
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  (the program that runs already)
