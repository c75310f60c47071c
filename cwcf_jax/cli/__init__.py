"""This package is the command line ``cwcf``. Each command is a module with a function ``main``."""

from cwcf_jax.cli.entry import run

__all__ = ["run"]
