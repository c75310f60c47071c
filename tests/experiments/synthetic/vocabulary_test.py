"""What stands about in scenes."""

import numpy as np
from absl.testing import absltest

from experiments.synthetic import scenes
from experiments.synthetic.mesh import Sketch
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.vocabulary import PROPS


class PropsTest(absltest.TestCase):
    def test_each_has_its_own_number_and_a_height(self):
        self.assertLen({number for number, _ in PROPS.values()}, len(PROPS))
        self.assertEqual(scenes.HEIGHT_RANGES_M.keys(), PROPS.keys())

    def test_they_are_what_published_figures_are_of(self):
        meshes = [scenes.build_prop(1, name, variant) for name in PROPS for variant in (0, 4)]
        self.assertEqual(sum(len(mesh.vertices) for mesh in meshes), 22817)
        self.assertAlmostEqual(np.mean([mesh.vertices.mean() for mesh in meshes]), 0.17085941741, places=9)

    def test_they_are_about_one_unit_high(self):
        for name, (_, part) in PROPS.items():
            for seed in range(3):
                with self.subTest(name, seed=seed):
                    rng, sketch = np.random.default_rng(seed), Sketch()
                    part(sketch.front(), rng, draw_palette(rng))
                    mesh = sketch.finish()
                    low, high = mesh.bounds
                    self.assertTrue(np.isfinite(mesh.vertices).all())
                    self.assertTrue(0.6 <= high[2] <= 1.35 and -0.2 <= low[2] <= 0.25, (low, high))
                    self.assertTrue(((mesh.colours >= 0) & (mesh.colours <= 1)).all())


if __name__ == "__main__":
    absltest.main()
