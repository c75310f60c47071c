from absl.testing import absltest, parameterized

from cwcf_jax import protocol
from cwcf_jax.datasets import Resize


class ProtocolTest(parameterized.TestCase):
    def test_paper(self):
        # paper/facts.md, section 1: minimum side 720, min-max maps, negative maps dropped, PCA of all dimensions.
        paper = protocol.get("paper")
        self.assertEqual(paper.extraction(4).resize, Resize("min", 720))
        self.assertTrue(paper.extraction(4).scale_boxes)
        self.assertEqual(paper.model_options((1.0, 2.0, 3.0))["cam_normalization"], "min_max")
        self.assertTrue(paper.model_options((1.0, 2.0, 3.0))["drop_negative"])
        self.assertIsNone(paper.model_options((1.0, 2.0, 3.0))["pixel_mean"])
        self.assertIsNone(paper.whitening_config().dim)

    def test_each_field_switches_alone(self):
        paper = protocol.get("paper")
        changed = paper.replace(
            resize="squash1024x720", query_boxes="original", pixel_mean="reversed", whitening="shrinkage", shrinkage=0.5
        )
        self.assertEqual(str(changed.extraction(0).resize), "squash1024x720")
        self.assertFalse(changed.extraction(0).scale_boxes)
        self.assertEqual(changed.model_options((1.0, 2.0, 3.0))["pixel_mean"], (3.0, 2.0, 1.0))
        self.assertEqual(changed.whitening_config().kind, "shrinkage")
        self.assertEqual(changed.whitening_config().shrinkage, 0.5)
        self.assertEqual(changed.cam_normalization, paper.cam_normalization)

    @parameterized.parameters(
        ({"resise": "none"}, "no such protocol field: resise; known: cam_normalization"),
        ({"resize": "720"}, "unknown resize '720'"),
        ({"shrinkage": 1.5}, "between 0 and 1, not 1.5"),
        ({"whitening_dim": -1}, "0 .all. or more, not -1"),
        ({"whitening": "zca"}, "unknown whitening 'zca'; known: pca, shrinkage"),
        ({"pixel_mean": "none"}, "unknown pixel_mean 'none'; known: network, reversed"),
    )
    def test_errors(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            changed = protocol.get("paper").replace(**changes)
            changed.extraction(0)
            changed.whitening_config()

    def test_name_tells_what_was_changed(self):
        self.assertEqual(str(protocol.get("paper")), "paper")
        changed = protocol.get("paper").replace(resize="none", whitening_dim=256)
        self.assertEqual(str(changed), "paper + resize=none + whitening_dim=256")

    def test_unknown_preset(self):
        with self.assertRaisesRegex(ValueError, "unknown protocol 'papers'; known: paper"):
            protocol.get("papers")


if __name__ == "__main__":
    absltest.main()
