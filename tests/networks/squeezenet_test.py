"""This test compares SqueezeNet 1.1 with golden outputs of PyTorch; see also `tests.weights.convert_test`."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import networks
from tests.support import shared


def _relative(actual, expected):
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())


class GoldenTest(absltest.TestCase):
    """This test reads golden_squeezenet1.1.npz: four photographs, BGR, NCHW, with the mean subtracted."""

    def setUp(self):
        super().setUp()
        self.golden = np.load(shared.require("weights/golden_squeezenet1.1.npz"))
        self.inputs = self.golden["input_bgr_meansub_nchw"].transpose(0, 2, 3, 1)

    def test_activations_and_logits(self):
        network = networks.get("squeezenet1_1")
        params = networks.load_params(network, shared.require("weights/squeezenet_v1.1.npz"))
        sizes = jnp.full((4, 2), 227, jnp.int32)
        logits, activations = jax.jit(network.apply)(params, self.inputs, sizes)
        self.assertLess(_relative(activations["fire9"], self.golden["fire9"].transpose(0, 2, 3, 1)), 1e-4)
        self.assertLess(_relative(logits, self.golden["logits"]), 1e-4)
        np.testing.assert_allclose(activations["conv10"].mean(axis=(1, 2)), logits, rtol=1e-5, atol=1e-5)

    def test_preprocessing_gives_the_golden_input(self):
        rgb = (self.inputs + np.array([104, 117, 123], np.float32))[..., ::-1]
        preprocessing = networks.get("squeezenet1_1").spec.preprocessing
        actual = networks.preprocess(jnp.asarray(rgb), jnp.full((4, 2), 227, jnp.int32), preprocessing)
        np.testing.assert_allclose(actual, self.inputs, atol=1e-4)


class StructureTest(absltest.TestCase):
    def test_number_of_parameters(self):
        # weights/README.md: 1,235,496 values in the released file; torchvision documents the same number.
        shapes = networks.get("squeezenet1_1").shapes()
        self.assertEqual(sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)), 1_235_496)

    def test_layers(self):
        spec = networks.get("squeezenet1_1").spec
        # deploy.prototxt: two expand layers in each fire; pools of stride 2 after conv1, fire3 and fire5.
        self.assertEqual([layer.channels for layer in spec.feature_layers], [128, 128, 256, 256, 384, 384, 512, 512])
        self.assertEqual([layer.stride for layer in spec.feature_layers], [4, 4, 8, 8, 16, 16, 16, 16])
        self.assertIsNone(spec.classifier)

    def test_other_classes_are_other_maps(self):
        other = networks.get("squeezenet1_1").with_spec(num_labels=7, class_names=tuple("abcdefg"))
        self.assertEqual(other.shapes()["conv10"]["kernel"].shape, (1, 1, 512, 7))
        self.assertEqual(other.spec.cam_layer.channels, 7)
        self.assertEqual(networks.get("squeezenet1_1").spec.cam_layer.channels, 1000)


if __name__ == "__main__":
    absltest.main()
