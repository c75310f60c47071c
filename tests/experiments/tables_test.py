from absl.testing import absltest

from experiments import tables
from experiments.results import Row
from experiments.tables import Table


def _row(method="OfA", nc=64, npca=1, qe=0, rerank=0, value=0.7, **fields):
    return Row(method, nc, npca, qe, rerank, value, {}, fields.pop("paper", None), **fields)


class TextTest(absltest.TestCase):
    def test_text_to_the_left_the_rest_to_the_right(self):
        table = Table("a title", ["place", "name", "share"], [[1, "vault", 0.25], [10, "bell cote", None]])
        self.assertEqual(
            tables.text(table).splitlines(),
            [
                "a title",
                "place  name        share",
                "    1  vault      0.2500",
                "   10  bell cote",
            ],
        )

    def test_columns_are_as_wide_as_their_widest_cell(self):
        lines = tables.text(Table("t", ["a", "long name"], [["wider than a", "x"], ["y", "z"]])).splitlines()
        self.assertEqual(lines[1:], ["a             long name", "wider than a  x", "y             z"])

    def test_a_gap_makes_no_number_of_text(self):
        """A column with an empty cell is not all text, and is aligned to the right."""
        lines = tables.text(Table("t", ["difference"], [["+0.012"], [None]])).split("\n")
        self.assertEqual(lines[1:], ["difference", "    +0.012", ""])

    def test_without_rows(self):
        self.assertEqual(tables.text(Table("t", ["a", "bc"], [])), "t\na  bc")

    def test_what_floats_and_whole_numbers_look_like(self):
        self.assertEqual(
            tables.text(Table("t", ["x"], [[0.123456], [0], [7]])).splitlines()[2:], ["0.1235", "     0", "     7"]
        )


class WithoutEmptyColumnsTest(absltest.TestCase):
    def test_only_what_says_nothing_goes(self):
        table = Table("t", ["a", "none", "zero", "blank", "half"], [[1, None, 0, "", None], [2, None, 0, "", "x"]])
        actual = tables.without_empty_columns(table)
        self.assertEqual(actual, Table("t", ["a", "zero", "half"], [[1, 0, None], [2, 0, "x"]]))


class SettingsTest(absltest.TestCase):
    def test_every_column(self):
        row = _row(qe=10, rerank=100, value=0.7649, low=0.7, high=0.8126, paper=0.773, network="vgg16_cam", dim=512)
        actual = tables.settings("t", [row])
        expected = {
            "method": "OfA", "network": "vgg16_cam", "dim": 512, "N_C": 64, "N_pca": 1, "R": 100, "QE": 10,
            "mAP": "0.7649", "95 %": "0.700 to 0.813", "paper": "0.773", "difference": "-0.008",
        }  # fmt: skip
        self.assertEqual(dict(zip(actual.columns, actual.rows[0], strict=True)), expected)

    def test_columns_that_no_row_fills_are_left_out(self):
        actual = tables.settings("t", [_row("Raw", None, None), _row("Raw+PCA", None, None, value=0.5)])
        self.assertEqual(actual.columns, ["method", "mAP"])
        self.assertEqual(actual.rows, [["Raw", "0.7000"], ["Raw+PCA", "0.5000"]])

    def test_nothing_is_not_zero(self):
        """A step that was not taken leaves its cell empty; gains and losses have signs."""
        rows = [_row(paper=0.6999), _row(qe=10, paper=0.8)]
        actual = tables.settings("t", rows)
        self.assertEqual([row[actual.columns.index("QE")] for row in actual.rows], [None, 10])
        self.assertNotIn("R", actual.columns)
        self.assertEqual([row[-1] for row in actual.rows], ["+0.000", "-0.100"])


class SweepsTest(absltest.TestCase):
    def test_a_table_for_the_baselines_and_one_for_each_method(self):
        rows = [
            _row("OnA", 1, 1, value=0.1), _row("Raw", None, None, value=0.3961, paper=0.396),
            _row("Raw+CroW+PCA", None, None, qe=10, value=0.2), _row("Predefined", 1, 1), _row("OfA", 1, 1),
            _row("SPoC", None, None),
        ]  # fmt: skip
        actual = tables.sweeps(rows)
        titles = ["Baselines", "Offline aggregation (OfA)", "Online aggregation (OnA)", "Predefined classes (OfA)"]
        self.assertEqual([table.title for table in actual], titles)
        self.assertEqual(actual[0].columns, ["method", "mAP"])
        self.assertEqual(actual[0].rows, [["Raw", "0.3961 (0.396)"], ["Raw+CroW+PCA, QE 10", "0.2000"]])
        self.assertEqual(actual[2], Table(titles[2], ["N_C", "N_pca 1"], [[1, "0.1000"]]))

    def test_a_line_for_each_nc_and_a_column_for_each_setting(self):
        rows = [
            _row(nc=1, npca=1, value=0.1, paper=0.667), _row(nc=64, npca=1, value=0.2),
            _row(nc=1, npca=32, value=0.3), _row(nc=64, npca=1, qe=10, value=0.4),
            _row(nc=64, npca=1, qe=5, rerank=1000, value=0.5),
        ]  # fmt: skip
        (actual,) = tables.sweeps(rows)
        self.assertEqual(actual.columns, ["N_C", "N_pca 1", "N_pca 32", "N_pca 1, QE 10", "N_pca 1, R 1000, QE 5"])
        self.assertEqual(
            actual.rows, [[1, "0.1000 (0.667)", "0.3000", None, None], [64, "0.2000", None, "0.4000", "0.5000"]]
        )

    def test_second_looks_and_neighbourhoods_have_columns_of_their_own(self):
        neighbourhood = {"method": "reciprocal", "images": 100, "k1": 20}
        rows = [
            _row(), _row(online=50), _row(neighbourhood=neighbourhood),
            _row(online=50, qe=10, rerank=20, neighbourhood=neighbourhood),
        ]  # fmt: skip
        steps = [
            "N_pca 1",
            "N_pca 1, OnA 50",
            "N_pca 1, reciprocal 100",
            "N_pca 1, OnA 50, R 20, QE 10, reciprocal 100",
        ]
        (actual,) = tables.sweeps(rows)
        self.assertEqual(actual.columns, ["N_C", *steps])

    def test_nothing(self):
        self.assertEqual(tables.sweeps([]), [])


class IntervalTest(absltest.TestCase):
    def test_both_ends_or_nothing(self):
        self.assertEqual(tables.interval(0.0, 0.9996), "0.000 to 1.000")
        self.assertIsNone(tables.interval(None, 0.5))
        self.assertIsNone(tables.interval(0.5, None))


if __name__ == "__main__":
    absltest.main()
