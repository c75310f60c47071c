import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.descriptors import regions
from tests.support.packages import package

THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.75)
NUM_MAPS = 2_000  # of each of the 5 kinds of maps
JITTED_BOXES = functools.cache(
    lambda rule: jax.jit(jax.vmap(functools.partial(regions.boxes, rule=rule), in_axes=(0, 0, None)))
)


def jitted_boxes(heat_maps, sizes, thresholds, rule):
    return np.asarray(
        JITTED_BOXES(rule)(jnp.asarray(heat_maps), jnp.asarray(sizes), jnp.asarray(thresholds, jnp.float32)), np.int32
    )


def flooded_box(hot):
    """Returns the box of the first component with the most cells, by a walk from each cell to its neighbours."""
    height, width = hot.shape
    unvisited = {(int(y), int(x)) for y, x in np.argwhere(hot)}
    best = []
    for start in sorted(unvisited):
        if start not in unvisited:
            continue
        unvisited.remove(start)
        cells = [start]
        for y, x in cells:
            neighbours = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & unvisited
            unvisited -= neighbours
            cells += neighbours
        best = cells if len(cells) > len(best) else best
    if not best:
        return 0, 0, width, height
    ys, xs = zip(*best, strict=True)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def traced_box(hot):
    """Returns the box of OpenCV's contour with the largest area, as in the authors' released code."""
    cv2 = package("cv2")
    contours, _ = cv2.findContours(hot.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return 0, 0, hot.shape[1], hot.shape[0]
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return x, y, x + width, y + height


ORACLES = {"component": flooded_box, "contour": traced_box}


def expected_boxes(heat_maps, sizes, thresholds, rule):
    boxes = []
    for heat, (height, width) in zip(heat_maps, sizes, strict=True):
        area = heat[:height, :width]
        limits = np.asarray(thresholds, np.float32) * max(area.max(), np.float32(0))
        empty = np.zeros_like(area, bool)
        boxes.append([ORACLES[rule](area > limit if area.max() > 0 else empty) for limit in limits])
    return np.array(boxes, np.int32)


def random_maps(seed, count, shape, kind):
    """Returns random maps of several sizes, with 0 outside: noise, noise of few values, blobs, or nested rings."""
    random = np.random.default_rng(seed)
    sizes = np.stack([random.integers(1, side + 1, count) for side in shape], axis=1).astype(np.int32)
    sizes[: count // 2] = shape
    noise = random.random((count, *shape), np.float32)
    if kind == "quantised":
        heat = np.floor(noise * 4) / 4
    elif kind == "sparse":
        heat = (noise > 0.8).astype(np.float32)
    elif kind == "rings":
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        centres = random.random((count, 2, 1, 1), np.float32) * np.array(shape, np.float32)[None, :, None, None]
        distance = np.maximum(abs(y - centres[:, 0]), abs(x - centres[:, 1]))
        heat = np.where(distance.astype(np.int32) % 2 == 0, np.float32(1), 0) * (noise > 0.06)
    elif kind == "smooth":
        heat = noise
        for axis in (1, 2):
            heat = heat + np.roll(heat, 1, axis) + np.roll(heat, 2, axis)
    else:
        heat = noise
    for heat_map, (height, width) in zip(heat, sizes, strict=True):
        heat_map[height:] = 0
        heat_map[:, width:] = 0
    return heat.astype(np.float32), sizes


def draw(*lines):
    return np.array([[cell != "." for cell in line] for line in lines], np.float32)


class BoxesTest(parameterized.TestCase):
    def boxes(self, heat, thresholds, rule, size=None):
        """Returns the boxes of one map, after a check that host and device agree."""
        sizes = np.array([heat.shape if size is None else size], np.int32)
        heat = np.asarray(heat, np.float32)[None]
        host_boxes = regions.host_boxes(heat, sizes, thresholds, rule)[0]
        np.testing.assert_array_equal(jitted_boxes(heat, sizes, thresholds, rule)[0], host_boxes)
        return host_boxes.tolist()

    @parameterized.product(
        rule=regions.RULES,
        # With about 40 % of the cells above the threshold, noise has the most components and the most junctions.
        kind=(
            ("noise", (7, 9), 0.6),
            ("quantised", (9, 12), 0.6),
            ("sparse", (10, 10), 0.0),
            ("rings", (13, 11), 0.5),
            ("smooth", (12, 16), 0.75),
        ),
    )
    def test_on_random_maps(self, rule, kind):
        kind, shape, threshold = kind
        heat_maps, sizes = random_maps(0, NUM_MAPS, shape, kind)
        expected = expected_boxes(heat_maps, sizes, (threshold,), rule)
        np.testing.assert_array_equal(regions.host_boxes(heat_maps, sizes, (threshold,), rule), expected)
        np.testing.assert_array_equal(jitted_boxes(heat_maps, sizes, (threshold,), rule), expected)

    @parameterized.parameters(*regions.RULES)
    def test_on_maps_as_large_as_a_networks(self, rule):
        heat_maps, sizes = random_maps(1, 8, (45, 64), "smooth")
        expected = expected_boxes(heat_maps, sizes, THRESHOLDS, rule)
        np.testing.assert_array_equal(regions.host_boxes(heat_maps, sizes, THRESHOLDS, rule), expected)
        np.testing.assert_array_equal(jitted_boxes(heat_maps, sizes, THRESHOLDS, rule), expected)

    def test_by_hand(self):
        heat = np.array([[0.9, 0.5, 0.0, 0.2], [0.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.3, 0.2]])
        # Above .1, the right edge joins the bottom row. Above .25, the top left pair comes before the bottom pair.
        # Above .4, the top left pair is the largest component. Above .95, one cell is left.
        actual = self.boxes(heat, (0.1, 0.25, 0.4, 0.95), "component")
        self.assertEqual(actual, [[1, 0, 4, 3], [0, 0, 2, 1], [0, 0, 2, 1], [1, 2, 2, 3]])

    @parameterized.named_parameters(
        # A line of 7 cells has area 0, a square of 4 cells has area 1.
        ("line_and_square", draw("XXXXXXX", ".......", "...XX..", "...XX.."), [0, 0, 7, 1], [3, 2, 5, 4]),
        # A ring of 8 cells has area 4 with its hole; 9 cells in two rows have area 3.5.
        ("ring", draw("XXX.XXXXX", "X.X.XXXX.", "XXX......"), [4, 0, 9, 2], [0, 0, 3, 3]),
        # A diamond of 4 cells, which touch at corners, has area 2; a square of 4 cells has area 1.
        ("diamond", draw(".X..XX", "X.X.XX", ".X...."), [0, 0, 3, 3], [0, 0, 3, 3]),
        # A cell inside a hole belongs to the area, but not to the component's cells.
        ("island", draw("XXXXX", "X...X", "X.X.X", "X...X", "XXXXX"), [0, 0, 5, 5], [0, 0, 5, 5]),
        # Of equal components, `component` selects the first, and `contour` the last.
        ("ties", draw("XX..XX", "XX..XX", "......", ".XX...", ".XX..."), [0, 0, 2, 2], [1, 3, 3, 5]),
        ("single_cells", draw("X.X", "...", "X.X"), [0, 0, 1, 1], [2, 2, 3, 3]),
        ("one_cell", draw("X"), [0, 0, 1, 1], [0, 0, 1, 1]),
    )
    def test_which_component(self, heat, by_cells, by_area):
        self.assertEqual(self.boxes(heat, (0.5,), "component"), [by_cells])
        self.assertEqual(self.boxes(heat, (0.5,), "contour"), [by_area])

    @parameterized.product(rule=regions.RULES, value=(-2.0, 0.0, 0.3))
    def test_the_box_of_a_constant_map_is_the_valid_area(self, rule, value):
        heat = np.zeros((6, 8), np.float32)
        heat[:4, :5] = value
        self.assertEqual(self.boxes(heat, (0.0, 0.4), rule, size=(4, 5)), [[0, 0, 5, 4]] * 2)
        self.assertEqual(self.boxes(np.full((1, 1), value), (0.2,), rule), [[0, 0, 1, 1]])

    @parameterized.parameters(*regions.RULES)
    def test_nothing_above_the_threshold(self, rule):
        self.assertEqual(self.boxes(draw("X.."), (1.0,), rule), [[0, 0, 3, 1]])

    @parameterized.parameters(*regions.RULES)
    def test_negative_heat_is_never_hot(self, rule):
        self.assertEqual(self.boxes(np.array([[-1.0, -3.0, 0.5]]), (0.0,), rule), [[2, 0, 3, 1]])

    @parameterized.parameters(*regions.RULES)
    def test_padding_is_ignored(self, rule):
        heat = np.full((5, 6), 9.0, np.float32)
        heat[:3, :4] = draw("....", ".XX.", ".XX.")
        self.assertEqual(self.boxes(heat, (0.2,), rule, size=(3, 4)), [[1, 1, 3, 3]])

    @parameterized.parameters(*regions.RULES)
    def test_a_spiral_is_one_component(self, rule):
        spiral = np.zeros((31, 31), np.float32)
        y, x, step = 0, 0, (0, 1)
        spiral[0, 0] = 1
        for length in [30, *[side for side in range(30, 0, -2) for _ in (0, 1)]]:
            for _ in range(length):
                y, x = y + step[0], x + step[1]
                spiral[y, x] = 1
            step = (step[1], -step[0])
        self.assertEqual(self.boxes(spiral, (0.5,), rule), [[0, 0, 31, 31]])
        self.assertEqual(self.boxes(spiral[::-1, ::-1], (0.5,), rule), [[0, 0, 31, 31]])

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.sampled_from(regions.RULES))
    def test_boxes_lie_inside_the_valid_area(self, seed, rule):
        heat_maps, sizes = random_maps(seed, 1, (6, 7), "quantised")
        for x1, y1, x2, y2 in jitted_boxes(heat_maps, sizes, THRESHOLDS, rule)[0]:
            self.assertTrue(0 <= x1 < x2 <= sizes[0, 1])
            self.assertTrue(0 <= y1 < y2 <= sizes[0, 0])

    def test_unknown_rule(self):
        with self.assertRaisesRegex(ValueError, "unknown rule 'hull'; known: component, contour"):
            regions.boxes(jnp.ones((2, 2)), jnp.array([2, 2]), jnp.array([0.1]), rule="hull")
        with self.assertRaisesRegex(ValueError, "unknown rule 'hull'"):
            regions.host_boxes(np.ones((1, 2, 2), np.float32), np.array([[2, 2]]), (0.1,), "hull")


class GridBoxesTest(parameterized.TestCase):
    def test_by_hand(self):
        actual = regions.grid_boxes((30, 42), (1, 2))
        expected = [(0, 0, 42, 30), (0, 0, 28, 20), (14, 0, 42, 20), (0, 10, 28, 30), (14, 10, 42, 30)]
        np.testing.assert_array_equal(actual, expected)

    @settings(deadline=None, max_examples=60)
    @given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.lists(st.integers(1, 5), min_size=1, max_size=4))
    def test_windows_lie_inside_and_cover_the_map(self, size, levels):
        windows = regions.grid_boxes(size, levels)
        self.assertEqual(windows.shape, (sum(level * level for level in levels), 4))
        start = 0
        for level in levels:
            covered = np.zeros(size, int)
            for x1, y1, x2, y2 in windows[start : start + level * level].tolist():
                self.assertTrue(0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0])
                self.assertLess(abs((x2 - x1) - 2 * size[1] / (level + 1)) if level > 1 else 0, 2)
                covered[y1:y2, x1:x2] += 1
            self.assertGreater(covered.min(), 0)
            start += level * level


class SelectBoxesTest(parameterized.TestCase):
    @parameterized.parameters(
        # sides 5 x 5, 4 x 9, 9 x 4, 6 x 7
        ([[0, 0, 5, 5], [1, 1, 5, 10], [0, 0, 9, 4], [2, 3, 8, 10]], 5, [True, False, False, True]),
        ([[0, 0, 5, 5], [1, 1, 5, 10], [0, 0, 9, 4], [2, 3, 8, 10]], 6, [False, False, False, True]),
        ([[0, 0, 4, 9], [1, 1, 3, 3]], 5, [False, False]),  # no box is left
        ([[0, 0, 4, 9]], 5, [False]),
        ([[0, 0, 1, 1], [3, 3, 4, 5]], 1, [True, True]),
        ([[0, 0, 1, 1], [3, 3, 4, 5]], 0, [True, True]),
    )
    def test_by_hand(self, boxes, minimum, valid):
        np.testing.assert_array_equal(regions.select_boxes(np.array(boxes), minimum), valid)

    def test_minimum_of_the_released_code(self):
        actual = regions.select_boxes(np.array([[[0, 0, 5, 5], [0, 0, 4, 4]]]))
        np.testing.assert_array_equal(actual, [[True, False]])


if __name__ == "__main__":
    absltest.main()
