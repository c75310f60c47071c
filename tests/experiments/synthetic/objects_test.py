"""The labelled set: its classes, and that its pictures depend on their own seeds only."""

import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.images import read_folder, read_image
from experiments.synthetic import OBJECT_CLASSES, objects, render_objects
from experiments.synthetic.mesh import Sketch
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.photograph import encode
from experiments.synthetic.vocabulary import PARTS


class ClassesTest(absltest.TestCase):
    def test_a_hundred_distinct_names(self):
        self.assertLen(set(OBJECT_CLASSES), 100)
        self.assertEqual(sorted(OBJECT_CLASSES), list(OBJECT_CLASSES))
        for name in OBJECT_CLASSES:
            self.assertRegex(name, "^[a-z]+( [a-z]+)*$")

    def test_every_class_is_drawn_and_seen(self):
        for label, name in enumerate(OBJECT_CLASSES):
            with self.subTest(name):
                image = np.asarray(objects.draw_object(0, label, 0, 32))
                self.assertEqual((image.shape, image.dtype), ((32, 32, 3), np.uint8))
                with mock.patch.dict(PARTS, {name: lambda p, *_: p.rect(0, 0, 1e-9, 1e-9, (0, 0, 0))}):
                    self.assertFalse(np.array_equal(image, np.asarray(objects.draw_object(0, label, 0, 32))))

    def test_parts_are_about_one_unit_high(self):
        for name, part in PARTS.items():
            for seed in range(3):
                with self.subTest(name, seed=seed):
                    rng, sketch = np.random.default_rng(seed), Sketch()
                    part(sketch.front(), rng, draw_palette(rng))
                    mesh = sketch.finish()
                    low, high = mesh.bounds
                    self.assertTrue(np.isfinite(mesh.vertices).all())
                    self.assertTrue(0.6 <= high[2] <= 1.35 and -0.2 <= low[2] <= 0.25, (low, high))
                    self.assertTrue(((mesh.colours >= 0) & (mesh.colours <= 1)).all())


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir())

    def test_tree(self):
        first = render_objects(self.root / "first", seed=1, per_class=1, size=16, workers=1)
        found = read_folder(first)
        self.assertEqual(found.names, tuple(f"{name.replace(' ', '_')}/00000.jpg" for name in OBJECT_CLASSES))
        self.assertEqual(read_image(found.paths[0]).shape, (16, 16, 3))
        for label in (99, 3, 41):  # in another order and alone
            alone = encode(objects.draw_object(1, label, 0, 16), objects.QUALITY)
            self.assertEqual(found.paths[label].read_bytes(), alone)
        counted = []
        render_objects(first, seed=1, per_class=1, size=16, progress=counted.append)
        self.assertEqual(counted, [100])
        with self.assertRaisesRegex(ValueError, "was rendered as"):
            render_objects(first, seed=1, per_class=2, size=16)

    def test_seed_label_and_number_matter(self):
        pictures = [objects.draw_object(*key, 32).tobytes() for key in ((0, 5, 0), (1, 5, 0), (0, 6, 0), (0, 5, 1))]
        self.assertLen(set(pictures), 4)
        self.assertEqual(objects.draw_object(0, 5, 0, 32).tobytes(), pictures[0])

    def test_crash_leaves_nothing(self):
        with mock.patch.object(objects, "draw_object", side_effect=OSError), self.assertRaises(OSError):
            render_objects(self.root / "crash", seed=1, per_class=1, size=16, workers=1)
        self.assertEmpty(list(self.root.iterdir()))

    @parameterized.parameters({"seed": -1}, {"per_class": 0}, {"size": 8}, {"size": 1000}, {"workers": 0})
    def test_out_of_range(self, **wrong):
        with self.assertRaises(ValueError):
            render_objects(self.root / "wrong", **{"seed": 1, "per_class": 1, "size": 16, **wrong})
        self.assertFalse((self.root / "wrong").exists())


if __name__ == "__main__":
    absltest.main()
