"""Pictures from a seed: a landmark benchmark in Oxford layout, and a labelled set of a hundred classes."""

from cwcf_jax.datasets.synthetic.landmarks import render_landmarks
from cwcf_jax.datasets.synthetic.objects import render_objects
from cwcf_jax.datasets.synthetic.vocabulary import OBJECT_CLASSES

__all__ = ["OBJECT_CLASSES", "render_landmarks", "render_objects"]
