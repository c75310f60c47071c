"""This test turns a small NNX module into a network of pure functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from flax import nnx

from cwcf_jax import networks
from cwcf_jax.networks import definition, layers

PREPROCESSING = networks.Preprocessing(channel_order="RGB", mean=(0.0, 0.0, 0.0))
LAYER = networks.Layer("conv", 2, 1)


class Tiny(nnx.Module):
    def __init__(self, rngs, *, num_labels):
        self.conv = layers.Conv(3, 2, 3, rngs=rngs)
        self.norm = layers.Affine(2, rngs=rngs)
        self.classifier = layers.Dense(2, num_labels, rngs=rngs)

    def __call__(self, inputs, sizes):
        maps = layers.affine_relu(self.norm, layers.conv_relu(self.conv, inputs, sizes), sizes)
        return self.classifier(layers.mean_pool(maps, sizes)), {"conv": maps}


def _sizes(sizes):
    return {"conv": sizes}


def _tiny(**changes):
    spec = networks.NetworkSpec("tiny", (LAYER,), "conv", LAYER, "classifier", ("classifier",), PREPROCESSING, 5)
    return definition.define_network(dataclasses.replace(spec, **changes), Tiny, _sizes, tuple)


class DefinitionTest(absltest.TestCase):
    def test_logits_depend_only_on_the_parameters_of_the_call(self):
        network = _tiny()
        first, second = network.initialize(0), network.initialize(1)
        self.assertEqual(jax.tree.map(jnp.shape, first), jax.tree.map(lambda leaf: leaf.shape, network.shapes()))
        inputs, sizes = jnp.ones((1, 4, 4, 3)), jnp.full((1, 2), 4, jnp.int32)
        first_logits = network.apply(first, inputs, sizes)[0]
        self.assertGreater(float(jnp.abs(network.apply(second, inputs, sizes)[0] - first_logits).max()), 0)
        np.testing.assert_array_equal(network.apply(first, inputs, sizes)[0], first_logits)

    def test_initial_parameters(self):
        params = networks.get("vgg16_cam").initialize(0)
        # He et al. 2015: variance 2 / fan-in, here 3 * 3 * 512 inputs; 4.7 million samples.
        self.assertAlmostEqual(float(jnp.std(params["cam_conv"]["kernel"])) * np.sqrt(4608 / 2), 1, places=2)
        self.assertEqual(float(jnp.abs(params["cam_conv"]["bias"]).max()), 0)
        tiny = _tiny().initialize(0)["norm"]
        np.testing.assert_array_equal(tiny["scale"], [1, 1])
        np.testing.assert_array_equal(tiny["bias"], [0, 0])

    def test_other_classes(self):
        network = _tiny()
        other = network.with_spec(num_labels=7, class_names=tuple("abcdefg"))
        self.assertEqual(other.shapes()["classifier"]["kernel"].shape, (2, 7))
        self.assertEqual(networks.class_names(other.spec), tuple("abcdefg"))
        self.assertEqual(network.shapes()["classifier"]["kernel"].shape, (2, 5))
        self.assertEqual(other, network.with_spec(num_labels=7, class_names=tuple("abcdefg")))
        self.assertEqual(hash(other), hash(network.with_spec(num_labels=7, class_names=tuple("abcdefg"))))
        self.assertIs(other.apply, network.with_spec(num_labels=7).apply)

    def test_other_classes_without_a_classifier(self):
        network = networks.get("squeezenet1_1").with_spec(num_labels=7, class_names=tuple("abcdefg"))
        self.assertEqual(network.spec.cam_layer.channels, 7)
        self.assertEqual(network.shapes()["conv10"]["kernel"].shape, (1, 1, 512, 7))

    def test_another_preprocessing_keeps_the_functions(self):
        network = _tiny()
        changed = dataclasses.replace(PREPROCESSING, channel_order="BGR")
        other = network.with_spec(preprocessing=changed)
        self.assertIs(other.apply, network.apply)
        self.assertEqual(other.spec.preprocessing, changed)

    def test_a_network_without_rebuild_keeps_its_number_of_classes(self):
        network = dataclasses.replace(_tiny(), rebuild=None)
        self.assertEqual(network.with_spec(class_names=tuple("abcde")).spec.class_names, tuple("abcde"))
        with self.assertRaisesRegex(ValueError, "tiny has 5 classes, not 6"):
            network.with_spec(num_labels=6)


if __name__ == "__main__":
    absltest.main()
