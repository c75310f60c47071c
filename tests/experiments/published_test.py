from absl.testing import absltest, parameterized

from cwcf_jax import networks
from experiments import published


class PublishedTest(parameterized.TestCase):
    @parameterized.parameters(
        # paper.txt, Table 1a, Table 2a and Table 2b.
        ("oxford5k", "Raw", None, None, 0, 0.396),
        ("Paris6k", "Raw+CroW+PCA", None, None, 0, 0.685),
        ("oxford5k", "OfA", 64, 1, 0, 0.712),
        ("oxford5k", "OnA", 64, 1, 0, 0.736),
        ("paris6k", "OnA", 64, 1, 0, 0.855),
        ("paris6k", "OfA", 64, 1, 10, 0.836),
        ("oxford5k", "OfA", 64, 8, 0, None),
        ("oxford5k", "OfA", 64, 1, 5, None),
        ("oxford5k", "Raw", None, None, 10, None),
        ("oxford_dev", "OfA", 64, 1, 0, None),
    )
    def test_values(self, dataset, method, nc, npca, qe, expected):
        found = published.mean_average_precision(dataset, "vgg16_cam", method, nc=nc, npca=npca, qe=qe)
        self.assertEqual(found, expected)
        self.assertIsNone(published.mean_average_precision(dataset, "googlenet", method, nc=nc, npca=npca, qe=qe))

    def test_predefined_classes_are_the_named_ones(self):
        # paper.txt, caption of Figure 5.
        named = (
            "vault, bell cote, bannister, analog clock, movie theater, coil, pier, dome, pedestal, flagpole, church, "
            "chime, suspension bridge, birdhouse, sundial, triumphal arch"
        )
        spec = networks.get("vgg16_cam").spec
        theirs = {"movie theater": "cinema", "pier": "pier", "analog clock": "analog clock"}
        found = [networks.class_names(spec)[i] for i in published.PREDEFINED_CLASSES]
        self.assertEqual(found, [theirs.get(name, name) for name in named.split(", ")])


if __name__ == "__main__":
    absltest.main()
