"""The benchmark: what it shows, how that is labelled, and that it reads back."""

import dataclasses
import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.datasets import read_oxford
from cwcf_jax.images import read_folder, read_image
from experiments.synthetic import landmarks, render_landmarks
from experiments.synthetic.landmarks import GOOD, OK, Visibility, compose, plan_views

SMALL = {"seed": 3, "landmarks": 2, "queries": 2, "views": 6, "lookalikes": 2, "distractors": 4, "side": 96}


def _bytes(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _inside(outline, x, y):
    """Whether pixel centres lie in a polygon, by counting crossings."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _recount(scene):
    """The pixels of the subject by a ray through every one of them, nearest polygon of all meshes first."""
    width, height = scene.size
    x, y = np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5
    rays = np.stack(np.broadcast_arrays(x - scene.camera.centre[0], y - scene.camera.centre[1], scene.camera.focal), -1)
    rays = rays @ scene.camera.rotation
    nearest, owner = np.full((height, width), np.inf), np.full((height, width), -1)
    for k, mesh in enumerate(scene.meshes):
        for i in np.flatnonzero(mesh.solid & (mesh.cast == 0)):
            points = mesh.vertices[mesh.starts[i] : mesh.starts[i + 1]]
            seen = (points - scene.camera.position) @ scene.camera.rotation.T
            normal = mesh.normals[i]
            if not normal.any():
                normal = np.cross(points[1] - points[0], points[2] - points[0])
            elif normal @ (scene.camera.position - points[0]) <= 0:
                continue
            outline = seen[:, :2] * (scene.camera.focal / seen[:, 2:]) + scene.camera.centre
            hit = _inside(outline, x, y)
            with np.errstate(divide="ignore", invalid="ignore"):
                depth = (normal @ (points[0] - scene.camera.position)) / (rays @ normal)
            closer = hit & (depth < nearest)
            nearest[closer], owner[closer] = depth[closer], k
    return owner == scene.subject


class SightTest(parameterized.TestCase):
    @parameterized.parameters(0, 4, 6, 9)
    def test_visible_pixels_against_rays(self, kind):
        plan = plan_views(5, 11, 1, 3, 0, 0, 64)
        scene, sight = compose(plan[kind * 3 + 1])
        expected = _recount(scene)
        shifted = [np.roll(expected, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        edge = np.any(shifted, 0) & ~np.all(shifted, 0)
        different = np.count_nonzero((expected != scene.visible()) & ~edge)
        self.assertLess(different, 0.01 * expected.sum())
        rows, columns = np.flatnonzero(expected.any(1)), np.flatnonzero(expected.any(0))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / landmarks.OVERSAMPLING
        np.testing.assert_allclose(sight.box, box, atol=2.5)

    def test_share_against_a_wide_frame(self):
        """A frame so wide that nothing is cut, and nothing in front: the same count another way."""
        for view in plan_views(6, 3, 1, 4, 0, 0, 64)[1::4]:
            scene, sight = compose(view)
            width, height = scene.size
            pad = 3 * max(width, height)
            centre = (scene.camera.centre[0] + pad, scene.camera.centre[1] + pad)
            wide = dataclasses.replace(
                scene,
                meshes=(scene.meshes[scene.subject],),
                subject=0,
                camera=scene.camera.scaled(1.0, centre),
                size=(width + 2 * pad, height + 2 * pad),
            )
            everything = np.count_nonzero(wide.visible())
            self.assertAlmostEqual(sight.share, np.count_nonzero(scene.visible()) / everything, delta=0.02)

    def test_nothing_in_front_and_all_in_frame_is_all(self):
        scene, _ = compose(plan_views(7, 1, 1, 1, 0, 0, 64)[0])
        alone = dataclasses.replace(scene, meshes=(scene.meshes[0],), subject=0)
        pixels, _ = alone.camera.project(alone.meshes[0].vertices)
        low, high = pixels.min(0), pixels.max(0)
        centre = np.array(alone.camera.centre) - low + 5
        alone = dataclasses.replace(
            alone,
            camera=alone.camera.scaled(1.0, (float(centre[0]), float(centre[1]))),
            size=tuple(int(edge) for edge in high - low + 10),
        )
        self.assertAlmostEqual(alone.share(alone.visible()), 1.0, delta=0.01)

    def test_looks_the_same_with_and_without_things_behind(self):
        scene, _ = compose(plan_views(8, 1, 1, 1, 0, 0, 64)[0])
        order = scene.order()
        nearer = order[order.index(scene.subject) :]
        bare = dataclasses.replace(scene, meshes=tuple(scene.meshes[i] for i in nearer), subject=0)
        np.testing.assert_array_equal(bare.visible(), scene.visible())


class LabelsTest(absltest.TestCase):
    def test_thresholds(self):
        folder = pathlib.Path(self.create_tempdir())
        shares = (1.0, GOOD, GOOD - 1e-6, OK, OK - 1e-6, 0.0)
        names = [f"hall_{i}" for i in range(6)]
        landmarks.write_labels(folder, "hall", names, [Visibility(share, (1, 2, 3.25, 4)) for share in shares], 2)
        for number in (1, 2):
            groups = [(folder / f"hall_{number}_{kind}.txt").read_text().split() for kind in ("good", "ok", "junk")]
            self.assertEqual(groups, [names[:2], names[2:4], names[4:]])
        self.assertEqual((folder / "hall_2_query.txt").read_text(), "oxc1_hall_1 1.0 2.0 3.2 4.0\n")
        self.assertLen(list(folder.iterdir()), 8)


class FolderTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.first = render_landmarks(cls.root / "first", **SMALL, workers=1)

    def test_reads_back(self):
        found = read_oxford(self.first)
        self.assertLen(found, 2 * (6 + 2) + 4)
        self.assertEqual([q.name for q in found.queries], ["church_1", "church_2", "domed_hall_1", "domed_hall_2"])
        for query in found.queries:
            good = (self.first / "lab" / f"{query.name}_good.txt").read_text().split()
            self.assertIn(found.names[query.image], good)
            height, width = read_image(found.paths[query.image]).shape[:2]
            x1, y1, x2, y2 = query.box
            self.assertTrue(0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height)
            self.assertEqual(max(height, width), 96)

    def test_every_view_is_in_one_list_and_lookalikes_in_none(self):
        found = read_oxford(self.first)
        for query in found.queries:
            listed = {found.names[i] for i in query.positives | query.junk}
            landmark = query.name.rsplit("_", 1)[0]
            self.assertEqual(listed, {f"{landmark}_{i:06d}" for i in range(6)})
        text = "".join(path.read_text() for path in (self.first / "lab").iterdir())
        self.assertNotIn("alike", text)
        self.assertNotIn("distractor", text)
        self.assertLen([name for name in found.names if "alike" in name], 4)

    def test_same_bytes_over_processes(self):
        counted = []
        second = render_landmarks(self.root / "second", **SMALL, workers=2, progress=counted.append)
        self.assertEqual(_bytes(self.first), _bytes(second))
        self.assertEqual(counted, [1] * 20)

    def test_plain_folder_shows_the_same(self):
        plain = render_landmarks(self.root / "plain", **SMALL, labels=False, workers=1)
        found = read_folder(plain)
        self.assertLen(found, 20)
        for name, path in zip(found.names, found.paths, strict=True):
            self.assertEqual(path.read_bytes(), (self.first / "jpg" / name).read_bytes())

    def test_other_seed_other_pictures(self):
        one = {**SMALL, "landmarks": 1, "views": 2, "lookalikes": 0, "distractors": 1}
        other = render_landmarks(self.root / "other", **{**one, "seed": 4}, workers=1)
        for path in (other / "jpg").iterdir():
            self.assertNotEqual(path.read_bytes(), (self.first / "jpg" / path.name).read_bytes())

    def test_finished_folder_is_left_alone(self):
        counted = []
        with mock.patch.object(landmarks, "draw_view", side_effect=AssertionError):
            render_landmarks(self.first, **SMALL, progress=counted.append)
        self.assertEqual(counted, [20])

    def test_crash_leaves_nothing_and_rerun_works(self):
        target, one = self.root / "crash", {**SMALL, "landmarks": 1, "views": 2, "lookalikes": 0, "distractors": 0}
        draw = landmarks.draw_view
        with (
            mock.patch.object(landmarks, "draw_view", side_effect=[draw(plan_views(3, 1, 2, 2, 0, 0, 96)[0]), OSError]),
            self.assertRaises(OSError),
        ):
            render_landmarks(target, **one, workers=1)
        self.assertFalse(target.exists())
        self.assertEmpty([path for path in self.root.iterdir() if "crash" in path.name])
        self.assertLen(read_oxford(render_landmarks(target, **one, workers=1)), 2)

    def test_foreign_folders_are_refused(self):
        with self.assertRaisesRegex(ValueError, "was rendered as .*remove it or choose another"):
            render_landmarks(self.first, **{**SMALL, "seed": 9})
        foreign = self.root / "foreign"
        foreign.mkdir()
        (foreign / "a.txt").write_text("mine")
        with self.assertRaisesRegex(ValueError, f"{foreign}: is there already and was not rendered"):
            render_landmarks(foreign, **SMALL)
        (foreign / "synthetic.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "synthetic.json: cannot be read"):
            render_landmarks(foreign, **SMALL)
        self.assertEqual((foreign / "a.txt").read_text(), "mine")

    def test_record_names_the_parameters(self):
        record = json.loads((self.first / "synthetic.json").read_text())
        self.assertEqual({key: record[key] for key in SMALL}, SMALL)

    @parameterized.parameters(
        {"seed": -1}, {"landmarks": 0}, {"queries": 0}, {"queries": 7}, {"side": 32}, {"lookalikes": -1}, {"workers": 0}
    )
    def test_out_of_range(self, **wrong):
        with self.assertRaises(ValueError):
            render_landmarks(self.root / "wrong", **{**SMALL, **wrong})
        self.assertFalse((self.root / "wrong").exists())


if __name__ == "__main__":
    absltest.main()
