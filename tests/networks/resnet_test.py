"""This test checks the layers of ResNet-50; `tests.weights.convert_test` checks its logits and maps."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from cwcf_jax import networks


class StructureTest(absltest.TestCase):
    def test_number_of_parameters(self):
        # torchvision.models.ResNet50_Weights: 25,557,032 with a scale and a shift for each of the convolutions' 26,560
        # outputs. Folding leaves 26,560 biases. Both sums below follow He et al. 2016, table 1.
        convolutions, outputs = 3 * 7 * 7 * 64, 64
        inputs = 64
        for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
            for block in range(blocks):
                convolutions += inputs * width + 9 * width * width + width * 4 * width
                outputs += 6 * width
                if block == 0:
                    convolutions += inputs * 4 * width
                    outputs += 4 * width
                inputs = 4 * width
        classifier = 2048 * 1000 + 1000
        self.assertEqual((outputs, convolutions + 2 * outputs + classifier), (26_560, 25_557_032))
        shapes = networks.get("resnet50").shapes()
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
        self.assertEqual(count, convolutions + outputs + classifier)
        self.assertEqual(count, 25_530_472)

    def test_map_sizes_of_the_paper(self):
        # paper/facts.md, section 2: 23 x 32 maps at 720 x 1024.
        sizes = networks.get("resnet50").map_sizes(jnp.array([[720, 1024]], jnp.int32))
        self.assertEqual(sizes["layer4"].tolist(), [[23, 32]])

    def test_layers(self):
        spec = networks.get("resnet50").spec
        self.assertEqual([layer.channels for layer in spec.feature_layers], [256, 512, 1024, 2048])
        self.assertEqual([layer.stride for layer in spec.feature_layers], [4, 8, 16, 32])
        self.assertEqual(spec.cam_layer, spec.layer(spec.feature_layer))


if __name__ == "__main__":
    absltest.main()
