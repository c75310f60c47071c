"""This test compares GoogLeNet with golden outputs that PyTorch computed from the released weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import descriptors, networks
from tests.support import shared
from tests.support.slow import slow


def _relative(actual, expected):
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())


@functools.cache
def _golden():
    """Returns golden_googlenet.npz, the released parameters, the golden input, and the network's logits and maps."""
    golden = np.load(shared.require("weights/golden_googlenet.npz"))
    params = networks.load_params(networks.get("googlenet"), shared.require("weights/googlenet_bvlc.npz"))
    inputs = golden["input_bgr_meansub_nchw"].transpose(0, 2, 3, 1)
    results = jax.jit(networks.get("googlenet").apply)(params, inputs, jnp.full((len(inputs), 2), 224, jnp.int32))
    return golden, params, inputs, *results


class GoldenTest(absltest.TestCase):
    """This test reads the golden values of four photographs, which are BGR, NCHW and have the mean subtracted."""

    def setUp(self):
        super().setUp()
        self.golden, self.params, self.inputs, self.logits, self.activations = _golden()

    def test_activations_and_logits(self):
        expected = self.golden["inception_5b"].transpose(0, 2, 3, 1)
        self.assertLess(_relative(self.activations["inception_5b"], expected), 1e-4)
        self.assertLess(_relative(self.logits, self.golden["logits"]), 1e-4)

    def test_preprocessing_gives_the_golden_input(self):
        spec = networks.get("googlenet").spec
        rgb = (self.inputs + np.array(spec.preprocessing.mean, np.float32))[..., ::-1]
        actual = networks.preprocess(jnp.asarray(rgb), jnp.full((4, 2), 224, jnp.int32), spec.preprocessing)
        np.testing.assert_allclose(actual, self.inputs, atol=1e-4)

    def test_top_class_map(self):
        kernel = self.params["classifier"]["kernel"]
        for i in range(4):
            top = int(np.argmax(self.logits[i]))
            features = self.activations["inception_5b"][i]
            cam = descriptors.class_activation_maps(features, kernel[:, top : top + 1])[..., 0]
            self.assertLess(_relative(cam, self.golden["cam_top1"][i]), 1e-3)

    @slow
    def test_accuracy_on_photographs(self):
        """Checks that most photographs are recognised, so that weights, channel order and class names are right.

        weights/README.md gives a top-1 of 142 of 200, for one photograph of each class. Every tenth of these 250 is
        enough.
        """
        from cwcf_jax import encoder
        from cwcf_jax.images import read_folder, read_image

        model = encoder.load("googlenet", shared.require("weights/googlenet_bvlc.npz"))
        images = read_folder(shared.require("data/imagenet_cls_dev"))
        correct = 0
        for path in images.paths[::10]:
            image = read_image(path)
            padded = np.zeros((1, 384, 480, 3), np.uint8)  # one shape, so one compilation
            padded[0, : image.shape[0], : image.shape[1]] = image
            actual = encoder.class_vectors(model, padded, num_classes=1, sizes=[image.shape[:2]])
            correct += int(actual.class_ids[0, 0]) == int(path.name[:4])
        self.assertGreaterEqual(correct, 13)


class StructureTest(absltest.TestCase):
    def test_layers(self):
        spec = networks.get("googlenet").spec
        # Szegedy et al. 2015, table 1, "output size" of each inception.
        expected = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
        self.assertEqual([layer.channels for layer in spec.feature_layers], expected)
        self.assertEqual([layer.stride for layer in spec.feature_layers], [8, 8, 16, 16, 16, 16, 16, 32, 32])

    def test_number_of_parameters(self):
        # weights/README.md: 6,998,552 values in the released file.
        shapes = networks.get("googlenet").shapes()
        self.assertEqual(sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes)), 6_998_552)

    def test_googlenet_cam(self):
        # Zhou et al. 2016, section 3: without the layers after inception_4e, the maps are 14 x 14; 1024 units. The
        # Caffe release has two groups.
        network = networks.get("googlenet_cam")
        self.assertEqual(network.shapes()["cam_conv"]["kernel"].shape, (3, 3, 416, 1024))
        self.assertNotIn("inception_5a", network.shapes())
        self.assertEqual(network.map_sizes(jnp.array([[224, 224]], jnp.int32))["cam_conv"].tolist(), [[14, 14]])


if __name__ == "__main__":
    absltest.main()
