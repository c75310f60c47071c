import itertools
import pathlib
from unittest import mock

import cv2
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from PIL import Image

from experiments import drawing

RED, BLUE, GREY = (200, 10, 20), (10, 20, 200), (128, 128, 128)
HOSTILE = "<script>'\"& $\\frac$ été"


def _solid(colour, shape=(30, 40)):
    return np.broadcast_to(np.array(colour, np.uint8), (*shape, 3)).copy()


def _drawn(function, *arguments, **options):
    """Returns the figure that a function draws, and writes no file."""
    with mock.patch.object(Figure, "savefig", autospec=True) as saved:
        function(pathlib.Path("unused.png"), *arguments, **options)
    return saved.call_args.args[0]


class FileTest(absltest.TestCase):
    def pixels(self, function, *arguments, **options):
        path = pathlib.Path(self.create_tempdir().full_path) / "drawn.png"
        function(path, *arguments, **options)
        return np.asarray(Image.open(path).convert("RGB")).astype(int)

    def where(self, pixels, colour):
        """Returns the first and last row and column of the pixels that have a colour."""
        rows, columns = np.nonzero(np.abs(pixels - np.array(colour)).max(axis=2) <= 2)
        self.assertNotEmpty(rows, colour)
        return rows.min(), rows.max(), columns.min(), columns.max()


class OverlayTest(parameterized.TestCase):
    @parameterized.parameters((3, 4), (1, 1), (7, 2))
    def test_enlarged_as_opencv_does(self, height, width):
        # Over a black photograph, red rises with the heat, so that the pixels show the enlarged map.
        heat = np.random.default_rng(height).random((height, width)).astype(np.float32)
        actual = drawing.overlay(_solid((0, 0, 0), (50, 60)), heat)
        flat = [drawing.overlay(_solid((0, 0, 0), (1, 1)), np.full((1, 1), v))[0, 0] for v in np.arange(256) / 255]
        enlarged = cv2.resize(heat, (60, 50), interpolation=cv2.INTER_LINEAR)
        low, high = (np.array(flat)[np.clip(np.rint(enlarged * 255).astype(int) + d, 0, 255)] for d in (-2, 2))
        self.assertEqual((actual.shape, actual.dtype), ((50, 60, 3), np.uint8))
        between = (actual >= np.minimum(low, high)) & (actual <= np.maximum(low, high))
        self.assertGreater(between[..., 0].mean(), 0.999)

    def test_share_of_the_photograph(self):
        cold = drawing.overlay(_solid((200, 100, 40)), np.zeros((2, 2)))
        np.testing.assert_allclose(cold[0, 0], [0.45 * 200, 0.45 * 100, 0.45 * 40 + 0.55 * 4], atol=1)

    @settings(deadline=None, max_examples=30)
    @given(st.floats(0, 1), st.floats(0, 1), st.tuples(*[st.integers(0, 255)] * 3))
    def test_hotter_is_lighter(self, first, second, colour):
        low, high = sorted((first, second))
        light = [drawing.overlay(_solid(colour), np.full((2, 3), v)) @ [0.2126, 0.7152, 0.0722] for v in (low, high)]
        self.assertLessEqual(light[0].max(), light[1].min() + 1.5)

    def test_outside_and_not_a_number(self):
        heat = np.array([[np.nan, -3.0], [7.0, np.inf]])
        np.testing.assert_array_equal(
            drawing.overlay(_solid(GREY), heat), drawing.overlay(_solid(GREY), np.array([[0.0, 0.0], [1.0, 1.0]]))
        )


class CamGridTest(FileTest):
    def test_every_picture_in_its_line_and_column(self):
        colours = [[RED, BLUE], [(0, 250, 0), (250, 0, 250)]]
        shapes = [(30, 40), (900, 700)]
        rows = [
            ("line", [(_solid(colour, shape), "") for colour in line])
            for line, shape in zip(colours, shapes, strict=True)
        ]
        pixels = self.pixels(drawing.cam_grid, rows)
        (red, blue), (green, pink) = [[self.where(pixels, colour) for colour in line] for line in colours]
        self.assertLess(red[3], blue[2])
        self.assertLess(green[3], pink[2])
        self.assertLess(red[1], green[0])
        self.assertEqual(red[:2], blue[:2])
        for (top, bottom, left, right), shape in ((red, (30, 40)), (pink, (900, 700))):
            self.assertAlmostEqual((bottom - top) / (right - left), shape[0] / shape[1], delta=0.02)

    def test_titles(self):
        cells = [(_solid(RED), ""), (_solid(BLUE), f"{HOSTILE} (0.93)")]
        figure = _drawn(
            drawing.cam_grid, [("all_souls_1", cells), ("second", cells[:1])], columns=["input", "vgg16_cam"]
        )
        titles = [axis.get_title() for axis in figure.axes]
        self.assertEqual(titles, ["input", f"vgg16_cam\n{HOSTILE} (0.93)", "", ""])
        self.assertEqual(figure.axes[0].get_ylabel(), "all_souls_1")

    def test_hostile_text_and_nothing_are_drawn(self):
        self.pixels(
            drawing.cam_grid, [(HOSTILE, [(_solid(RED), one)]) for one in (HOSTILE * 5, HOSTILE)], columns=[HOSTILE]
        )
        self.pixels(drawing.cam_grid, [])


class RegionFigureTest(FileTest):
    def test_boxes_lie_on_the_edges_of_pixels(self):
        boxes = np.array([[0.0, 0, 40, 30], [10, 5, 20, 25]])
        figure = _drawn(drawing.region_figure, [(_solid(GREY), boxes, (0.01, 0.4), (8.0, 4.0, 22.0, 26.0), "one")])
        actual = [(patch.get_bbox().extents + 0.5).tolist() for patch in figure.axes[0].patches]
        self.assertEqual(actual, [*boxes.tolist(), [8, 4, 22, 26]])
        self.assertEqual(to_hex(figure.axes[0].patches[-1].get_edgecolor()), drawing.TRUTH_COLOUR)
        self.assertEqual(figure.axes[0].get_title(), "one")

    def test_one_legend_a_colour_a_threshold(self):
        boxes = np.array([[1.0, 2, 30, 20], [1, 2, 20, 10]])
        items = [
            (_solid(GREY), boxes, (0.01, 0.2), None, "one"),
            (_solid(GREY), boxes, (0.2, 0.4), None, "two"),
        ]
        figure = _drawn(drawing.region_figure, items)
        shown = {
            text.get_text(): line.get_color()
            for text, line in zip(figure.legends[0].texts, figure.legends[0].legend_handles, strict=True)
        }
        self.assertEqual(list(shown), ["1 %", "20 %", "40 %"])
        edges = [[patch.get_edgecolor() for patch in axis.patches] for axis in figure.axes]
        self.assertEqual(
            edges, [[to_rgba(shown[label]) for label in pair] for pair in (("1 %", "20 %"), ("20 %", "40 %"))]
        )
        with_truth = _drawn(drawing.region_figure, [*items, (_solid(GREY), boxes, (0.2, 0.4), (1, 1, 2, 2), "three")])
        self.assertEqual(with_truth.legends[0].texts[-1].get_text(), "ground truth")

    def test_boxes_that_coincide_are_all_seen(self):
        item = (_solid(GREY), np.array([[5.0, 5, 35, 25]] * 3), (0.01, 0.2, 0.4), None, "")
        pixels = self.pixels(drawing.region_figure, [item])
        for line in _drawn(drawing.region_figure, [item]).legends[0].get_lines():
            top, *_ = self.where(pixels, np.rint(255 * np.array(to_rgba(line.get_color())[:3])))
            self.assertLess(top, 0.5 * len(pixels))  # the line of the legend is further below

    def test_regions_that_are_not_there(self):
        boxes = np.array([[3.0, 3, 3, 9], [3, 9, 8, 3], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]])
        figure = _drawn(drawing.region_figure, [(_solid(GREY), boxes, (0.1, 0.2, 0.3, 0.4), None, "none")])
        self.assertEmpty(figure.axes[0].patches)

    def test_many_pictures_hostile_captions_and_nothing(self):
        box = np.array([[1.0, 2, 30, 20]])
        items = [(_solid(GREY), box, (0.1,), None, f"{HOSTILE} {i}") for i in range(4)]
        self.assertLen([axis for axis in _drawn(drawing.region_figure, items).axes if axis.patches], 4)
        self.pixels(drawing.region_figure, items)
        self.pixels(drawing.region_figure, [])


class ClassRatioTest(FileTest):
    def test_bars(self):
        figure = _drawn(drawing.class_ratio, ["vault", "dome", "dome", HOSTILE], [45, 40, 10, 0], 50, known={"dome"})
        axis = figure.axes[0]
        heights = [bar.get_height() for bar in axis.patches]
        np.testing.assert_allclose(heights, [0.9, 0.8, 0.2, 0])
        labels = axis.get_xticklabels()
        self.assertEqual([label.get_text() for label in labels[:3]], ["vault", "dome", "dome"])
        self.assertEqual([label.get_fontweight() for label in labels], ["normal", "bold", "bold", "normal"])
        colours = [to_hex(bar.get_facecolor()) for bar in axis.patches]
        self.assertEqual(colours[1], colours[2])
        self.assertNotEqual(colours[0], colours[1])
        self.assertEqual(axis.get_legend().texts[0].get_text(), "named in the paper")

    def test_sixty_four_names_do_not_touch(self):
        names = [f"suspension bridge {i}" for i in range(64)]
        figure = _drawn(drawing.class_ratio, names, [1] * 64, 2)
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
        self.assertTrue(all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes)))
        self.assertGreater(min(box.y0 for box in boxes), 0)
        self.assertIsNone(figure.axes[0].get_legend())

    def test_no_queries_and_no_classes(self):
        figure = _drawn(drawing.class_ratio, ["vault"], [0], 0)
        self.assertEqual(figure.axes[0].patches[0].get_height(), 0)
        self.pixels(drawing.class_ratio, [HOSTILE], [3], 5, known=[HOSTILE])
        self.pixels(drawing.class_ratio, [], [], 5)


class TimingTest(FileTest):
    def test_ratios_and_their_range(self):
        figure = _drawn(drawing.timing, ["Raw + PCA", "64 CAMs"], [1.0, 1.5], [1.0, 1.25], [1.0, 2.0])
        axis = figure.axes[0]
        self.assertEqual([bar.get_width() for bar in axis.patches], [1.0, 1.5])
        ranges = axis.collections[0].get_segments()
        np.testing.assert_allclose([[left[0], right[0]] for left, right in ranges], [[1.0, 1.0], [1.25, 2.0]])
        self.assertEqual([label.get_text() for label in axis.get_yticklabels()], ["Raw + PCA", "64 CAMs"])
        self.assertEqual([text.get_text() for text in axis.texts], ["1.00", "1.50"])
        self.assertEqual(axis.get_xlabel(), "seconds of a query, Raw + PCA = 1")
        self.assertGreater(axis.get_ylim()[0], axis.get_ylim()[1])

    def test_numbers_lie_inside(self):
        figure = _drawn(drawing.timing, ["raw", HOSTILE], [1.0, 1.5], [1.0, 1.6], [1.0, 9.0])
        figure.draw_without_rendering()
        frame = figure.axes[0].get_window_extent()
        self.assertLess(max(text.get_window_extent().x1 for text in figure.axes[0].texts), frame.x1)

    def test_nothing(self):
        self.pixels(drawing.timing, [], [], [], [])


if __name__ == "__main__":
    absltest.main()
