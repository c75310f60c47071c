"""The small VGG-style network and DecomposeMe share VGG-16's parts: here is what is theirs."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import networks
from tests.support import oracles


class ForwardTest(absltest.TestCase):
    def test_every_layer(self):
        network = networks.get("vgg_small_cam")
        generator = np.random.default_rng(0)
        params = jax.tree.map(
            lambda leaf: leaf if leaf.ndim > 1 else jnp.asarray(generator.normal(size=leaf.shape), jnp.float32),
            network.initialize(0),
        )
        inputs = generator.normal(size=(35, 50, 3)).astype(np.float32)
        logits, activations = jax.jit(network.apply)(params, inputs[None], jnp.array([[35, 50]], jnp.int32))
        maps, expected = inputs, {}
        for block in range(1, 5):
            if block > 1:
                maps = oracles.max_pool(maps, window=2, stride=2)
            for i in (1, 2):
                layer = params[f"conv{block}_{i}"]
                maps = expected[f"conv{block}_{i}"] = oracles.conv_relu(maps, layer["kernel"], layer["bias"])
        expected["pool4"] = oracles.max_pool(maps, window=2, stride=2)
        layer = params["cam_conv"]
        maps = expected["cam_conv"] = oracles.conv_relu(maps, layer["kernel"], layer["bias"])
        classifier = params["classifier"]
        means = maps.mean(axis=(0, 1)) @ np.asarray(classifier["kernel"], np.float64) + classifier["bias"]
        self.assertEqual(activations.keys(), expected.keys())
        for name, value in expected.items():
            np.testing.assert_allclose(activations[name][0], value, atol=1e-5 * np.abs(value).max(), err_msg=name)
        np.testing.assert_allclose(logits[0], means, atol=1e-5 * np.abs(means).max())

    def test_channels(self):
        shapes = networks.get("vgg_small_cam").shapes()
        self.assertEqual(shapes["conv4_1"]["kernel"].shape, (3, 3, 96, 160))
        self.assertEqual(shapes["cam_conv"]["kernel"].shape, (3, 3, 160, 256))


if __name__ == "__main__":
    absltest.main()
