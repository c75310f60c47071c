"""Pictures from a seed: a landmark benchmark in Oxford layout, and a labelled set of a hundred classes."""

from experiments.synthetic.landmarks import render_landmarks
from experiments.synthetic.objects import render_objects
from experiments.synthetic.vocabulary import OBJECT_CLASSES

__all__ = ["OBJECT_CLASSES", "render_landmarks", "render_objects"]
