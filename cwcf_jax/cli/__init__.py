"""The command line, ``cwcf``: each command a module here with a function ``main``."""

from cwcf_jax.cli.entry import run

__all__ = ["run"]
