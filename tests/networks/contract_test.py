"""This test checks what every network must satisfy with any parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import valid_mask
from cwcf_jax.networks import layers
from tests.support import on_gpus, shared, thin
from tests.support.compilation import jit_fast
from tests.support.slow import slow

thin.register()
QUICK = "squeezenet1_1", thin.NAME
"""The networks that every run tests, one without and one with a classifier; tests of the others are slow."""
LARGE = [name for name in networks.NETWORKS if name not in QUICK]

SIZES, SIDE = ((1, 1), (33, 61), (64, 47)), 96


def _random_params(network, seed=0):
    """Draws kernels by `initialize`, and biases that are not zero."""
    params = network.initialize(seed)
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (
            jnp.asarray(generator.normal(size=leaf.shape, scale=0.05), jnp.float32) if leaf.ndim == 1 else leaf
        ),
        params,
    )


@functools.cache
def _inputs(network):
    """Draws preprocessed noise images of several sizes, with a standard deviation of 50 grey levels.

    Returns:
        The unpadded images, the padded batch of all images, and the sizes.
    """
    generator = np.random.default_rng(2)
    scale = 50 * np.array(network.spec.preprocessing.scale, np.float32)
    unpadded = [generator.normal(size=(1, *size, 3)).astype(np.float32) * scale for size in SIZES]
    batch = np.zeros((len(SIZES), SIDE, SIDE, 3), np.float32)
    for image, inputs, (height, width) in zip(batch, unpadded, SIZES, strict=True):
        image[:height, :width] = inputs
    return unpadded, batch, jnp.array(SIZES, jnp.int32)


@functools.cache
def _apply(network):
    return jax.jit(network.apply)


@functools.cache
def _random_results(name):
    """Returns random parameters, and the logits and maps of the batch with these parameters."""
    network = networks.get(name)
    params = _random_params(network)
    return params, *_apply(network)(params, *_inputs(network)[1:])


class ContractTest(parameterized.TestCase):
    @parameterized.parameters(*QUICK)
    def test_mean_of_raw_cam_plus_bias_is_the_logit(self, name):
        self._check_identity(networks.get(name), *_random_results(name))

    @parameterized.parameters(*(name for name in LARGE if networks.get(name).spec.cam_layer is not None))
    @slow
    def test_mean_of_raw_cam_plus_bias_is_the_logit_of_large_networks(self, name):
        self._check_identity(networks.get(name), *_random_results(name))

    def test_mean_of_raw_cam_plus_bias_is_the_logit_with_released_weights(self):
        network = networks.get("googlenet")
        params = networks.load_params(network, shared.require("weights/googlenet_bvlc.npz"))
        self._check_identity(network, params, *_apply(network)(params, *_inputs(network)[1:]))

    def _check_identity(self, network, params, logits, activations):
        map_sizes = network.map_sizes(_inputs(network)[2])[network.spec.cam_layer.name]
        for i in range(len(SIZES)):
            maps = activations[network.spec.cam_layer.name][i]
            if network.spec.classifier is None:
                cams, bias = maps, 0.0
            else:
                classifier = params[network.spec.classifier]
                cams, bias = descriptors.class_activation_maps(maps, classifier["kernel"]), classifier["bias"]
            means = descriptors.mean_pool(cams, valid_mask(map_sizes[i], maps.shape[:2]))
            scale = float(jnp.abs(logits[i]).max())
            np.testing.assert_allclose(means + bias, logits[i], atol=1e-5 * scale)

    @parameterized.parameters(*networks.NETWORKS)
    def test_spec_describes_the_maps(self, name):
        network = networks.get(name)
        inputs = jax.ShapeDtypeStruct((1, 256, 192, 3), jnp.float32)
        sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)
        logits, activations = jax.eval_shape(network.apply, network.shapes(), inputs, sizes)
        self.assertEqual(logits.shape, (1, network.spec.num_labels))
        map_sizes = network.map_sizes(jnp.array([[256, 192]], jnp.int32))
        cam_layers = () if network.spec.cam_layer is None else (network.spec.cam_layer,)
        for layer in (*network.spec.feature_layers, *cam_layers):
            shape = activations[layer.name].shape
            self.assertEqual(shape[3], layer.channels)
            self.assertEqual(tuple(map_sizes[layer.name][0].tolist()), shape[1:3])
            # Convolutions and pools without padding lose up to one cell.
            for cells, pixels in zip(shape[1:3], (256, 192), strict=True):
                self.assertIn(cells, (pixels // layer.stride, pixels // layer.stride - 1))
        self.assertLen(networks.class_names(network.spec), network.spec.num_labels)

    @parameterized.parameters(*QUICK)
    def test_padding_changes_no_map(self, name):
        self.check_padding(name)

    @parameterized.parameters(*LARGE)
    @slow
    def test_padding_changes_no_map_of_large_networks(self, name):
        self.check_padding(name)

    def check_padding(self, name):
        params, padded_logits, padded_activations = _random_results(name)
        apply = jit_fast(networks.get(name).apply)
        unpadded, _, sizes = _inputs(networks.get(name))
        for i, inputs in enumerate(unpadded):
            logits, activations = apply(params, inputs, sizes[i : i + 1])
            scale = float(jnp.abs(logits).max())
            np.testing.assert_allclose(padded_logits[i], logits[0], atol=1e-5 * scale)
            for layer, maps in activations.items():
                rows, columns = maps.shape[1:3]
                scale = float(jnp.abs(maps).max()) + 1e-30
                actual = np.array(padded_activations[layer][i])
                np.testing.assert_allclose(actual[:rows, :columns], maps[0], atol=1e-5 * scale, err_msg=layer)
                actual[:rows, :columns] = 0
                self.assertEqual(np.abs(actual).max(), 0, layer)


class OnGPUsTest(parameterized.TestCase):
    """This test computes the GPU branches on a CPU: margins instead of masks, joined pixels, and no Winograd."""

    @parameterized.parameters(*QUICK)
    def test_the_same_maps(self, name):
        self.check(name)

    @parameterized.parameters(*LARGE)
    @slow
    def test_the_same_maps_of_large_networks(self, name):
        self.check(name)

    def check(self, name):
        params, expected_logits, expected = _random_results(name)
        with on_gpus.gpu_branches() as branches:
            logits, activations = jit_fast(networks.get(name).apply)(params, *_inputs(networks.get(name))[1:])
        self.assertIn(layers.write_zero_margin, branches)
        scale = float(jnp.abs(expected_logits).max())
        np.testing.assert_allclose(logits, expected_logits, atol=1e-5 * scale)
        for layer, maps in expected.items():
            scale = float(jnp.abs(maps).max()) + 1e-30
            np.testing.assert_allclose(activations[layer], maps, atol=1e-5 * scale, err_msg=layer)


class RegistryTest(absltest.TestCase):
    def test_unknown_network(self):
        with self.assertRaisesRegex(
            ValueError, "unknown network 'alexnet'; known: decomposeme, densenet161, efficientnet_lite0, "
        ):
            networks.get("alexnet")

    def test_unknown_layer(self):
        with self.assertRaisesRegex(ValueError, "googlenet has no feature layer 'pool5'; it has inception_3a"):
            networks.get("googlenet").spec.layer("pool5")

    def test_class_index(self):
        spec = networks.get("googlenet").spec
        # paper/facts.md, section 3: ILSVRC indices of several classes of Figure 5.
        for text, index in (("church", 497), ("Bell Cote", 442), (" dome ", 538), ("873", 873)):
            self.assertEqual(networks.class_index(spec, text), index)
        with self.assertRaisesRegex(ValueError, "is the name of 134 and 517"):
            networks.class_index(spec, "crane")
        with self.assertRaisesRegex(ValueError, "'cathedral' is not a class"):
            networks.class_index(spec, "cathedral")
        with self.assertRaisesRegex(ValueError, "class 1000 does not exist"):
            networks.class_index(spec, "1000")

    def test_class_names_are_those_of_the_weights(self):
        words = shared.require("weights/synset_words.txt").read_text().splitlines()
        first = tuple(line.split(" ", 1)[1].split(",")[0] for line in words)
        self.assertEqual(networks.class_names(networks.get("googlenet").spec), first)


if __name__ == "__main__":
    absltest.main()
