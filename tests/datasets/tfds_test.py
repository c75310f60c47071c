"""This module tests the error where TensorFlow Datasets is not installed."""

import sys
from unittest import mock

from absl.testing import absltest

from cwcf_jax.datasets import benchmarks, labelled
from cwcf_jax.images.imagesets import DatasetError


class MissingTest(absltest.TestCase):
    def test_error_names_the_extra(self):
        with mock.patch.dict(sys.modules, {"tensorflow_datasets": None}):
            with self.assertRaisesRegex(DatasetError, r"tensorflow_datasets .* pip install 'cwcf-jax\[datasets\]'"):
                benchmarks.load("oxford5k")
            with self.assertRaisesRegex(DatasetError, r"tensorflow_datasets .* pip install 'cwcf-jax\[datasets\]'"):
                labelled.read_labelled("tfds:mnist")


if __name__ == "__main__":
    absltest.main()
