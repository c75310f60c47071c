"""This test checks the layers of DenseNet-161; `tests.weights.convert_test` checks its logits and maps."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import networks


class StructureTest(absltest.TestCase):
    def test_number_of_parameters(self):
        # torchvision.models.DenseNet161_Weights: 28,681,000 with a scale and a shift for each normalised channel. After
        # a convolution both are folded into one bias. The sum below follows Huang et al. 2017, table 1.
        convolutions, folded, kept = 3 * 7 * 7 * 96, 96, 0
        channels = 96
        for block, count in enumerate((6, 12, 36, 24)):
            for _ in range(count):
                convolutions += channels * 192 + 9 * 192 * 48
                kept += channels
                folded += 192
                channels += 48
            kept += channels  # the normalisation of the transition, or norm5
            if block < 3:
                convolutions += channels * (channels // 2)
                channels //= 2
        classifier = channels * 1000 + 1000
        self.assertEqual(channels, 2208)
        self.assertEqual(convolutions + 2 * folded + 2 * kept + classifier, 28_681_000)
        shapes = networks.get("densenet161").shapes()
        actual = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
        self.assertEqual(actual, convolutions + folded + 2 * kept + classifier)

    def test_map_sizes_of_the_paper(self):
        # paper/facts.md, section 2: 22 x 32 maps at 720 x 1024.
        sizes = networks.get("densenet161").map_sizes(jnp.array([[720, 1024]], jnp.int32))
        self.assertEqual(sizes["norm5"].tolist(), [[22, 32]])

    def test_layers(self):
        spec = networks.get("densenet161").spec
        self.assertEqual([layer.channels for layer in spec.feature_layers], [384, 768, 2112, 2208])
        self.assertEqual([layer.stride for layer in spec.feature_layers], [4, 8, 16, 32])
        self.assertEqual(spec.cam_layer, spec.layer(spec.feature_layer))


if __name__ == "__main__":
    absltest.main()
