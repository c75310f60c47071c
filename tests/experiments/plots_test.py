import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest
from matplotlib.figure import Figure
from PIL import Image

from experiments import plots
from experiments.results import Row


def _row(method, nc, npca, value, qe=0, rerank=0):
    return Row(method, nc, npca, qe, rerank, value, {}, None)


def _drawn(rows, published=None, title="a $5 title"):
    """Returns the figure of a sweep, and writes no file."""
    with mock.patch.object(Figure, "savefig", autospec=True) as saved:
        plots.sweep(rows, title, pathlib.Path("unused.png"), published=published)
    return saved.call_args.args[0]


def _curves(axis):
    """Returns the points, the style and whether markers are hollow of each line, by its label in the legend."""
    return {
        line.get_label(): (line.get_xydata().tolist(), line.get_linestyle(), line.get_markerfacecolor() == "none")
        for line in axis.get_lines()
    }


ROWS = [
    _row("Raw", None, None, 0.4),
    _row("Raw", None, None, 0.45, qe=10),
    _row("OfA", 8, 1, 0.7),
    _row("OfA", 1, 1, 0.6),
    _row("OfA", 8, 32, 0.65),
    _row("OnA", 1, 1, 0.71),
    _row("OnA", 8, 1, 0.72),
    _row("OnA", 1, 1, 0.73, qe=10),
    _row("OnA", 8, 1, 0.74, qe=10),
    _row("OnA", 8, 1, 0.76, qe=10, rerank=100),
    _row("SPoC", None, None, 0.5),
]


class SweepTest(absltest.TestCase):
    def test_a_panel_a_strategy_and_a_line_a_setting(self):
        offline, online = _drawn(ROWS).axes
        self.assertEqual(offline.get_title(), "Offline aggregation (OfA)")
        curves = _curves(offline)
        self.assertEqual(curves["$N_{pca}$ = 1"], ([[1.0, 0.6], [8.0, 0.7]], "-", False))
        self.assertEqual(curves["$N_{pca}$ = 32"][0], [[8.0, 0.65]])
        self.assertEqual([y for _, y in curves["Raw"][0]], [0.4, 0.4])
        self.assertLen(curves, 3)
        curves = _curves(online)
        self.assertEqual(curves["$N_{pca}$ = 1"][0], [[1.0, 0.71], [8.0, 0.72]])
        self.assertEqual(curves["$N_{pca}$ = 1, QE 10"][:2], ([[1.0, 0.73], [8.0, 0.74]], "--"))
        self.assertEqual(curves["$N_{pca}$ = 1, R 100, QE 10"][:2], ([[8.0, 0.76]], "-."))

    def test_the_papers_points_are_hollow(self):
        figure = _drawn(ROWS, {("OfA", 1): {1: 0.667, 64: 0.712}, ("Predefined", 32): {16: 0.739}})
        offline, online = figure.axes
        points, line, hollow = _curves(offline)["paper, $N_{pca}$ = 1"]
        self.assertEqual((points, line, hollow), ([[1.0, 0.667], [64.0, 0.712]], "None", True))
        self.assertEqual(offline.get_xticks().tolist(), [1, 8, 64])
        self.assertEqual(online.get_xticks().tolist(), [1, 8])
        self.assertFalse([label for label in _curves(online) if label.startswith("paper")])

    def test_the_legend_names_every_line_of_every_panel_once(self):
        figure = _drawn(ROWS, {("OfA", 1): {1: 0.667}})
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        self.assertCountEqual(names, {*_curves(figure.axes[0]), *_curves(figure.axes[1])})
        self.assertEqual(names[-1], "paper, $N_{pca}$ = 1")

    def test_baselines_alone_and_nothing(self):
        self.assertLen(_drawn(ROWS[:2]).axes, 1)
        self.assertEqual(_drawn([]).legends, [])

    def test_long_titles_stay_inside(self):
        for rows in (ROWS[2:3], ROWS):
            figure = _drawn(rows, title="Ablation, mAP, on oxford_dev: " + "cam_normalization=max_clip + " * 12)
            figure.draw_without_rendering()
            (title,) = figure.texts
            self.assertGreater(title.get_window_extent().x0, 0)
            self.assertLess(title.get_window_extent().x1, figure.bbox.x1)

    def test_file(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "plot.png"
        plots.sweep(ROWS, r"a <title> of $\frac$", path)
        with Image.open(path) as image:
            self.assertEqual(image.format, "PNG")
            self.assertGreater(len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)), 10)


if __name__ == "__main__":
    absltest.main()
