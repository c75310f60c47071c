import json
import pathlib

import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import networks
from cwcf_jax.extraction import fingerprint_files
from cwcf_jax.images import read_image
from cwcf_jax.weights import whitenings
from experiments import data
from tests.experiments import drivers
from tests.support import indexes, oracles


class FitWhiteningTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        for name, seeds in (("some", range(5)), ("others", range(5, 8))):
            for seed in seeds:
                indexes.draw(self.folder / name / f"{seed}.png", seed)
        self.flags = [f"--weights={indexes.WEIGHTS}", f"--whitening_dataset={self.folder}/some,{self.folder}/others"]
        self.flags += ["--npca=3", f"--cache={self.folder / 'cache'}"]

    def run_driver(self, *flags, output="results"):
        output = self.folder / output
        drivers.run(*self.flags, f"--output={output}", *flags, module="experiments.fit_whitening")
        (file,) = output.glob("*.npz")
        return file

    def test_the_pictures_class_vectors_in_float64(self):
        file = self.run_driver("--matrix=float32", "--licences=CC0,CC BY 4.0")
        actual, record = whitenings.read(file)
        model = cwcf_jax.load(record.network, indexes.WEIGHTS, pooling="gem")
        pictures = [read_image(path) for path in sorted(self.folder.glob("*/*.png"))]
        units = np.stack([
            oracles.l2(vector)
            for picture in pictures
            for vector in np.asarray(cwcf_jax.class_vectors(model, picture[None], num_classes=3).vectors[0], np.float64)
            if vector.any()
        ])  # fmt: skip
        np.testing.assert_allclose(actual.mean, units.mean(axis=0), atol=1e-5)
        covariance = np.cov(units.T)
        variances = np.linalg.eigvalsh(covariance)[::-1]
        np.testing.assert_allclose(actual.eigenvalues, 0.8 * variances.clip(0) + 0.2 * variances.mean(), rtol=1e-3)
        directions = np.asarray(actual.projection, np.float64)
        spread = np.diag(directions.T @ covariance @ directions)
        np.testing.assert_allclose(spread, variances.clip(0), atol=1e-3 * variances[0])

    def test_the_record_is_honest(self):
        file = self.run_driver("--licences=CC0,CC BY 4.0", "--strict")
        record = whitenings.read_record(file)
        self.assertEqual(file.stem, record.network)
        model = cwcf_jax.load(record.network, indexes.WEIGHTS, pooling="gem")
        self.assertEqual(record.params, networks.fingerprint_params(model.params))
        self.assertEqual(record.weights, networks.fingerprint(indexes.WEIGHTS))
        self.assertEqual((record.resize, record.classes, record.shrinkage), ("none", 3, 0.2))
        self.assertEqual((record.encoder["pooling"], record.encoder["gem_p"]), ("gem", 3.0))
        self.assertEqual(record.encoder["feature_layer"], model.config.feature_layer)
        described = [(entry.name, entry.images, entry.licence) for entry in record.data]
        self.assertEqual(described, [("some", 5, "CC0"), ("others", 3, "CC BY 4.0")])
        source = data.read(str(self.folder / "some"), cache=self.folder, data_dir=None, smoke=False)
        self.assertEqual(record.data[0].sha256, fingerprint_files(source.images))
        content = json.loads((file.parent / "results.json").read_text())
        self.assertEqual(content["record"]["params"], record.params)

    def test_the_same_pictures_give_the_same_file(self):
        first = self.run_driver().read_bytes()
        again = self.run_driver(f"--cache={self.folder / 'another_cache'}", output="again").read_bytes()
        self.assertEqual(first, again)

    def test_a_picture_that_cannot_be_read_is_not_counted(self):
        (self.folder / "some" / "9.png").write_bytes(b"damaged")
        self.assertEqual(whitenings.read_record(self.run_driver()).data[0].images, 5)

    def test_flags_that_make_no_sense(self):
        for flags, message in (
            (["--dataset=synthetic"], "this driver measures nothing: name the pictures by --whitening_dataset"),
            (["--licences=CC0"], "--licences has 1 entries for 2 of --whitening_dataset"),
        ):
            done = drivers.run(*self.flags, *flags, check=False, module="experiments.fit_whitening")
            self.assertEqual(done.returncode, 1)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    absltest.main()
