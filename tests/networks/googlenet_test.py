"""GoogLeNet against golden outputs computed with PyTorch from the released weights."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import descriptors, networks
from tests import shared


def _relative(found, expected):
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


class GoldenTest(absltest.TestCase):
    """../shared/weights/golden_googlenet.npz: four photographs, BGR, mean subtracted, NCHW."""

    def setUp(self):
        super().setUp()
        self.golden = np.load(shared.require("weights/golden_googlenet.npz"))
        self.params = networks.load_params(networks.get("googlenet"), shared.require("weights/googlenet_bvlc.npz"))
        self.inputs = self.golden["input_bgr_meansub_nchw"].transpose(0, 2, 3, 1)

    def _apply(self, inputs):
        sizes = jnp.full((len(inputs), 2), 224, jnp.int32)
        return jax.jit(networks.get("googlenet").apply)(self.params, inputs, sizes)

    def test_activations_and_logits(self):
        logits, activations = self._apply(self.inputs)
        expected = self.golden["inception_5b"].transpose(0, 2, 3, 1)
        self.assertLess(_relative(activations["inception_5b"], expected), 1e-4)
        self.assertLess(_relative(logits, self.golden["logits"]), 1e-4)

    def test_preprocessing_gives_the_golden_input(self):
        spec = networks.get("googlenet").spec
        rgb = (self.inputs + np.array(spec.preprocessing.mean, np.float32))[..., ::-1]
        found = networks.preprocess(jnp.asarray(rgb), jnp.full((4, 2), 224, jnp.int32), spec.preprocessing)
        np.testing.assert_allclose(found, self.inputs, atol=1e-4)

    def test_top_class_map(self):
        logits, activations = self._apply(self.inputs)
        kernel = self.params["classifier"]["kernel"]
        for i in range(4):
            top = int(np.argmax(logits[i]))
            cam = descriptors.class_activation_maps(activations["inception_5b"][i], kernel[:, top : top + 1])[..., 0]
            self.assertLess(_relative(cam, self.golden["cam_top1"][i]), 1e-3)

    def test_accuracy_on_photographs(self):
        """Trained weights, the right channel order and the right classes: most photographs are recognised.

        weights/README.md: top-1 142 of 200 on one photograph a class. Every tenth of these 250 is enough to tell.
        """
        from cwcf_jax import datasets, encoder

        model = encoder.load("googlenet", shared.require("weights/googlenet_bvlc.npz"))
        images = datasets.read_folder(shared.require("data/imagenet_cls_dev"))
        hits = 0
        for path in images.paths[::10]:
            found = encoder.class_vectors(model, datasets.read_image(path)[None], num_classes=1)
            hits += int(found.class_ids[0, 0]) == int(path.name[:4])
        self.assertGreaterEqual(hits, 13)


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
        # Zhou et al. 2016, section 3: without what follows inception_4e, maps of 14 x 14; 1024 units, in two groups.
        network = networks.get("googlenet_cam")
        self.assertEqual(network.shapes()["cam_conv"]["kernel"].shape, (3, 3, 416, 1024))
        self.assertNotIn("inception_5a", network.shapes())
        self.assertEqual(network.map_sizes(jnp.array([[224, 224]], jnp.int32))["cam_conv"].tolist(), [[14, 14]])


if __name__ == "__main__":
    absltest.main()
