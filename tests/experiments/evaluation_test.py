"""These tests make rows of results from descriptors on a circle, with inputs, protocols and published values."""

import dataclasses
import pathlib
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.descriptors import fit_pca_whitening
from cwcf_jax.encoder import EncoderConfig, Model
from cwcf_jax.evaluation import MethodDescriptors, protocol
from cwcf_jax.evaluation.benchmark import DatasetRows
from cwcf_jax.extraction import Filler
from cwcf_jax.images import BenchmarkQuery, ImageSet
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.reranking import BestRegions
from cwcf_jax.store import PooledStore
from experiments import evaluation
from experiments.data import NamedDataset
from experiments.inputs import Inputs
from experiments.run_flags import RunConfig
from tests.support import oracles

CLASSES, DIM = 8, 2
SEARCH = SearchConfig()


def _circle(degrees):
    angles = np.radians(np.asarray(degrees, np.float64))
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=-1), jnp.float32)


def _query(name, positives=(), junk=(), *, image=None, hard=None):
    hard = None if hard is None else frozenset(hard)
    return BenchmarkQuery(name, image, (0.0, 0.0, 9.0, 9.0), frozenset(positives), frozenset(junk), hard)


class EvaluationTest(parameterized.TestCase):
    def _store(self, name, rows, missing=()):
        folder = pathlib.Path(self.create_tempdir().full_path) / name
        store = PooledStore(folder, {"name": name}, length=rows, classes=CLASSES, dim=DIM)
        self.addCleanup(store.close)
        random = np.random.default_rng(rows)
        for i in set(range(rows)) - set(missing):
            store.write(
                i,
                sums=random.random(DIM),
                channel_weights=random.random(DIM),
                class_sums=random.random((CLASSES, DIM)),
                logits=random.normal(size=CLASSES),
            )
        return store

    def _inputs(self, images, *queries, unreadable=(), preset=protocol.PAPER, name="toy", layer="conv5_1"):
        names = tuple(f"image {i}" for i in range(images))
        benchmark = ImageSet(name, names, tuple(map(pathlib.Path, names)), queries)
        rows = DatasetRows(name, self._store("images", images, unreadable), self._store("queries", len(queries)))
        model = Model({}, networks.get("vgg16_cam"), EncoderConfig(layer))
        return Inputs(RunConfig(preset), Filler(model), "sha", (NamedDataset(benchmark, "here"),), rows, (), (), ())

    def _evaluate(self, inputs, queries, images, *configs, method="OfA", counts=(64,), **options):
        """Evaluates ``queries`` [m, q] and ``images`` [m, n], angles in degrees."""
        databases = [_circle(images)] * len(inputs.benchmark.queries)
        descriptors = MethodDescriptors(method, counts, 1, _circle(queries), databases)
        return list(evaluation.evaluate(inputs, descriptors, configs, **options))


class EvaluateTest(EvaluationTest):
    def test_a_row_for_every_setting(self):
        inputs = self._inputs(4, _query("q", {1}), _query("r", {0}))
        queries, images = [[0, 90], [90, 0]], [[5, 20, -30, 85], [5, 20, -30, 85]]
        configs = SEARCH, SearchConfig(expansion=2)
        rows = self._evaluate(inputs, queries, images, *configs, counts=(1, 64), method="Predefined")
        self.assertCountEqual([(row.nc, row.qe) for row in rows], [(1, 0), (64, 0), (1, 2), (64, 2)])
        self.assertEqual({(row.method, row.npca, row.rerank) for row in rows}, {("Predefined", 1, 0)})
        actual = {(row.nc, row.qe): row.per_query for row in rows}
        # From 0: 5 20 -30 85; from 90: 85 20 5 -30.
        self.assertEqual(actual[1, 0], {"q": 1 / 4, "r": 1 / 6})
        self.assertEqual(actual[64, 0], {"q": 1 / 4, "r": 1.0})
        # From 52.5, between 85 and 20, 5 is third.
        self.assertAlmostEqual(actual[1, 2]["r"], 1 / 6, places=12)

    def test_what_a_row_says(self):
        inputs = self._inputs(5, _query("near", {0, 3}, {2}), _query("far", {0}, {4}))
        (row,) = self._evaluate(inputs, [[0, 90]], [[10, -20, 30, 40, 90]], SEARCH)
        # near: + - junk + -: (1 + 1) / 4 + (1/2 + 2/3) / 4. far: junk - - +: (0 + 1/3) / 2.
        near, far = 1 / 2 + 7 / 24, 1 / 6
        np.testing.assert_allclose([row.map, row.low, row.high], [(near + far) / 2, far, near], rtol=1e-12)
        expected = dataclasses.replace(
            row, method="OfA", nc=64, npca=1, qe=0, rerank=0, paper=None, network="vgg16_cam", dim=None
        )
        self.assertEqual(row, expected)
        self.assertEqual(set(row.metrics), {"recall@10", "recall@100"})
        self.assertEqual(list(row.per_query), ["near", "far"])

    def test_unreadable_images_are_not_ranked(self):
        """The nearest row belongs to an unreadable image; an unreadable positive is never found."""
        inputs = self._inputs(4, _query("q", {1, 3}), unreadable=(0, 3))
        (row,) = self._evaluate(inputs, [[0]], [[0, 10, 20, 5]], SEARCH)
        self.assertEqual(row.per_query, {"q": 0.5})
        self.assertEqual(row.metrics["recall@100"], 0.5)

    @parameterized.parameters(("ranked", 1 / 6), ("first", 1.0))
    def test_own_picture_first_where_the_protocol_says_so(self, query_row, expected):
        preset = protocol.PAPER.replace(query_row=query_row)
        inputs = self._inputs(3, _query("q", {2}, image=2), _query("stranger", {2}), preset=preset)
        (row,) = self._evaluate(inputs, [[0, 0]], [[10, 20, 170]], SEARCH)
        self.assertAlmostEqual(row.per_query["q"], expected, places=12)
        self.assertAlmostEqual(row.per_query["stranger"], 1 / 6, places=12)

    def test_own_picture_first_among_the_readable(self):
        preset = protocol.PAPER.replace(query_row="first")
        for image, expected in ((3, 1.0), (0, 1 / 6)):  # picture 0 has no row
            inputs = self._inputs(4, _query("q", {3}, image=image), unreadable=(0,), preset=preset)
            (row,) = self._evaluate(inputs, [[0]], [[0, 10, 20, 170]], SEARCH)
            self.assertAlmostEqual(row.per_query["q"], expected, places=12)

    @parameterized.parameters(("searched", 1 / 6), ("images", 1 / 4))
    def test_rows_that_expansion_sums(self, expansion_rows, expected):
        """The row of the query's own picture is the query itself, at 0, or the row of its picture, at 170."""
        preset = protocol.PAPER.replace(query_row="first", expansion_rows=expansion_rows)
        inputs = self._inputs(3, _query("q", {1}, image=2), preset=preset)
        (row,) = self._evaluate(inputs, [[0]], [[10, 20, 170]], SearchConfig(expansion=1))
        self.assertAlmostEqual(row.per_query["q"], expected, places=12)

    def test_a_database_expanded_beforehand(self):
        # 30 and 50 move each other to 40; 30 moves -35 to -2.5, which is then nearest to the query.
        inputs = self._inputs(3, _query("q", {2}))
        for options, expected in (({}, 1 / 4), ({"augment": 1}, 1.0)):
            (row,) = self._evaluate(inputs, [[0]], [[30, 50, -35]], SEARCH, **options)
            self.assertEqual(row.per_query["q"], expected)


class RerankersTest(EvaluationTest):
    """These tests replace the arithmetic on maps by a fake that returns regions at 95 degrees."""

    def setUp(self):
        super().setUp()
        self.inputs = self._inputs(5, _query("q", {0}), _query("r", {0}), unreadable=(1, 2))
        self.filled = self.enter_context(mock.patch.object(evaluation, "fill_maps"))
        self.best = self.enter_context(mock.patch.object(evaluation, "best_regions", side_effect=self._regions))

    def _regions(self, _, read, rows, *__):
        for row in rows:
            read(row)
        boxes = np.zeros((len(rows), 4), np.int32)
        return BestRegions(rows, np.arange(len(rows), dtype=np.float32), np.asarray(_circle([95] * len(rows))), boxes)

    def test_images_behind_the_rows_under_the_querys_classes(self):
        whitening = fit_pca_whitening(np.random.default_rng(0).random((20, DIM)))
        maps = mock.Mock()
        best = evaluation.rerankers(self.inputs, whitening, maps, np.array([0, 3, 4]))(1)(np.array([2, 0]))
        self.assertEqual(best.rows.tolist(), [2, 0])
        self.assertEqual(self.filled.call_args.args[2].tolist(), [4, 0])
        self.assertEqual([call.args[0] for call in maps.read.call_args_list], [4, 0])
        model, _, _, query, classes, used_whitening, config = self.best.call_args.args
        self.assertIs(model, self.inputs.model)
        self.assertIs(used_whitening, whitening)
        top = np.argsort(-self.inputs.queries.logits[1])[:6]
        self.assertEqual(classes.tolist(), top.tolist())
        class_vectors = self.inputs.queries.class_sums[1][top].astype(np.float64)
        class_vectors *= self.inputs.queries.channel_weights[1]
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
        expected = oracles.descriptor(class_vectors, np.asarray(whitening.mean), projection)
        np.testing.assert_allclose(query, expected, atol=1e-5)
        self.assertEqual((config.heat_classes, config.num_classes), (2, 6))

    def test_a_network_of_few_classes(self):
        network = self.inputs.model.network.with_spec(num_labels=4, class_names=("one",) * 4)
        few_classes = dataclasses.replace(
            self.inputs, filler=Filler(dataclasses.replace(self.inputs.model, network=network))
        )
        evaluation.rerankers(few_classes, None, mock.Mock(), np.array([0, 3, 4]))(1)(np.array([0]))
        config = self.best.call_args.args[-1]
        self.assertEqual((config.heat_classes, config.num_classes), (2, 4))

    @parameterized.parameters(
        ("query", "OfA", SearchConfig(rerank=1, expansion=1), False),
        ("kept", "OfA", SearchConfig(rerank=1, expansion=1), True),
        ("kept", "OnA", SearchConfig(rerank=1, expansion=1), False),  # OnA has a database for each query
        ("kept", "OfA", SearchConfig(rerank=1), False),
    )
    def test_regions_that_the_protocol_keeps(self, region_rows, method, config, keeps_regions):
        """Query q finds a region at 95 in the image at 20, which only then is the nearest to query r at 95."""
        inputs = dataclasses.replace(self.inputs, run=RunConfig(protocol.PAPER.replace(region_rows=region_rows)))
        images = [[20, 0, 0, 40, 100]]
        self._evaluate(inputs, [[0, 95]], images, config, method=method, maps=mock.Mock())
        self.assertEqual(
            [call.args[2].tolist() for call in self.filled.call_args_list], [[0], [0 if keeps_regions else 4]]
        )


class PaperValueTest(EvaluationTest):
    def _value(self, inputs, method="OfA", nc=64, npca=1, config=SEARCH):
        return evaluation.paper_value(inputs, method, nc=nc, npca=npca, config=config)

    def test_of_an_untouched_preset(self):
        for preset in (protocol.PAPER, protocol.AUTHORS_CODE):
            inputs = self._inputs(1, _query("q", {0}), preset=preset, name="oxford5k")
            self.assertEqual(self._value(inputs), 0.712)
            self.assertEqual(self._value(inputs, config=SearchConfig(rerank=1000, expansion=5)), 0.801)
            self.assertEqual(self._value(inputs, config=SearchConfig(expansion=10)), 0.730)
            self.assertEqual(self._value(inputs, "CroW", None, None), 0.682)
            self.assertIsNone(self._value(inputs, npca=8))
            self.assertIsNone(self._value(inputs, config=SearchConfig(expansion=10, add_query=True, alpha=3.0)))
            self.assertIsNone(self._value(inputs, config=SearchConfig(expansion=10, alpha=3.0)))
            self.assertIsNone(self._value(inputs, config=SearchConfig(expansion=10, add_query=True)))
            self.assertIsNone(self._value(inputs, config=SearchConfig(online=100)))
            self.assertIsNone(self._value(inputs, config=SearchConfig(neighbourhood=ReciprocalConfig())))

    @parameterized.parameters(
        dict(preset=protocol.PAPER.replace(resize="none")),
        dict(preset=protocol.PAPER.replace(whitening_dim=256)),
        dict(preset=protocol.AUTHORS_CODE.replace(query_row="ranked")),
        dict(preset=protocol.DEVELOPMENT),
        dict(layer="conv5_3"),
        dict(name="oxford_dev"),
    )
    def test_of_nothing_else(self, **changes):
        inputs = self._inputs(1, _query("q", {0}), **({"name": "oxford5k"} | changes))
        self.assertIsNone(self._value(inputs))

    def test_a_field_set_to_what_it_was_changes_nothing(self):
        preset = protocol.PAPER.replace(resize="min720")
        self.assertEqual(self._value(self._inputs(1, _query("q", {0}), preset=preset, name="paris6k")), 0.805)

    def test_not_of_a_few_pictures(self):
        inputs = self._inputs(1, _query("q", {0}), name="oxford5k")
        smoke = dataclasses.replace(inputs, run=dataclasses.replace(inputs.run, smoke=True))
        self.assertIsNotNone(self._value(inputs))
        self.assertIsNone(self._value(smoke))

    def test_goes_into_the_row(self):
        inputs = self._inputs(2, _query("q", {1}), name="paris6k")
        row = evaluation.row(inputs, "OnA", 64, 1, SearchConfig(rerank=100, expansion=10), {"q": [1, 0]})
        self.assertEqual((row.paper, row.map, row.qe, row.rerank), (0.874, 1.0, 10, 100))
        self.assertEqual((row.online, row.neighbourhood), (0, {}))
        config = SearchConfig(online=50, neighbourhood=ReciprocalConfig(images=20))
        row = evaluation.row(inputs, "OfA", 64, 1, config, {"q": [1, 0]})
        neighbourhood = {"method": "reciprocal", "images": 20, "k1": 20, "k2": 6, "original_weight": 0.3}
        self.assertEqual((row.online, row.neighbourhood), (50, neighbourhood))
        self.assertEqual(row.steps(), "OnA 50, reciprocal 20")
        self.assertIsNone(evaluation.row(inputs, "OnA", 64, 1, SEARCH, {"q": [1, 0]}, augment=5).paper)


if __name__ == "__main__":
    absltest.main()
