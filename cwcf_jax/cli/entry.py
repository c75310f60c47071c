"""This module runs a command and returns its exit code."""

import argparse
import importlib
import os
import sys
from typing import NoReturn

from cwcf_jax.cli.parser import build

GLIBC_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000"
)

EXPECTED_ERRORS = (ValueError, OSError, RuntimeError)
"""The errors with a message for the user. Other errors are defects and are shown with a traceback."""

EXTRAS = {"serve": "web", "weights": "weights"}
"""The extras of commands that need another extra than ``index``."""


def run() -> NoReturn:
    """Runs the command of this process's arguments, and exits with its exit code."""
    arguments = build().parse_args()
    _tune_memory()
    from cwcf_jax import compilation_cache  # a late import: JAX is slow to load, and --help must not wait

    compilation_cache.enable()
    sys.exit(call(arguments))


def call(arguments: argparse.Namespace) -> int:
    """Runs a command and returns its exit code; prints the message of `EXPECTED_ERRORS` to stderr."""
    try:
        command = importlib.import_module(f"cwcf_jax.cli.{arguments.command}")
        return int(command.main(arguments))
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("cwcf_jax"):
            raise
        extra = EXTRAS.get(arguments.command, "index")
        return _print_error(f"{error.name} is not installed; pip install 'cwcf-jax[{extra}]'")
    except BrokenPipeError:  # `cwcf search ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (Python flushes it when it ends)
        return 0
    except KeyboardInterrupt:
        _print_error("interrupted; finished pictures are stored, and the same command continues with the others")
        return 130
    except EXPECTED_ERRORS as error:
        if os.environ.get("CWCF_DEBUG"):
            raise
        return _print_error(str(error))


def _print_error(message: str) -> int:
    print(f"cwcf: {message}", file=sys.stderr)
    return 1


def _tune_memory() -> None:
    """Restarts the process with `GLIBC_TUNABLES`, unless the user has set them; glibc reads them only at the start.

    A pass allocates and frees hundreds of megabytes. Their pages take a fifth of its time or more, so glibc uses huge
    pages and returns no memory to the system. With a single arena, threads reuse each other's freed memory
    (docs/performance.md).
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = GLIBC_TUNABLES
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  (the same program)
