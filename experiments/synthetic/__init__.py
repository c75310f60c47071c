"""This package renders landmark benchmarks in Oxford layout; each picture follows from a seed."""

from experiments.synthetic.landmarks import render_landmarks

__all__ = ["render_landmarks"]
