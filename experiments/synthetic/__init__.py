"""Pictures from a seed: a landmark benchmark in Oxford layout."""

from experiments.synthetic.landmarks import render_landmarks

__all__ = ["render_landmarks"]
