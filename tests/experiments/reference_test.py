"""This test compares the whole ablation on the development benchmark with ../shared/data/reference.md.

The values in this file come from an independent float64 NumPy implementation over PyTorch feature maps.
"""

import json
import pathlib
import re

from absl.testing import absltest

from tests.experiments import drivers
from tests.support import shared
from tests.support.slow import slow

BASELINES = {
    "Raw": "Raw",
    "Raw + CroW channel weights": "Raw+CroW",
    "Raw + PCA": "Raw+PCA",
    "Raw + CroW + PCA": "Raw+CroW+PCA",
}
WHITENING = ("imagenet_cls_dev", "instre_boxes_dev", "boofcv_triplets")
COLUMNS = (("OfA", 0), ("OfA", 10), ("OnA", 0), ("OnA", 10), ("shrinkage", 0))
MAP_TOLERANCE = 0.005  # from reference.md


def _reference():
    """Returns ``{(method, nc, qe): mAP}``: 4 baselines and 7 x 5 settings."""
    text = shared.require("data/reference.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("Raw ."))
    expected = {}
    for part in line.split(","):
        name, value = part.strip().rsplit(" ", 1)
        expected[BASELINES[name], None, 0] = float(value)
    for cells in re.findall(r"^\| (\d+) \|(.*)\|$", text, re.MULTILINE):
        values = [float(cell) for cell in cells[1].split("|")]
        expected |= {(method, int(cells[0]), qe): v for (method, qe), v in zip(COLUMNS, values, strict=True)}
    return expected


@slow
class ReferenceTest(absltest.TestCase):
    def test_every_row(self):
        expected = _reference()
        self.assertLen(expected, 4 + 7 * 5)
        folder = pathlib.Path(self.create_tempdir().full_path)
        flags = [
            f"--dataset={shared.require('data/oxford_dev')}",
            "--whitening_dataset=" + ",".join(str(shared.require(f"data/{name}")) for name in WHITENING),
            "--network=googlenet",
            f"--weights={shared.require('weights/googlenet_bvlc.npz')}",
            "--protocol=development",
            "--npca=32",
            f"--cache={folder / 'cache'}",
        ]
        drivers.run(*flags, "--qe=0,10", "--aggregation=ofa,ona", f"--output={folder / 'pca'}", "--strict")
        shrinkage = ["--whitening=shrinkage", "--whitening_dim=0", f"--output={folder / 'shrinkage'}"]
        drivers.run(*flags, "--aggregation=ofa", *shrinkage)
        actual = {(method, nc, qe): row["map"] for (method, nc, _, qe), row in drivers.rows(folder / "pca").items()}
        for (method, nc, _, qe), row in drivers.rows(folder / "shrinkage").items():
            if method == "OfA":
                actual["shrinkage", nc, qe] = row["map"]
        worst = max(expected, key=lambda key: abs(actual[key] - expected[key]))
        print(f"largest difference: {worst} {actual[worst]:.4f} instead of {expected[worst]:.4f}")
        for key, value in expected.items():
            self.assertAlmostEqual(actual[key], value, delta=MAP_TOLERANCE, msg=str(key))
        content = json.loads((folder / "pca" / "results.json").read_text())
        self.assertEqual(content["left_out"], [])
        self.assertLen(content["rows"][0]["per_query"], 30)


if __name__ == "__main__":
    absltest.main()
