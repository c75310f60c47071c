"""These tests run the ablation on a small benchmark of real photographs: results, resumption, refusals, errors."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from tests.experiments import drivers
from tests.support import shared


class AblationTest(parameterized.TestCase):
    """All tests share one complete run: they check it, run again from its cache, or damage a copy of it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.weights = shared.require("weights/squeezenet_v1.1.npz")
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.dataset = drivers.small_benchmark(cls.folder / "benchmark")
        cls.others = drivers.small_collection(cls.folder / "others")
        cls.flags = [
            f"--dataset={cls.dataset}",
            f"--whitening_dataset={cls.others}",
            "--network=squeezenet1_1",
            f"--weights={cls.weights}",
            "--protocol=development",
            "--resize=squash320x240",
            "--nc=1,4",
            "--npca=2",
            "--qe=0,3",
            f"--cache={cls.folder / 'cache'}",
            f"--output={cls.folder / 'out'}",
        ]
        cls.printed = drivers.run(*cls.flags).stdout
        cache = cls.folder / "cache"
        cls.cached = [*cache.rglob("*.f32"), *cache.rglob("done")]  # other tests add stores of their own benchmarks

    def setUp(self):
        super().setUp()
        self.temporary = pathlib.Path(self.create_tempdir().full_path)
        self.output = f"--output={self.temporary / 'out'}"

    def test_results(self):
        rows = drivers.rows(self.folder / "out")
        methods = [(method, None, None) for method in ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA")]
        methods += [(method, nc, 2) for method in ("OfA", "OnA", "Predefined") for nc in (1, 4)]
        self.assertCountEqual(rows, [(*method, qe) for method in methods for qe in (0, 3)])
        for row in rows.values():
            self.assertEqual(list(row["per_query"]), ["ashmolean_1", "ashmolean_2"])
            self.assertAlmostEqual(row["map"], np.mean(list(row["per_query"].values())), places=12)
            self.assertBetween(row["map"], 0.0, 1.0)
            self.assertBetween(row["map"], row["low"], row["high"])
            self.assertBetween(row["metrics"]["recall@10"], 0.0, 1.0)
            self.assertIsNone(row["paper"])
        content = json.loads((self.folder / "out" / "results.json").read_text())
        self.assertEqual(content["protocol"]["name"], "development")
        self.assertStartsWith(content["command"], "python -m experiments.ablation --dataset=")
        self.assertEqual([entry["name"] for entry in content["data"]], ["benchmark", "others"])
        self.assertLen(content["predefined_classes"], 4)
        self.assertEqual(content["dropped_class_vectors"], 0)
        for key in ("command", "commit", "weights_sha256", "data", "hardware", "packages", "timings_s"):
            self.assertTrue(content[key] or key == "commit", key)
        self.assertIn(f"{rows['OnA', 4, 2, 0]['map']:.4f}", self.printed)
        self.assertIn("N_pca 2, QE 3", self.printed)
        with Image.open(self.folder / "out" / "plot.png") as plot:
            self.assertGreater(plot.width, 1000)
            self.assertGreater(len(plot.convert("RGB").getcolors(1 << 24)), 50)

    def test_a_cached_run_gives_the_same_rows_without_a_network_pass(self):
        modified_ns = {file: file.stat().st_mtime_ns for file in self.cached}
        self.assertLen(modified_ns, 3 * 5)
        drivers.run(*self.flags, self.output)
        self.assertEqual(drivers.rows(self.temporary / "out"), drivers.rows(self.folder / "out"))
        self.assertEqual({file: file.stat().st_mtime_ns for file in self.cached}, modified_ns)

    def test_a_process_of_its_own_gives_the_same_rows(self):
        done = drivers.run_process(*self.flags, self.output)
        self.assertEqual(done.returncode, 0, done.stderr)
        process_rows, shared_rows = (drivers.rows(folder / "out") for folder in (self.temporary, self.folder))
        self.assertEqual(process_rows.keys(), shared_rows.keys())
        for key, row in process_rows.items():
            self.assertAlmostEqual(row["map"], shared_rows[key]["map"], places=6, msg=key)

    def test_two_programs_share_a_process(self):
        first, second = drivers.parse("experiments.table2a", "--nc=3"), drivers.parse("experiments.ablation", "--nc=5")
        self.assertEqual((first.nc, second.nc), (3, ["5"]))

    def test_a_killed_run_resumes(self):
        flags = [*self.flags, self.output, f"--cache={self.temporary / 'cache'}"]
        command = [sys.executable, "-m", "experiments.ablation", *flags]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=shared.ROOT, **quiet) as process:
            deadline = time.monotonic() + 120
            while sum(np.fromfile(file, np.uint8).sum() for file in (self.temporary / "cache").rglob("done")) < 5:
                self.assertIsNone(process.poll(), "ended before it could be killed")
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        (done,) = (self.temporary / "cache").rglob("images/done")
        self.assertBetween(int(np.fromfile(done, np.uint8).sum()), 5, 20)
        finished = np.flatnonzero(np.fromfile(done, np.uint8))
        file = done.with_name("class_sums.f32")
        stored = np.fromfile(file, "<f4").reshape(-1, 512000)[finished]
        drivers.run(*flags)
        np.testing.assert_array_equal(np.fromfile(file, "<f4").reshape(-1, 512000)[finished], stored)
        self.assertEqual(drivers.rows(self.temporary / "out"), drivers.rows(self.folder / "out"))

    def test_a_stale_cache_is_refused_with_the_reason(self):
        (changed,) = (self.dataset / "jpg").glob("all_souls_000075.jpg")
        content = changed.read_bytes()
        self.addCleanup(changed.write_bytes, content)
        Image.new("RGB", (640, 480)).save(changed)
        done = drivers.run(*self.flags, self.output, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"was made under other conditions and is left alone:\n  files: .* there, .* now")
        self.assertNotIn("Traceback", done.stderr)

    def test_unreadable_pictures_are_listed_and_end_the_run_only_when_asked(self):
        others = shutil.copytree(self.others, self.temporary / "others")
        broken = others / "zz_broken.jpg"
        broken.write_bytes(b"not a picture")
        flags = [*self.flags, f"--whitening_dataset={others}", "--aggregation=ofa", self.output]
        done = drivers.run(*flags)
        self.assertIn(f"left out: {broken}: cannot be read as a picture", done.stderr)
        content = json.loads((self.temporary / "out" / "results.json").read_text())
        self.assertLen(content["left_out"], 1)
        self.assertEqual(drivers.run(*flags, "--strict", check=False).returncode, 1)

    def test_a_database_picture_that_is_unreadable_is_not_ranked(self):
        dataset = shutil.copytree(self.dataset, self.temporary / "benchmark")
        broken = dataset / "jpg" / "all_souls_000075.jpg"
        broken.write_bytes(b"not a picture")
        drivers.run(*self.flags, f"--dataset={dataset}", "--aggregation=ofa", self.output)
        content = json.loads((self.temporary / "out" / "results.json").read_text())
        self.assertLen(content["left_out"], 1)
        rows = drivers.rows(self.temporary / "out")
        self.assertLen(rows["OfA", 1, 2, 0]["per_query"], 2)

    @parameterized.parameters(
        (["--nc=0"], "--nc: '0' is not a whole number, 1 to 1000"),
        (["--nc=eight"], "--nc: 'eight' is not"),
        (["--nc="], "--nc needs at least one number"),
        (["--npca=1001"], "--npca: '1001' is not a whole number, 1 to 1000"),
        (["--qe=-1"], "--qe: '-1' is not"),
        (["--aggregation=offline"], "--aggregation: unknown offline; known: ofa, ona, predefined"),
        (["--rerank=some"], "--rerank: 'some' is not a whole number, at least 0"),
        (["--thresholds=10,5"], "thresholds are percentages from 0 to below 100, ascending, not '10,5'"),
        (["--predefined_classes=church,dome"], "--predefined_classes lists 2 classes"),
        (["--predefined_classes=cathedral"], "'cathedral' is not a class of squeezenet1_1"),
        (["--resize=720"], "unknown resize '720'"),
        (["--dataset=/nowhere"], "/nowhere: no such folder, and no dataset of that name; known: synthetic"),
        (["--dataset=SHARED"], "has no queries: it needs lab/ beside jpg/"),
        (["--whitening_dataset="], "--whitening_dataset needs at least one folder"),
        (["--whitening_dataset=SAME"], "is named twice"),
        (["--weights=/nowhere.npz"], "no weights at /nowhere.npz: see weights/README.md"),
        (["--feature_layer=conv5_1"], "squeezenet1_1 has no feature layer 'conv5_1'; it has fire"),
        (["--network=vgg16_cam"], "does not hold vgg16_cam"),
        (["--shrinkage=0.1"], "--shrinkage has no effect without --whitening=shrinkage"),
        (["--shrinkage=2", "--whitening=shrinkage"], "the shrinkage ratio must lie between 0 and 1, not 2"),
    )
    def test_errors_name_the_flag(self, flags, message):
        alone = shared.require("data/instre_boxes_dev")
        arguments = [f.replace("SAME", f"{self.others},{self.dataset}").replace("SHARED", str(alone)) for f in flags]
        done = drivers.run(*self.flags, self.output, *arguments, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(message, done.stderr)

    def test_help_lists_the_flags_of_every_driver_too(self):
        text = drivers.run_process("--help").stdout
        for flag in ("--nc", "--dataset", "--weights", "--resize"):
            self.assertIn(f"  {flag}:", text)

    def test_a_bare_argument_is_refused_without_a_traceback(self):
        done = drivers.run_process(*self.flags, "--nc", "8", "16")
        self.assertEqual(done.returncode, 1)
        self.assertIn("unexpected argument '16'", done.stderr + done.stdout)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    absltest.main()
