"""The driver on a small benchmark of real photographs: results, resuming, refusals, errors."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from tests import shared
from tests.experiments import drivers


class AblationTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.weights = shared.require("weights/googlenet_bvlc.npz")

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.dataset = drivers.small_benchmark(self.folder / "benchmark")
        self.others = drivers.small_collection(self.folder / "others")
        self.flags = [
            f"--dataset={self.dataset}",
            f"--whitening_dataset={self.others}",
            f"--weights={self.weights}",
            "--protocol=development",
            "--nc=1,4",
            "--npca=2",
            f"--cache={self.folder / 'cache'}",
            f"--output={self.folder / 'out'}",
        ]

    def test_results(self):
        done = drivers.run(*self.flags, "--qe=0,3")
        rows = drivers.rows(self.folder / "out")
        methods = [(method, None, None) for method in ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA")]
        methods += [(method, nc, 2) for method in ("OfA", "OnA", "Predefined") for nc in (1, 4)]
        self.assertCountEqual(rows, [(*method, qe) for method in methods for qe in (0, 3)])
        for row in rows.values():
            self.assertEqual(list(row["per_query"]), ["ashmolean_1", "ashmolean_2"])
            self.assertAlmostEqual(row["map"], np.mean(list(row["per_query"].values())), places=12)
            self.assertBetween(row["map"], 0.0, 1.0)
            self.assertEqual(row["rerank"], 0)
            self.assertIsNone(row["paper"])
        content = json.loads((self.folder / "out" / "results.json").read_text())
        self.assertEqual(content["protocol"]["name"], "development")
        for key in ("command", "commit", "weights_sha256", "data_sha256", "hardware", "packages", "timings_s"):
            self.assertTrue(content[key] or key == "commit", key)
        self.assertIn(f"{rows['OnA', 4, 2, 0]['map']:.4f}", done.stdout)
        self.assertIn("N_pca 2, QE 3", done.stdout)
        with Image.open(self.folder / "out" / "plot.png") as plot:
            self.assertGreater(plot.width, 1000)
            self.assertGreater(len(plot.convert("RGB").getcolors(1 << 24)), 50)

    def test_a_cached_run_gives_the_same_rows_without_a_network_pass(self):
        drivers.run(*self.flags)
        first = drivers.rows(self.folder / "out")
        pixels = sorted(path.stat().st_mtime_ns for path in (self.folder / "cache").rglob("class_sums.f32"))
        drivers.run(*self.flags)
        self.assertEqual(drivers.rows(self.folder / "out"), first)
        again = sorted(path.stat().st_mtime_ns for path in (self.folder / "cache").rglob("class_sums.f32"))
        self.assertEqual(again, pixels)

    def test_a_killed_run_resumes(self):
        drivers.run(*self.flags, f"--cache={self.folder / 'undisturbed'}")
        expected = drivers.rows(self.folder / "out")
        command = [sys.executable, "-m", "experiments.ablation", *self.flags]
        with subprocess.Popen(
            command, cwd=shared.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 120
            while sum(np.fromfile(file, np.uint8).sum() for file in (self.folder / "cache").rglob("done")) < 5:
                self.assertIsNone(process.poll(), "ended before it could be killed")
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
        (done,) = (self.folder / "cache").rglob("images/done")
        self.assertBetween(int(np.fromfile(done, np.uint8).sum()), 5, 19)
        kept = np.flatnonzero(np.fromfile(done, np.uint8))[0]
        file = done.with_name("class_sums.f32")
        before = np.fromfile(file, "<f4").reshape(-1, 832000)[kept]
        drivers.run(*self.flags)
        np.testing.assert_array_equal(np.fromfile(file, "<f4").reshape(-1, 832000)[kept], before)
        found = drivers.rows(self.folder / "out")
        self.assertEqual(found, expected)

    def test_a_stale_cache_is_refused_with_the_reason(self):
        drivers.run(*self.flags, "--aggregation=ofa")
        changed = sorted((self.dataset / "jpg").iterdir())[0]
        Image.new("RGB", (64, 64)).save(changed)
        done = drivers.run(*self.flags, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"was made under other conditions and is left alone:\n  files: .* there, .* now")
        self.assertNotIn("Traceback", done.stderr)

    def test_unreadable_pictures_are_listed_and_end_the_run_only_when_asked(self):
        broken = self.others / "zz_broken.jpg"
        broken.write_bytes(b"not a picture")
        done = drivers.run(*self.flags, "--aggregation=ofa")
        self.assertIn(f"left out: {broken}: cannot be read as a picture", done.stderr)
        content = json.loads((self.folder / "out" / "results.json").read_text())
        self.assertLen(content["left_out"], 1)
        self.assertEqual(drivers.run(*self.flags, "--aggregation=ofa", "--strict", check=False).returncode, 1)

    @parameterized.parameters(
        (["--nc=0"], "--nc: '0' is not a whole number, 1 to 1000"),
        (["--nc=eight"], "--nc: 'eight' is not"),
        (["--nc="], "--nc needs at least one number"),
        (["--npca=1001"], "--npca: '1001' is not a whole number, 1 to 1000"),
        (["--qe=-1"], "--qe: '-1' is not"),
        (["--aggregation=offline"], "--aggregation: unknown offline; known: ofa, ona, predefined"),
        (["--rerank=100"], "--rerank: re-ranking is not implemented yet"),
        (["--predefined_classes=church,dome"], "--predefined_classes lists 2 classes"),
        (["--predefined_classes=cathedral"], "'cathedral' is not a class of googlenet"),
        (["--resize=720"], "unknown resize '720'"),
        (["--dataset=/nowhere"], "/nowhere/jpg: no such folder"),
        (["--weights=/nowhere.npz"], "no weights at /nowhere.npz: see weights/README.md"),
        (["--feature_layer=conv5_1"], "googlenet has no feature layer 'conv5_1'; it has inception_3a"),
        (["--network=vgg16_cam"], "does not hold vgg16_cam"),
        (["--nc", "8", "16"], "unexpected argument '16'"),
    )
    def test_errors_name_the_flag_and_show_no_traceback(self, flags, message):
        done = drivers.run(*self.flags, *flags, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(message, done.stderr + done.stdout)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    absltest.main()
