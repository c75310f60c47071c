"""python -m cwcf_jax: the command line where ``cwcf`` is not on the path."""

from cwcf_jax.cli import run

run()
