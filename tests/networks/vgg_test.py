"""This test compares VGG-16-CAM with a forward pass in numpy float64."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from tests.support import oracles


def _forward(params, inputs, groups):
    """Computes VGG-16-CAM: configuration D of Simonyan & Zisserman 2015 up to conv5_3, then Zhou et al. 2016."""
    maps, activations = np.asarray(inputs, np.float64), {}
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        if block > 1:
            maps = oracles.max_pool(maps, window=2, stride=2)
        for i in range(1, count + 1):
            layer = params[f"conv{block}_{i}"]
            maps = activations[f"conv{block}_{i}"] = oracles.conv_relu(maps, layer["kernel"], layer["bias"])
    activations["pool5"] = oracles.max_pool(maps, window=2, stride=2)
    layer = params["cam_conv"]
    maps = activations["cam_conv"] = oracles.conv_relu(maps, layer["kernel"], layer["bias"], groups=groups)
    classifier = params["classifier"]
    return maps.mean(axis=(0, 1)) @ np.asarray(classifier["kernel"], np.float64) + classifier["bias"], activations


class ForwardTest(parameterized.TestCase):
    @parameterized.parameters(("vgg16_cam", 1), ("vgg16_cam_grouped", 2))
    def test_every_layer(self, name, groups):
        network = networks.get(name)
        generator = np.random.default_rng(0)
        params = jax.tree.map(
            lambda leaf: leaf if leaf.ndim > 1 else jnp.asarray(generator.normal(size=leaf.shape), jnp.float32),
            network.initialize(0),
        )
        inputs = generator.normal(size=(35, 50, 3)).astype(np.float32) * 60  # odd sizes of maps: 35, 18, 9, 5, 3
        sizes = jnp.array([[35, 50]], jnp.int32)
        logits, activations = jax.jit(network.apply)(params, inputs[None], sizes)
        expected_logits, expected = _forward(params, inputs, groups)
        self.assertEqual(activations.keys(), expected.keys())
        for layer, maps in expected.items():
            scale = np.abs(maps).max()
            np.testing.assert_allclose(activations[layer][0], maps, atol=1e-5 * scale, err_msg=layer)
        np.testing.assert_allclose(logits[0], expected_logits, atol=1e-5 * np.abs(expected_logits).max())

    def test_each_group_reads_half_of_the_channels(self):
        network = networks.get("vgg16_cam_grouped")
        self.assertEqual(network.shapes()["cam_conv"]["kernel"].shape, (3, 3, 256, 1024))
        self.assertEqual(networks.get("vgg16_cam").shapes()["cam_conv"]["kernel"].shape, (3, 3, 512, 1024))

    def test_map_sizes_of_the_paper(self):
        # paper/facts.md, section 2: features and CAM source have the same 45 x 64 map at 720 x 1024.
        sizes = networks.get("vgg16_cam").map_sizes(jnp.array([[720, 1024]], jnp.int32))
        self.assertEqual(sizes["conv5_1"].tolist(), [[45, 64]])
        self.assertEqual(sizes["cam_conv"].tolist(), [[45, 64]])

    def test_plain_vgg16(self):
        network = networks.get("vgg16")
        # Simonyan & Zisserman 2015, table 2: 138 million; torchvision.models.VGG16_Weights: 138,357,544.
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(network.shapes()))
        self.assertEqual(count, 138_357_544)
        self.assertEqual(network.map_sizes(jnp.array([[720, 1024]], jnp.int32))["pool5"].tolist(), [[23, 32]])
        self.assertIsNone(network.spec.cam_layer)

    def test_mean_is_subtracted_in_the_order_of_the_channels(self):
        # paper/facts.md, section 1: R 123.68, G 116.779, B 103.939; the network reads B, G, R.
        red = jnp.zeros((1, 1, 1, 3)).at[..., 0].set(255.0)
        actual = networks.preprocess(red, jnp.ones((1, 2), jnp.int32), networks.get("vgg16_cam").spec.preprocessing)
        np.testing.assert_allclose(actual[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-6)


if __name__ == "__main__":
    absltest.main()
