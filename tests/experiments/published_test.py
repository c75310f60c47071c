"""These tests compare every number of `experiments.published` with the tables in the text of the paper."""

import itertools

from absl.testing import absltest, parameterized

from cwcf_jax import networks
from experiments import published

TABLE_1A = """
    Raw           0.396 0.526
    Raw+CroW      0.420 0.549
    Raw+PCA       0.589 0.662
    Raw+CroW+PCA  0.607 0.685
"""
NETWORKS = """
    vgg16_cam    Raw 0.396 0.526
    vgg16_cam    OfA 0.712 0.805
    resnet50     Raw 0.389 0.508
    resnet50     OfA 0.699 0.804
    densenet161  Raw 0.339 0.495
    densenet161  OfA 0.695 0.799
"""
TABLE_1B = """
    1   0.5 0.667
    8   0.6 0.709
    32  0.9 0.711
    64  1.5 0.712
"""
# Method, R, QE; Oxford5k, Paris6k, Oxford105k, Paris106k.
TABLE_2 = """
    SPoC      0    0   0.531 -     0.501 -
    uCroW     0    0   0.666 0.767 0.629 0.695
    CroW      0    0   0.682 0.796 0.632 0.710
    R-MAC     0    0   0.669 0.830 0.616 0.757
    BoW       0    0   0.738 0.820 0.593 0.648
    Razavian  0    0   0.843 0.853 -     -
    OnA       0    0   0.736 0.855 -     -
    OfA       0    0   0.712 0.805 0.672 0.733
    CroW      0    10  0.722 0.855 0.678 0.797
    OnA       0    10  0.760 0.873 -     -
    OfA       0    10  0.730 0.836 0.712 0.791
    BoW       100  10  0.788 0.848 0.651 0.641
    OnA       100  10  0.780 0.874 -     -
    OfA       100  10  0.773 0.838 0.750 0.780
    R-MAC     1000 5   0.770 0.877 0.726 0.817
    OnA       1000 5   0.811 0.874 -     -
    OfA       1000 5   0.801 0.855 0.769 0.800
"""
# Read off the plot (facts.md, section 3): N_C 1, 4, 8, 32; N_pca 1.
FIGURE_4 = """
    OfA oxford5k .667 .704 .709 .711
    OfA paris6k  .683 .750 .771 .800
    OnA oxford5k .713 .728 .724 .731
    OnA paris6k  .848 .857 .857 .857
"""
# Read off the plot (facts.md, section 3): N_pca; N_C and mAP.
FIGURE_5B = """
    1  1 .7285 16 .732 64 .7275
    32 1 .726  16 .739 64 .7355
"""
DATASETS = ("oxford5k", "paris6k", "oxford105k", "paris106k")
OTHERS = ("SPoC", "uCroW", "CroW", "MAC", "GeM", "R-MAC", "BoW", "Razavian")


def _lines(table):
    return [line.split() for line in table.strip().splitlines()]


def _expected():
    """Returns ``{(dataset, network, method, N_C, N_pca, R, QE): mAP}`` of all printed and drawn values."""
    expected = {}
    for method, *values in _lines(TABLE_1A):
        expected |= {
            (name, "vgg16_cam", method, None, None, 0, 0): v for name, v in zip(DATASETS[:2], values, strict=True)
        }
    for network, method, *values in _lines(NETWORKS):
        setting = (None, None) if method == "Raw" else (64, 1)
        expected |= {(name, network, method, *setting, 0, 0): v for name, v in zip(DATASETS[:2], values, strict=True)}
    for method, rerank, expansion, *values in _lines(TABLE_2):
        setting = (64, 1) if method in ("OnA", "OfA") else (None, None)
        for dataset, value in zip(DATASETS, values, strict=True):
            expected[dataset, "vgg16_cam", method, *setting, int(rerank), int(expansion)] = value
    for method, dataset, *values in _lines(FIGURE_4):
        for nc, value in zip((1, 4, 8, 32), values, strict=True):
            expected[dataset, "vgg16_cam", method, nc, 1, 0, 0] = value
    for npca, *points in _lines(FIGURE_5B):
        for nc, value in zip(points[::2], points[1::2], strict=True):
            expected["oxford5k", "vgg16_cam", "Predefined", int(nc), int(npca), 0, 0] = value
    return {key: float(value) for key, value in expected.items() if value != "-"}


def _value(dataset, network, method, nc, npca, rerank, qe):
    return published.mean_average_precision(dataset, network, method, nc=nc, npca=npca, qe=qe, rerank=rerank)


class MeanAveragePrecisionTest(parameterized.TestCase):
    def test_every_printed_number_and_no_other(self):
        expected = _expected()
        plain = ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA", *OTHERS)
        aggregations = itertools.product(("OnA", "OfA", "Predefined"), (1, 2, 4, 8, 16, 32, 64, 128), (1, 2, 8, 32, 64))
        settings = [*((name, None, None) for name in plain), *aggregations]
        names = ("vgg16_cam", "resnet50", "densenet161", "googlenet")
        steps = (0, 10, 100, 1000), (0, 1, 5, 10)
        cells = itertools.product((*DATASETS, "roxford5k", "synthetic"), names, settings, *steps)
        actual = {}
        for dataset, network, setting, *step in cells:
            value = _value(dataset, network, *setting, *step)
            if value is not None:
                actual[dataset, network, *setting, *step] = value
        self.assertEqual(actual, expected)
        # Table 1a; two more networks; Table 2 less its dashes; Figure 4 without N_C 64; Figure 5b.
        self.assertLen(expected, 8 + 8 + (17 * 4 - 12) + 16 + 6)

    @parameterized.parameters("vgg16", "vgg16_cam", "vgg16_cam_grouped")
    def test_any_vgg16(self, network):
        self.assertEqual(_value("oxford5k", network, "R-MAC", None, None, 0, 0), 0.669)
        self.assertEqual(_value("oxford5k", network, "OfA", 64, 1, 0, 0), 0.712)

    def test_names_of_datasets_in_any_case(self):
        self.assertEqual(_value("Paris6k", "vgg16_cam", "OnA", 64, 1, 0, 10), 0.873)

    def test_re_ranking_is_none_unless_it_is_named(self):
        actual = published.mean_average_precision("oxford5k", "vgg16_cam", "OfA", nc=64, npca=1, qe=10)
        self.assertEqual(actual, 0.730)


class FiguresTest(absltest.TestCase):
    def test_table_1b(self):
        self.assertEqual(published.QUERY_SECONDS, {0: 0.5} | {int(nc): float(time) for nc, time, _ in _lines(TABLE_1B)})
        for nc, _, value in _lines(TABLE_1B):
            self.assertEqual(published.CURVES["oxford5k", "OfA"][int(nc)], float(value))

    def test_curves_are_what_the_rows_are_compared_with(self):
        expected = _expected()
        for (dataset, method), curve in published.CURVES.items():
            points = {key[3]: value for key, value in expected.items()
                      if key[:3] == (dataset, "vgg16_cam", method) and key[5:] == (0, 0)}  # fmt: skip
            self.assertEqual(curve, points)
        for npca, curve in published.PREDEFINED_CURVES.items():
            points = {key[3]: value for key, value in expected.items() if key[2] == "Predefined" and key[4] == npca}
            self.assertEqual(curve, points)

    def test_predefined_classes_are_the_named_ones(self):
        # paper.txt, caption of Figure 5.
        named = (
            "vault, bell cote, bannister, analog clock, movie theater, coil, pier, dome, pedestal, flagpole, church, "
            "chime, suspension bridge, birdhouse, sundial, triumphal arch"
        )
        spec = networks.get("vgg16_cam").spec
        imagenet_names = {"movie theater": "cinema", "pier": "pier", "analog clock": "analog clock"}
        actual = [networks.class_names(spec)[i] for i in published.PREDEFINED_CLASSES]
        self.assertEqual(actual, [imagenet_names.get(name, name) for name in named.split(", ")])
        # facts.md, section 3.
        indices = "884 442 421 409 498 506 718 538 708 557 497 494 839 448 835 873"
        self.assertEqual(published.PREDEFINED_CLASSES, tuple(map(int, indices.split())))

    def test_appearances(self):
        # facts.md, section 3: bars of Figure 5a, out of 55 queries.
        bars = """53 52 49 49 46 45 45 45 44 43 43 43 41 41 41 40 40 40 40 39 38 38 35 35 35 35 35 34 33 33 32 32 32 31
            31 31 31 30 30 30 30 30 30 29 29 28 28 28 28 27 27 27 27 27 26 26 23 22 22 22 21 20 20 20"""
        self.assertEqual(published.APPEARANCES, tuple(map(int, bars.split())))
        self.assertLen(published.APPEARANCES, 64)
        self.assertEqual(published.QUERIES, 55)


if __name__ == "__main__":
    absltest.main()
