"""These tests kill trainings with SIGKILL, resume them, and compare them with one that ran through."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
from absl.testing import absltest

from tests.support import shared
from tests.support.slow import slow
from tests.training import tiny

# Argument 1 says when the process kills itself: "lines:3" once three lines are logged; "events:5" at the fifth time
# that Python opens, makes or renames something in the folder of checkpoint 9, before this checkpoint is complete; ""
# never. The other arguments are command lines, which run one after another in this process.
CHILD = """
import os, signal, sys
sys.path.insert(0, "tests/training")  # importing tests as a package would set 8 devices and check every type
import tiny
tiny.register()
from cwcf_jax.training import records
from experiments import train_cam

kind, _, count = sys.argv[1].partition(":")
matching = []
def maybe_die(event):
    if event == kind:
        matching.append(event)
        if len(matching) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)

write = records.MetricsLog.write
def write_and_maybe_die(self, line):
    write(self, line)
    maybe_die("lines")
records.MetricsLog.write = write_and_maybe_die

def watch(event, arguments):
    if event in ("open", "os.mkdir", "os.rename") and "checkpoints/9" in str(arguments[0]):
        maybe_die("events")
if kind == "events":
    sys.addaudithook(watch)

for command in sys.argv[2:]:
    train_cam.PROGRAM.call(*command.split())
"""


class ResumeTest(absltest.TestCase):
    def train(self, die, *outputs):
        commands = [
            f"--network=tiny_cam --dataset={self.folder} --eval_share=0.2 --steps=13 --warmup_steps=3 --batch_size=4 "
            f"--image_size=12 --learning_rate=0.01 --ema=0.9 --log_every=2 --eval_every=5 --checkpoint_every=3 "
            f"--workers=2 --output={output}"
            for output in outputs
        ]
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        return subprocess.run(
            [sys.executable, "-c", CHILD, die, *commands],
            cwd=shared.ROOT, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip

    def test_killed_twice_and_started_again_ends_bit_for_bit_as_uninterrupted(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = tiny.pictures(root / "colours")
        killed, uninterrupted = root / "killed", root / "uninterrupted"
        first = self.train("lines:3", killed)
        self.assertEqual(first.returncode, -signal.SIGKILL, first.stderr)
        self.assertEqual(self.checkpoints(killed), {"3"})
        self.assertEqual(self.steps(killed), [2, 4, 5])
        second = self.train("events:5", killed)
        self.assertEqual(second.returncode, -signal.SIGKILL, second.stderr)
        unfinished = {name for name in self.checkpoints(killed) if "tmp" in name}
        self.assertEqual([name.partition(".")[0] for name in unfinished], ["9"], "not killed while it wrote step 9")
        self.assertEqual(self.checkpoints(killed) - unfinished, {"3", "6"})
        last = self.train("", killed, uninterrupted)
        self.assertEqual(last.returncode, 0, last.stderr)
        self.assertEqual(self.checkpoints(killed), self.checkpoints(uninterrupted))
        with np.load(killed / "export" / "tiny_cam.npz") as a, np.load(uninterrupted / "export" / "tiny_cam.npz") as b:
            self.assertEqual(a.files, b.files)
            for key in a.files:
                if key != "provenance.json":
                    np.testing.assert_array_equal(a[key], b[key], key)
        self.assertEqual(self.steps(uninterrupted), [2, 4, 5, 6, 8, 10, 12, 13])
        timeless = [
            [{k: v for k, v in line.items() if k not in ("time", "images_per_s")} for line in self.lines(folder)]
            for folder in (killed, uninterrupted)
        ]
        self.assertEqual(*timeless)

    @slow
    def test_a_damaged_checkpoint_is_named(self):
        # Each training has its own process: within one process, Orbax may read its memory instead of the damaged file.
        root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = tiny.pictures(root / "colours")
        first = self.train("", root / "out")
        self.assertEqual(first.returncode, 0, first.stderr)
        damaged = root / "out" / "checkpoints" / "13" / "default" / "manifest.ocdbt"
        damaged.write_bytes(damaged.read_bytes()[:20])
        second = self.train("", root / "out")
        self.assertEqual(second.returncode, 1, second.stderr)
        self.assertRegex(second.stderr, "checkpoints/13: cannot be restored .*; remove this folder")

    def checkpoints(self, folder):
        return {path.name for path in (folder / "checkpoints").iterdir()}

    def lines(self, folder):
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    def steps(self, folder):
        return [line["step"] for line in self.lines(folder)]


if __name__ == "__main__":
    absltest.main()
