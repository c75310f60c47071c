"""These tests run every driver on a few pictures, and the report on all results."""

import dataclasses
import json
import pathlib
import shutil
import tempfile

from absl.testing import absltest, parameterized
from PIL import Image

from experiments import protocols, run_flags
from tests.experiments import drivers
from tests.support import indexes, shared
from tests.support.slow import cases, slow

SWEEP = {"OfA", "OnA", "Predefined"}
BASELINES = {"Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA"}
OTHERS = {"SPoC", "uCroW", "CroW", "MAC", "GeM", "R-MAC", "BoW", "Razavian"}

# Driver -> methods of its rows, figures beside its results.
EXPECTED = {
    "ablation": (BASELINES | SWEEP, {"plot.png"}),
    "table1a": (BASELINES | {"OfA"}, set()),
    "table1b": ({"Raw+PCA", "OfA"}, {"timing.png"}),
    "table2a": (OTHERS | {"OnA", "OfA"}, set()),
    "table2b": ({"OnA", "OfA", "CroW", "R-MAC", "BoW"}, set()),
    "figure2": (set(), {"figure2.png"}),
    "figure3": (set(), {"figure3.png"}),
    "figure4": (BASELINES | {"OfA", "OnA"}, {"plot.png"}),
    "figure5a": (set(), {"classes.png"}),
    "figure5b": (BASELINES | {"Predefined"}, {"plot.png"}),
    "protocols": ({"OnA", "OfA"}, set()),
    "stores": ({"OnA", "OnA, float16", "OnA, int8", "OnA, int8, own 20", "OfA", "OfA, compact"}, set()),
    "small_collections": ({"OfA, 6 images, 1 positives"}, set()),
    "fit_whitening": (set(), set()),
    "own_whitening": ({"OfA", "OfA, not whitened", *(f"OfA, own {n}, shrunk by 0.5" for n in (4, 18))}, set()),
}

QUICK = "ablation", "table1b", "table2b", "figure3", "figure5a", "stores"
"""The drivers that run in every test run, one of each kind; the others are slow."""

FLAGFILES = ("figure4", "figure5b")
"""The flag files of the ablation."""

EXTRA_FLAGS = {
    "ablation": ["--rerank=0,4", "--qe=0,2", "--alpha=3"],
    "stores": ["--dims=16", "--classes=50", "--own=20", "--rerank=3"],
    "small_collections": [
        "--nc=4",
        "--npca=2",
        "--aggregation=ofa",
        "--images=6",
        "--positives=1",
        "--samples=2",
        "--reciprocal=0,5",
        "--online=0,4",
        "--rerank=0,3",
    ],
    "own_whitening": ["--images=4", "--ratios=0.5"],
    **{name: [f"--flagfile={shared.ROOT}/experiments/{name}.flags"] for name in FLAGFILES},
}
"""The flags of each driver besides --smoke."""


class SmokeTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def run_driver(self, name):
        output = self.folder / "results" / name
        if not output.exists():
            flags = [
                "--smoke",
                f"--weights={indexes.WEIGHTS}",
                f"--cache={self.folder / 'cache'}",
                f"--output={output}",
                "--strict",
                *EXTRA_FLAGS.get(name, []),
            ]
            drivers.run(*flags, module=f"experiments.{'ablation' if name in FLAGFILES else name}")
        return json.loads((output / "results.json").read_text()), output

    def test_every_driver_is_here(self):
        files = (shared.ROOT / "experiments").glob("*.py")
        runnable = {file.stem for file in files if "PROGRAM.main()" in file.read_text()}
        self.assertEqual(runnable - {"train_cam", "report"}, EXPECTED.keys() - {*FLAGFILES})

    @parameterized.parameters(*QUICK)
    def test_driver(self, name):
        self.check(name)

    @parameterized.parameters(*(name for name in EXPECTED if name not in QUICK))
    @slow
    def test_other_driver(self, name):
        self.check(name)

    def check(self, name):
        content, output = self.run_driver(name)
        methods, pictures = EXPECTED[name]
        self.assertEqual(content["experiment"], name)
        self.assertEqual({row["method"] for row in content["rows"]}, methods)
        for row in content["rows"]:
            self.assertBetween(row["map"], 0.0, 1.0)
            self.assertBetween(row["map"], row["low"], row["high"])
            self.assertIsNone(row["paper"])
        self.assertEqual({picture["file"] for picture in content["pictures"]}, pictures)
        for picture in pictures:
            with Image.open(output / picture) as image:
                self.assertGreater(len(image.convert("RGB").getcolors(1 << 24)), 20)
        self.assertNotEmpty(content["tables"])
        for table in content["tables"]:
            self.assertNotEmpty(table["rows"])
            self.assertTrue(all(len(row) == len(table["columns"]) for row in table["rows"]), table["title"])

    def test_protocols_differ_in_one_field_each_and_then_in_all(self):
        preset = run_flags.from_flags(drivers.parse("experiments.protocols")).protocol
        for smoke, singles in (False, 14), (True, 3):
            settings = [dataclasses.asdict(variant) for _, variant in protocols.variants(preset, smoke=smoke)]
            differing = [
                [name for name in settings[0] if variant[name] != settings[0][name] and name != "name"]
                for variant in settings
            ]
            base, *single, everything = differing
            self.assertEqual(base, [])
            self.assertLen(single, singles)
            fields = [field for fields in single for field in fields]
            self.assertLen(set(fields), singles)
            if not smoke:
                self.assertEqual(fields, everything)
            self.assertLen(everything, 14)

    def test_re_ranking_in_the_ablation(self):
        _, output = self.run_driver("ablation")
        plain, reranked = drivers.rows(output), drivers.rows(output, rerank=4)
        self.assertEqual(reranked.keys(), {key for key in plain if key[0] in SWEEP})
        self.assertTrue(any(reranked[key]["map"] != plain[key]["map"] for key in reranked))

    def test_report_of_all(self):
        names = cases(QUICK, EXPECTED)
        titles = [self.run_driver(name)[0]["title"] for name in names]
        page = self.folder / "report.html"
        flags = [f"--results={self.folder / 'results'}", f"--output={page}"]
        drivers.run(*flags, module="experiments.report")
        text = page.read_text()
        for title in titles:
            self.assertIn(title, text)
        self.assertEqual(text.count("<img "), sum(len(EXPECTED[name][1]) for name in names))


if __name__ == "__main__":
    absltest.main()
