"""Rows of results from descriptors on a circle: every ranking and every number can be worked out by hand."""

import dataclasses
import json
import pathlib
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, flagsaver, parameterized

from cwcf_jax import networks
from cwcf_jax.descriptors import fit_pca_whitening
from cwcf_jax.encoder import EncoderConfig, Model
from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.benchmark import Collection
from cwcf_jax.extraction import Filler
from cwcf_jax.images import ImageSet, Query
from cwcf_jax.search import reranking
from cwcf_jax.store import PooledStore
from experiments import evaluation, inputs
from experiments.data import Source
from experiments.evaluation import Described, Postprocessing
from experiments.inputs import Inputs
from experiments.results import Row
from tests.support import oracles

CLASSES, DIM = 8, 2
SEARCH = Postprocessing()


def _circle(degrees):
    angles = np.radians(np.asarray(degrees, np.float64))
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=-1), jnp.float32)


def _query(name, positives=(), junk=(), *, image=None, hard=None):
    hard = None if hard is None else frozenset(hard)
    return Query(name, image, (0.0, 0.0, 9.0, 9.0), frozenset(positives), frozenset(junk), hard)


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

    def _inputs(self, images, *queries, unreadable=(), chosen=protocol.PAPER, name="toy", layer="conv5_1"):
        names = tuple(f"image {i}" for i in range(images))
        benchmark = ImageSet(name, names, tuple(map(pathlib.Path, names)), queries)
        rows = Collection(name, self._store("images", images, unreadable), self._store("queries", len(queries)))
        model = Model({}, networks.get("vgg16_cam"), EncoderConfig(layer))
        return Inputs(Filler(model), "sha", chosen, (Source(benchmark, "here"),), rows, (), (), ())

    def _evaluate(self, given, queries, images, *steps, method="OfA", counts=(64,), maps=None):
        """``queries`` [m, q] and ``images`` [m, n] in degrees."""
        databases = [_circle(images)] * len(given.benchmark.queries)
        described = Described(method, counts, 1, _circle(queries), databases)
        return list(evaluation.evaluate(given, described, steps, maps))


class RowTest(EvaluationTest):
    def _row(self, given, **rankings):
        return evaluation.row(given, "OfA", 64, 1, SEARCH, rankings)

    def test_average_precision_and_interval(self):
        given = self._inputs(5, _query("near", {0, 3}, {2}), _query("far", {0}, {4}))
        (row,) = self._evaluate(given, [[0, 90]], [[10, -20, 30, 40, 90]], SEARCH)
        # near: + - junk + -: (1 + 1) / 4 + (1/2 + 2/3) / 4. far: junk - - +: (0 + 1/3) / 2.
        near, far = 1 / 2 + 7 / 24, 1 / 6
        self.assertEqual(list(row.per_query), ["near", "far"])
        np.testing.assert_allclose(list(row.per_query.values()), [near, far], rtol=1e-12)
        self.assertAlmostEqual(row.map, (near + far) / 2, places=12)
        # Of two queries drawn with replacement a quarter are twice the worse, a quarter twice the better.
        np.testing.assert_allclose([row.low, row.high], [far, near], rtol=1e-12)
        expected = dataclasses.replace(
            row, method="OfA", nc=64, npca=1, qe=0, rerank=0, paper=None, network="vgg16_cam", dim=None
        )
        self.assertEqual(row, expected)

    def test_one_query_has_no_interval(self):
        row = self._row(self._inputs(2, _query("q", {1})), q=[0, 1])
        self.assertEqual((row.map, row.low, row.high), (0.25, None, None))

    def test_recall(self):
        given = self._inputs(130, _query("q", {0, 5, 10, 129}, {1}), _query("r", {3}))
        row = self._row(given, q=list(range(130)), r=list(range(130)))
        self.assertEqual(row.metrics, {"recall@10": (3 / 4 + 1) / 2, "recall@100": (3 / 4 + 1) / 2})
        row = self._row(given, q=list(range(130))[::-1], r=list(range(129, -1, -1)))
        self.assertEqual(row.metrics, {"recall@10": 1 / 8, "recall@100": 1 / 8})

    def test_queries_without_positives_are_left_out(self):
        row = self._row(self._inputs(3, _query("q", {0}), _query("none", (), {1})), q=[1, 0, 2], none=[0, 1, 2])
        self.assertEqual(row.per_query, {"q": 0.25})
        self.assertEqual(row.metrics["recall@10"], 1.0)

    def test_revisited(self):
        queries = _query("q", {0, 1, 2}, {3}, hard={2}), _query("easy", {4}, hard=())
        row = self._row(self._inputs(6, *queries), q=[2, 3, 4, 0, 1, 5], easy=[0, 4, 1, 2, 3, 5])
        # q, easy: 4 0+ 1+ 5. medium: 2+ 4 0+ 1+ 5. hard: 2+ 4 5. The other query: 0 4+ 1 2 3 5, and no part of hard.
        easy = (0 + 1 / 2) / 4 + (1 / 2 + 2 / 3) / 4
        medium = 1 / 3 + (1 / 2 + 2 / 3) / 6 + (2 / 3 + 3 / 4) / 6
        expected = {
            "recall@10": 1.0, "recall@100": 1.0,
            "map_easy": (easy + 1 / 4) / 2, "map_medium": (medium + 1 / 4) / 2, "map_hard": 1.0,
            "mp@1_easy": 0.0, "mp@5_easy": (2 / 3 + 1 / 2) / 2, "mp@10_easy": (2 / 3 + 1 / 2) / 2,
            "mp@1_medium": 1 / 2, "mp@5_medium": (3 / 4 + 1 / 2) / 2, "mp@10_medium": (3 / 4 + 1 / 2) / 2,
            "mp@1_hard": 1.0, "mp@5_hard": 1.0, "mp@10_hard": 1.0,
        }  # fmt: skip
        self.assertEqual(row.metrics.keys(), expected.keys())
        for name, value in expected.items():
            self.assertAlmostEqual(row.metrics[name], value, places=12, msg=name)
        self.assertAlmostEqual(row.map, row.metrics["map_medium"], places=12)

    def test_what_is_judged_in_one_way_only_has_no_such_metrics(self):
        row = self._row(self._inputs(2, _query("q", {1})), q=[0, 1])
        self.assertEqual(set(row.metrics), {"recall@10", "recall@100"})

    def test_a_setup_that_no_query_has_positives_in(self):
        row = self._row(self._inputs(2, _query("q", {1}, hard=())), q=[0, 1])
        self.assertEqual(row.metrics["map_easy"], 0.25)
        json.dumps(row.metrics, allow_nan=False)

    def test_no_query_with_positives(self):
        with self.assertRaisesRegex(ValueError, "not defined without queries"):
            self._row(self._inputs(2, _query("q")), q=[0, 1])


class EvaluateTest(EvaluationTest):
    def test_a_row_for_every_setting(self):
        given = self._inputs(4, _query("q", {1}), _query("r", {0}))
        queries, images = [[0, 90], [90, 0]], [[5, 20, -30, 85], [5, 20, -30, 85]]
        rows = self._evaluate(given, queries, images, SEARCH, Postprocessing(qe=2), counts=(1, 64), method="Predefined")
        self.assertCountEqual([(row.nc, row.qe) for row in rows], [(1, 0), (64, 0), (1, 2), (64, 2)])
        self.assertEqual({(row.method, row.npca, row.rerank) for row in rows}, {("Predefined", 1, 0)})
        found = {(row.nc, row.qe): row.per_query for row in rows}
        # From 0: 5 20 -30 85; from 90: 85 20 5 -30.
        self.assertEqual(found[1, 0], {"q": 1 / 4, "r": 1 / 6})
        self.assertEqual(found[64, 0], {"q": 1 / 4, "r": 1.0})
        # From 52.5, between 85 and 20, 5 is third.
        self.assertAlmostEqual(found[1, 2]["r"], 1 / 6, places=12)

    def test_every_query_has_its_own_database(self):
        given = self._inputs(2, _query("q", {0}), _query("r", {0}))
        databases = [_circle([[0, 50]]), _circle([[50, 0]])]
        described = Described("OnA", (1,), 1, _circle([[0, 0]]), iter(databases))
        (row,) = evaluation.evaluate(given, described, [SEARCH])
        self.assertEqual(row.per_query, {"q": 1.0, "r": 0.25})

    def test_unreadable_images_are_not_ranked(self):
        """The nearest row holds no image; a positive that is not there is never found."""
        given = self._inputs(4, _query("q", {1, 3}), unreadable=(0, 3))
        (row,) = self._evaluate(given, [[0]], [[0, 10, 20, 5]], SEARCH)
        self.assertEqual(row.per_query, {"q": 0.5})
        self.assertEqual(row.metrics["recall@100"], 0.5)
        with mock.patch.object(evaluation, "row") as seen:
            self._evaluate(given, [[0]], [[0, 30, 20, 5]], SEARCH)
        self.assertEqual(seen.call_args.args[-1], {"q": [2, 1]})

    @parameterized.parameters(("ranked", [0, 1, 2]), ("first", [2, 0, 1]))
    def test_place_of_the_querys_own_picture(self, query_row, expected):
        chosen = protocol.PAPER.replace(query_row=query_row)
        given = self._inputs(3, _query("q", {0}, image=2), _query("stranger", {0}), chosen=chosen)
        with mock.patch.object(evaluation, "row") as seen:
            self._evaluate(given, [[0, 0]], [[10, 20, 170]], SEARCH)
        self.assertEqual(seen.call_args.args[-1], {"q": expected, "stranger": [0, 1, 2]})

    def test_own_picture_first_among_the_readable(self):
        chosen = protocol.PAPER.replace(query_row="first")
        for image, expected in ((3, [3, 1, 2]), (0, [1, 2, 3])):  # of picture 0 there is no row
            given = self._inputs(4, _query("q", {1}, image=image), unreadable=(0,), chosen=chosen)
            with mock.patch.object(evaluation, "row") as seen:
                self._evaluate(given, [[0]], [[0, 10, 20, 170]], SEARCH)
            self.assertEqual(seen.call_args.args[-1], {"q": expected})

    @parameterized.parameters(("searched", [2, 0, 1]), ("images", [2, 1, 0]))
    def test_rows_that_expansion_sums(self, expansion_rows, expected):
        """The own row is the query itself, at 0, or that of its picture, at 170."""
        chosen = protocol.PAPER.replace(query_row="first", expansion_rows=expansion_rows)
        given = self._inputs(3, _query("q", {0}, image=2), chosen=chosen)
        with mock.patch.object(evaluation, "row") as seen:
            self._evaluate(given, [[0]], [[10, 20, 170]], Postprocessing(qe=1))
        self.assertEqual(seen.call_args.args[-1], {"q": expected})

    def _ranking(self, images, step, **given):
        """Of a query at 0."""
        with mock.patch.object(evaluation, "row") as seen:
            self._evaluate(self._inputs(len(images), _query("q", {0}), **given), [[0]], [images], step)
        return seen.call_args.args[-1]["q"]

    def test_expansion_with_and_without_the_query(self):
        # From 20, 60 is nearer than -35; with the query, from 10, it is not.
        self.assertEqual(self._ranking([20, 60, -35], Postprocessing(qe=1)), [0, 1, 2])
        self.assertEqual(self._ranking([20, 60, -35], Postprocessing(qe=1, alpha=0.0)), [0, 2, 1])
        # 80 has a cosine of .17: cubed it turns the query by .3 degrees, and -82 stays before 83; by 40 without.
        self.assertEqual(self._ranking([80, -82, 83], Postprocessing(qe=1, alpha=3.0)), [0, 1, 2])
        self.assertEqual(self._ranking([80, -82, 83], Postprocessing(qe=1, alpha=0.0)), [0, 2, 1])

    def test_a_database_expanded_beforehand(self):
        # 30 and 50 draw each other to 40; -35 is drawn by 30 to -2.5.
        self.assertEqual(self._ranking([30, 50, -35], SEARCH)[0], 0)
        self.assertEqual(self._ranking([30, 50, -35], Postprocessing(augment=1))[0], 2)

    @parameterized.parameters(((),), ((0,),))
    def test_a_database_of_all_queries_is_expanded_once(self, unreadable):
        given = self._inputs(4, _query("q", {1}), _query("r", {1}), _query("s", {1}), unreadable=unreadable)
        with mock.patch.object(evaluation, "_augmented", side_effect=lambda database, _: database) as seen:
            self._evaluate(given, [[0, 10, 20]], [[10, 20, 30, 40]], Postprocessing(augment=1))
        self.assertEqual(seen.call_count, 1)


class RegionsTest(EvaluationTest):
    """Query 0 sees a region at 95 degrees in whatever it looks at; query 1 sees images as they are found."""

    def setUp(self):
        super().setUp()
        self.asked = []

        def of_query(_, i):
            def find(rows):
                self.asked.append((i, rows.tolist()))
                degrees = [95 if i == 0 or row < 2 else 100 for row in rows]
                return np.ones(len(rows), np.float32), np.asarray(_circle(degrees))

            return find

        self.enter_context(mock.patch.object(evaluation.Regions, "of_query", of_query))

    def _ranked(self, chosen, step, *, method="OfA", queries=((0, 90),), images=((20, 40, 100),)):
        given = self._inputs(3, _query("q", {0}), _query("r", {0}), chosen=chosen)
        counts = tuple(range(1, len(queries) + 1))
        with mock.patch.object(evaluation, "row") as seen:
            self._evaluate(given, queries, images, step, method=method, counts=counts, maps=mock.Mock())
        return [call.args[-1] for call in seen.call_args_list]

    def test_regions_stand_in_for_their_images_in_the_expansion(self):
        (found,) = self._ranked(protocol.PAPER, Postprocessing(qe=1, rerank=1))
        # From 95, row 0 being there too; then from 100, row 0 being at 20 again.
        self.assertEqual(found, {"q": [0, 2, 1], "r": [2, 1, 0]})
        self.assertEqual(self.asked, [(0, [0]), (1, [2])])

    def test_kept_regions_leak_into_later_queries(self):
        chosen = protocol.PAPER.replace(region_rows="kept")
        (found,) = self._ranked(chosen, Postprocessing(qe=1, rerank=1))
        self.assertEqual(found, {"q": [0, 2, 1], "r": [0, 2, 1]})
        self.assertEqual(self.asked, [(0, [0]), (1, [0])])

    @parameterized.parameters(
        ("OnA", Postprocessing(qe=1, rerank=1)), ("OfA", Postprocessing(qe=0, rerank=1)), ("OfA", SEARCH)
    )
    def test_nowhere_else(self, method, step):
        """Databases of OnA are each query's own; without expansion nothing is put in their place."""
        chosen = protocol.PAPER.replace(region_rows="kept")
        (found,) = self._ranked(chosen, step, method=method)
        self.assertEqual(found["r"], [2, 1, 0])
        self.assertNotIn((1, [0]), self.asked)

    def test_every_setting_keeps_its_own(self):
        chosen = protocol.PAPER.replace(region_rows="kept")
        images = ((20, 40, 100), (40, 20, 100))
        found = self._ranked(chosen, Postprocessing(qe=1, rerank=1), queries=((0, 90), (0, 90)), images=images)
        self.assertEqual(self.asked, [(0, [0]), (0, [1]), (1, [0]), (1, [1])])
        self.assertEqual([one["r"] for one in found], [[0, 2, 1], [1, 2, 0]])

    def test_kept_by_one_step_is_not_seen_by_another(self):
        given = self._inputs(3, _query("q", {0}), _query("r", {0}), chosen=protocol.PAPER.replace(region_rows="kept"))
        steps = (Postprocessing(qe=1, rerank=1), SEARCH, Postprocessing(qe=0, rerank=1))
        rows = self._evaluate(given, [[0, 90]], [[20, 40, 100]], *steps, maps=mock.Mock())
        found = {(row.qe, row.rerank): row.per_query["r"] for row in rows}
        self.assertEqual(found, {(1, 1): 1.0, (0, 0): 1 / 6, (0, 1): 1 / 6})


class RegionsOfQueryTest(EvaluationTest):
    def test_images_behind_the_rows_under_the_querys_classes(self):
        given = self._inputs(5, _query("q", {0}), _query("r", {0}), unreadable=(1, 2))
        whitening = fit_pca_whitening(np.random.default_rng(0).random((20, DIM)))
        maps = mock.Mock()
        found = reranking.BestRegions(np.zeros(2), np.ones((2, DIM)), np.zeros((2, 4)))
        with (
            mock.patch.object(evaluation.inputs, "fill_maps") as filled,
            mock.patch.object(reranking, "best_regions", return_value=found) as best,
        ):
            find = evaluation.Regions.of(given, whitening, maps, np.array([0, 3, 4])).of_query(1)
            scores, vectors = find(np.array([2, 0]))
        self.assertIs(scores, found.scores)
        self.assertIs(vectors, found.vectors)
        self.assertEqual(filled.call_args.args[2].tolist(), [4, 0])
        model, read, images, query, classes, used, config = best.call_args.args
        self.assertIs(model, given.model)
        self.assertEqual((read, used), (maps.read, whitening))
        self.assertEqual(images.tolist(), [4, 0])
        top = np.argsort(-given.queries.logits[1])[:6]
        self.assertEqual(classes.tolist(), top.tolist())
        class_vectors = given.queries.class_sums[1][top].astype(np.float64) * given.queries.channel_weights[1]
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
        expected = oracles.descriptor(class_vectors, np.asarray(whitening.mean), projection)
        np.testing.assert_allclose(query, expected, atol=1e-5)
        self.assertEqual(config.num_classes, 6)

    def test_what_the_protocols_say_of_regions(self):
        given = self._inputs(1, _query("q", {0}))
        paper = reranking.RegionConfig((0.01, 0.1, 0.2, 0.3, 0.4), "component", 0, heat_classes=2, num_classes=6)
        self.assertEqual(evaluation.region_config(given), paper)
        authors = reranking.RegionConfig((0.01, 0.1, 0.2, 0.3), "contour", 5, heat_classes=2, num_classes=6)
        code = dataclasses.replace(given, protocol=protocol.AUTHORS_CODE)
        self.assertEqual(evaluation.region_config(code), authors)

    def test_a_network_of_few_classes(self):
        given = self._inputs(1, _query("q", {0}))
        for classes, expected in ((1, (1, 1)), (4, (2, 4))):
            network = given.model.network.with_spec(num_classes=classes, class_names=("one",) * classes)
            few = dataclasses.replace(given, filler=Filler(dataclasses.replace(given.model, network=network)))
            config = evaluation.region_config(few)
            self.assertEqual((config.heat_classes, config.num_classes), expected)


class PaperValueTest(EvaluationTest):
    def _value(self, given, method="OfA", nc=64, npca=1, step=SEARCH):
        return evaluation.paper_value(given, method, nc=nc, npca=npca, step=step)

    def test_of_an_untouched_preset(self):
        for chosen in (protocol.PAPER, protocol.AUTHORS_CODE):
            given = self._inputs(1, _query("q", {0}), chosen=chosen, name="oxford5k")
            self.assertEqual(self._value(given), 0.712)
            self.assertEqual(self._value(given, step=Postprocessing(qe=5, rerank=1000)), 0.801)
            self.assertEqual(self._value(given, step=Postprocessing(qe=10)), 0.730)
            self.assertEqual(self._value(given, "CroW", None, None), 0.682)
            self.assertIsNone(self._value(given, npca=8))
            self.assertIsNone(self._value(given, step=Postprocessing(qe=10, alpha=3.0)))
            self.assertIsNone(self._value(given, step=Postprocessing(qe=10, augment=5)))

    @parameterized.parameters(
        dict(chosen=protocol.PAPER.replace(resize="none")),
        dict(chosen=protocol.PAPER.replace(whitening_dim=256)),
        dict(chosen=protocol.AUTHORS_CODE.replace(query_row="ranked")),
        dict(chosen=protocol.DEVELOPMENT),
        dict(layer="conv5_3"),
        dict(name="oxford_dev"),
    )
    def test_of_nothing_else(self, **changes):
        given = self._inputs(1, _query("q", {0}), **({"name": "oxford5k"} | changes))
        self.assertIsNone(self._value(given))

    def test_a_field_set_to_what_it_was_changes_nothing(self):
        chosen = protocol.PAPER.replace(resize="min720")
        self.assertEqual(self._value(self._inputs(1, _query("q", {0}), chosen=chosen, name="paris6k")), 0.805)

    def test_not_of_a_few_pictures(self):
        given = self._inputs(1, _query("q", {0}), name="oxford5k")
        with flagsaver.flagsaver(smoke=True):
            self.assertTrue(inputs.smoke())
            self.assertIsNone(self._value(given))

    def test_goes_into_the_row(self):
        given = self._inputs(2, _query("q", {1}), name="paris6k")
        row = evaluation.row(given, "OnA", 64, 1, Postprocessing(qe=10, rerank=100), {"q": [1, 0]})
        self.assertEqual((row.paper, row.map, row.qe, row.rerank), (0.874, 1.0, 10, 100))


class CompareTest(absltest.TestCase):
    def _row(self, **per_query):
        values = list(per_query.values())
        return Row("OfA", 1, 1, 0, 0, sum(values) / len(values), per_query, None)

    def test_pairs_by_name(self):
        first, second = self._row(a=0.5, b=0.9, only=1.0), self._row(b=0.7, a=0.4)
        found = evaluation.compare(first, second)
        # Differences .1 and .2: a quarter of the resamples are twice the one, a quarter twice the other.
        np.testing.assert_allclose([found["difference"], found["low"], found["high"]], [0.15, 0.1, 0.2], rtol=1e-9)

    def test_too_few_to_be_paired(self):
        found = evaluation.compare(self._row(a=0.5), self._row(a=0.25))
        self.assertEqual(found, {"difference": 0.25, "low": None, "high": None})


if __name__ == "__main__":
    absltest.main()
