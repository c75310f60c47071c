import os
import pathlib
import subprocess
import sys

from absl.testing import absltest

import cwcf_jax
from cwcf_jax import networks
from cwcf_jax.training import read_metrics
from tests.support import shared, thin
from tests.support.slow import XLA_FLAGS
from tests.training import tiny

# Every argument is a command line. The results of all but the last one are printed; the last one may end the process.
# All of them run in one process, because a process takes seconds to start.
CASES = f"""{thin.REGISTERED}
import sys
sys.path.insert(0, "tests/training")
import tiny
tiny.register()
from experiments import train_cam
def run(command):
    train_cam.PROGRAM.call(*command.split())
for command in sys.argv[1:-1]:
    print("command:", command)
    try:
        run(command)
        print("code: 0")
    except SystemExit as error:
        print("code:", error.code)
    except Exception as error:
        print("raised:", type(error).__name__, error)
run(sys.argv[-1])
"""


class TrainCamTest(absltest.TestCase):
    def test_trains_on_real_pictures_and_names_what_is_wrong_with_a_command(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        data = tiny.pictures(root / "colours", count=2)
        base = f"--network=tiny_cam --dataset={data} --steps=3 --warmup_steps=0 --batch_size=3 --output={root}/out"
        base += " --image_size=8 --workers=0"
        broken = tiny.pictures(root / "broken", count=2) / "red_roof" / "red_roof_1.jpg"
        broken.write_bytes(b"no picture")
        real = f"--network=thin_cam --dataset={shared.require('data/imagenet_cls_dev')} --steps=4 --warmup_steps=1"
        real += f" --batch_size=8 --image_size=16 --log_every=2 --output={root}/real --nocheck"
        written = root / "real" / "export" / "thin_cam.npz"
        cases = (
            (real, "thin_cam, 1000 classes: 250 training pictures, 0 held out, 4 steps of 8"),
            (real, f"written to {written}"),  # it is finished: nothing is trained again
            (base.replace("tiny_cam", "vgg16"), "train_cam: --network: vgg16 has no CAM head; train vgg16_cam"),
            (base + " --dataset=nowhere", "train_cam: nowhere: no such folder"),
            (base + " --trunk=nothing.npz", "train_cam: no weights at nothing.npz"),
            (base + " --train=tail", "raised: IllegalFlagValueError"),
            (base + " --steps=many", "raised: IllegalFlagValueError"),
            (base + " --batch_size=0", "train_cam: --batch_size: 0 must be at least 1"),
            (base + " stray", "raised: UsageError unexpected argument 'stray'"),
            (base + f" --dataset={root}/broken --nocheck", f"train_cam: {broken}: cannot be read as a picture"),
            (base + f" --dataset={root}/broken --output={root}/more --batch_size=5", "code: 0"),
        )
        last = f"{base} --output={root}/broken"
        done = subprocess.run(
            [sys.executable, "-c", CASES, *(command for command, _ in cases), last],
            cwd=shared.ROOT, capture_output=True, text=True, check=False, env=os.environ | {"XLA_FLAGS": XLA_FLAGS},
        )  # fmt: skip
        outputs = done.stdout.split("command: ")[1:]
        self.assertLen(outputs, len(cases), done.stderr)
        for (command, message), output in zip(cases, outputs, strict=True):
            self.assertIn(message, output, command)
        self.assertIn(f"left out: {broken}: cannot be read as a picture", done.stderr)
        self.assertEqual(outputs[0].count("step "), 2)
        self.assertEqual(outputs[1].count("step "), 0)
        self.assertEqual([line["step"] for line in read_metrics(root / "real")], [2, 4])
        self.assertEqual(cwcf_jax.load(thin.NETWORK, written).network.spec.class_names, "imagenet")
        self.assertIn("commit", networks.read_provenance(written).notes["environment"])
        self.assertEqual(done.returncode, 1)
        self.assertIn(
            f"train_cam: {root}/broken holds blue_sky, green_grass, red_roof, but no config.json", done.stderr
        )
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    absltest.main()
