import dataclasses

from absl.testing import absltest, parameterized

from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.protocol import AUTHORS_CODE, CHOICES, PAPER, ProtocolConfig
from cwcf_jax.extraction import ExtractionConfig
from cwcf_jax.images import Resize
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.search.reranking import RegionConfig

# Each row: a field, the field's value in `paper`, and the value in `authors_code`.
TABLE = (
    ("resize", "min720", "squash1024x720"),
    ("scales", "1", "1"),
    ("pixel_mean", "network", "reversed"),
    ("cam_normalization", "min_max", "max_clip"),
    ("negative_maps", "drop", "scale"),
    ("pooling", "sum", "sum"),
    ("bad_vectors", "drop", "repeat"),
    ("query_classes", "region", "crop"),
    ("query_features", "region", "floor"),
    ("query_boxes", "scaled", "original"),
    ("query_row", "ranked", "first"),
    ("expansion_rows", "searched", "images"),
    ("thresholds", "1,10,20,30,40", "1,10,20,30"),
    ("region", "component", "contour"),
    ("min_region", 0, 5),
    ("region_rows", "query", "kept"),
    ("whitening", "pca", "pca"),
    ("whitening_dim", 0, 0),
)
MEAN = (1.0, 2.0, 3.0)
SEARCH_FIELDS = ("query_row", "expansion_rows", "region", "min_region", "region_rows")


def consequences(config):
    """Returns all options that a protocol sets in other modules, except those of a search."""
    return {
        **config.model_options(MEAN),
        **dataclasses.asdict(config.extraction(4)),
        **dataclasses.asdict(config.whitening_config()),
        "fractions": config.fractions(),
    }


class PresetsTest(parameterized.TestCase):
    def test_every_field_is_in_the_table(self):
        fields = {field.name for field in dataclasses.fields(ProtocolConfig)}
        self.assertEqual(fields - {"name", "shrinkage"}, {field for field, _, _ in TABLE})  # neither uses shrinkage

    @parameterized.parameters(*TABLE)
    def test_values(self, field, paper, authors_code):
        self.assertEqual(getattr(protocol.get("paper"), field), paper)
        self.assertEqual(getattr(protocol.get("authors_code"), field), authors_code)

    def test_paper(self):
        self.assertEqual(PAPER.extraction(4), ExtractionConfig(Resize("min", 720), scale_boxes=True, batch_size=4))
        options = {
            "cam_normalization": "min_max",
            "drop_negative": True,
            "pooling": "sum",
            "pixel_mean": None,
            "repeat_dropped": False,
            "region_cells": "touched",
        }
        self.assertEqual(PAPER.model_options(MEAN), options)
        self.assertIsNone(PAPER.whitening_config().dim)
        self.assertEqual(PAPER.fractions(), (0.01, 0.1, 0.2, 0.3, 0.4))

    def test_authors_code(self):
        extraction = ExtractionConfig(
            Resize("squash", 1024, 720), scale_boxes=False, batch_size=0, crop_classes=Resize("multiple", 16)
        )
        self.assertEqual(AUTHORS_CODE.extraction(0), extraction)
        self.assertFalse(extraction.crop_queries)  # features come from the whole image
        options = {
            "cam_normalization": "max_clip",
            "drop_negative": False,
            "pooling": "sum",
            "pixel_mean": (3.0, 2.0, 1.0),
            "repeat_dropped": True,
            "region_cells": "floor",
        }
        self.assertEqual(AUTHORS_CODE.model_options(MEAN), options)
        self.assertEqual(AUTHORS_CODE.fractions(), (0.01, 0.1, 0.2, 0.3))

    def test_development(self):
        self.assertEqual(str(protocol.get("development").extraction(0).resize), "none")
        self.assertEqual(protocol.get("development").whitening_config().dim, 256)

    def test_best(self):
        best = protocol.get("best")
        options = PAPER.model_options(MEAN) | {"pooling": "gem"}
        self.assertEqual(best.model_options(MEAN), options)
        self.assertEqual(best.extraction(0), dataclasses.replace(PAPER.extraction(0), resize=Resize()))
        fitted = best.whitening_config()
        self.assertEqual((fitted.kind, fitted.dim, fitted.shrinkage), ("shrinkage", None, 0.2))
        self.assertEqual(best.region_config(), PAPER.region_config())
        self.assertEqual(best.search_config(SearchConfig(expansion=5)), SearchConfig(expansion=5))

    def test_unknown_preset(self):
        with self.assertRaisesWithLiteralMatch(
            ValueError, "unknown protocol 'papers'; known: paper, authors_code, development, best"
        ):
            protocol.get("papers")


class SwitchingTest(parameterized.TestCase):
    @parameterized.parameters(*((field, code) for field, paper, code in TABLE if code != paper))
    def test_each_field_switches_alone(self, field, value):
        changed = PAPER.replace(**{field: value})
        self.assertEqual(str(changed), f"paper + {field}={value}")
        original, switched = consequences(PAPER), consequences(changed)
        differing = [key for key in original if original[key] != switched[key]]
        self.assertLen(differing, 0 if field in SEARCH_FIELDS else 1)

    def test_crop_switches_features_alone(self):
        changed = PAPER.replace(query_features="crop").extraction(0)
        self.assertEqual(changed, dataclasses.replace(PAPER.extraction(0), crop_queries=True))

    def test_whitening(self):
        changed = PAPER.replace(whitening="shrinkage", shrinkage=0.5, whitening_dim=9).whitening_config()
        self.assertEqual((changed.kind, changed.shrinkage, changed.dim), ("shrinkage", 0.5, 9))

    @parameterized.parameters(*((field, value) for field, known in CHOICES.items() for value in known))
    def test_every_known_value_is_accepted(self, field, value):
        self.assertEqual(getattr(AUTHORS_CODE.replace(**{field: value}), field), value)

    @parameterized.parameters(*CHOICES)
    def test_unknown_values(self, field):
        known = ", ".join(CHOICES[field])
        with self.assertRaisesWithLiteralMatch(ValueError, f"unknown {field} 'none'; known: {known}"):
            PAPER.replace(**{field: "none"})

    @parameterized.parameters(
        ({"resise": "none"}, "no such protocol field: resise; known: bad_vectors, cam_normalization"),
        ({"resize": "720"}, "unknown resize '720'"),
        ({"shrinkage": 1.5}, "between 0 and 1, not 1.5"),
        ({"shrinkage": float("nan")}, "between 0 and 1, not nan"),
        ({"whitening_dim": -1}, "0 .all. or more, not -1"),
        ({"pooling": "gem", "cam_normalization": "raw"}, "raw maps cannot weight a power mean"),
        ({"scales": ""}, "different numbers from 0.01 to 100, not ''"),
        ({"scales": "1,1.0"}, "different numbers from 0.01 to 100, not '1,1.0'"),
        ({"scales": "1,0"}, "different numbers from 0.01 to 100, not '1,0'"),
        ({"scales": "1;0.7"}, "different numbers from 0.01 to 100, not '1;0.7'"),
        ({"scales": "1,0.7", "query_boxes": "original"}, "boxes left in original pixels fit one scale"),
        ({"min_region": -1}, "min_region must be 0 cells or more, not -1"),
    )
    def test_errors(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            PAPER.replace(**changes)

    def test_scales(self):
        changed = PAPER.replace(resize="none", scales="1, 0.7")
        first, second = changed.extractions(4)
        self.assertEqual(first, changed.extraction(4))
        self.assertEqual((str(first.resize), str(second.resize)), ("none", "none@0.7"))
        self.assertEqual(dataclasses.replace(second, resize=first.resize), first)
        self.assertEqual(PAPER.extractions(4), (PAPER.extraction(4),))
        self.assertEqual(str(PAPER.replace(scales="0.7,1").extraction(0).resize), "min720@0.7")

    def test_name_tells_what_was_changed(self):
        self.assertEqual(str(PAPER), "paper")
        self.assertEqual(str(AUTHORS_CODE), "authors_code")
        changed = PAPER.replace(resize="none", whitening_dim=256)
        self.assertEqual(str(changed), "paper + resize=none + whitening_dim=256")


class SearchTest(parameterized.TestCase):
    """These tests check the search options of both protocols: the row of the query's own picture, and regions."""

    @parameterized.parameters(0, 10)
    def test_own_row(self, expansion):
        config = SearchConfig(rerank=100, expansion=expansion)
        self.assertEqual(PAPER.search_config(config), config)
        pinned = dataclasses.replace(config, pin_query_row=True, expand_images=expansion > 0)
        self.assertEqual(AUTHORS_CODE.search_config(config), pinned)
        searched = AUTHORS_CODE.replace(expansion_rows="searched").search_config(config)
        self.assertEqual(searched, dataclasses.replace(config, pin_query_row=True))
        ranked = AUTHORS_CODE.replace(query_row="ranked").search_config(config)
        self.assertEqual(ranked, config)  # the query replaces no row

    def test_regions(self):
        paper = RegionConfig((0.01, 0.1, 0.2, 0.3, 0.4), "component", 0, heat_classes=2, num_classes=6)
        self.assertEqual(PAPER.region_config(), paper)
        authors = RegionConfig((0.01, 0.1, 0.2, 0.3), "contour", 5, heat_classes=2, num_classes=6)
        self.assertEqual(AUTHORS_CODE.region_config(), authors)


class FractionsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("0", (0.0,)), ("50", (0.5,)), ("0.5,12.5", (0.005, 0.125)), ("1, 10", (0.01, 0.1)), ("99.9", (0.999,))
    )
    def test_shares(self, text, expected):
        actual = PAPER.replace(thresholds=text).fractions()
        self.assertLen(actual, len(expected))
        for actual_share, expected_share in zip(actual, expected, strict=True):
            self.assertAlmostEqual(actual_share, expected_share, places=12)

    @parameterized.parameters("", ",", "1,,2", "1,", "ten", "-1", "100", "1,100", "10,1", "1,1", "nan", "1;10", "1%")
    def test_errors(self, text):
        with self.assertRaisesWithLiteralMatch(
            ValueError, f"thresholds are percentages from 0 to below 100, ascending, not {text!r}"
        ):
            PAPER.replace(thresholds=text)


if __name__ == "__main__":
    absltest.main()
