"""This module runs the command line as ``python -m cwcf_jax``, for environments where ``cwcf`` is not on the path."""

from cwcf_jax.cli import run

run()
