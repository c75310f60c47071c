"""Tests of the errors for wrong arguments of the encoder."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder, networks


class ArgumentsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.model = encoder.load(
            "googlenet", networks.get("googlenet").shapes()
        )  # errors need only the shapes of parameters

    @parameterized.parameters(
        (dict(images=np.zeros((4, 4, 3), np.uint8)), r"images must be \[batch, .*add a batch axis"),
        (dict(images=np.zeros((1, 4, 4, 1), np.uint8)), r"not of shape \(1, 4, 4, 1\)"),
        (dict(images=np.zeros((0, 4, 4, 3), np.uint8)), "not of shape"),
        (dict(images=np.zeros((1, 4, 4, 3), np.int32)), "uint8 or floating point.*not int32"),
        (dict(num_classes=0), "num_classes must lie between 1 and 1000, not 0"),
        (dict(num_classes=1001), "not 1001"),
        (dict(class_ids=[1000]), "0-based indices below 1000"),
        (dict(class_ids=[-1]), "0-based indices"),
        (dict(class_ids=[]), "at least one 0-based index"),
        (dict(class_ids=[497.0]), "0-based index below 1000, not float"),
        (
            dict(images=[np.zeros((4, 4, 3)), np.zeros((5, 4, 3))]),
            "several sizes must be padded",
        ),
        (dict(class_ids=[[1], [2]]), r"\[n\] or \[batch, n\], not of shape \(2, 1\)"),
        (dict(sizes=[4, 4]), r"sizes must have shape \(1, 2\)"),
        (dict(sizes=[[5, 4]]), "sizes must lie between 1 and the image's"),
        (dict(boxes=[0, 0, 4, 4]), r"boxes must have shape \(1, 4\)"),
        (dict(boxes=[[0, 0, float("nan"), 4]]), "boxes must be finite"),
    )
    def test_errors(self, arguments, message):
        arguments = {"images": np.zeros((1, 4, 4, 3), np.uint8)} | arguments
        for function in (cwcf_jax.encode, cwcf_jax.class_vectors, encoder.pool):
            with self.assertRaisesRegex(ValueError, message):
                function(self.model, **arguments)

    def test_errors_of_load(self):
        with self.assertRaisesRegex(ValueError, "unknown CAM normalization 'softmax'; known: min_max"):
            encoder.load("googlenet", {}, cam_normalization="softmax")
        with self.assertRaisesRegex(ValueError, "unknown network"):
            encoder.load("resnet", {})
        with self.assertRaisesRegex(ValueError, "no feature layer 'conv5_1'"):
            encoder.load("googlenet", {}, feature_layer="conv5_1")
        params = networks.get("googlenet").shapes()
        del params["conv1"]["bias"]
        params["conv2"]["bias"] = jnp.zeros(192, jnp.int8)
        with self.assertRaisesRegex(
            cwcf_jax.CheckpointError,
            "params does not hold googlenet:\n  missing conv1/bias.*\n  not floating point conv2/bias",
        ):
            encoder.load("googlenet", params)


if __name__ == "__main__":
    absltest.main()
