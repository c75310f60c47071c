import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import files, networks
from cwcf_jax.images.decoding import ImageError
from cwcf_jax.training import ResumeError, Trainer, TrainingConfig, center_crop, prepare, read_metrics, train
from cwcf_jax.training.records import MetricsLog
from cwcf_jax.training.steps import classify
from tests.training import tiny


class LoopTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(absltest.get_default_test_tmpdir()) / cls.__name__
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.folder = tiny.pictures(cls.root / "colours", count=8)
        cls.network = tiny.network(num_labels=10)

    def config(self, **changes):
        settings = dict(
            dataset=str(self.folder), output=self.create_tempdir().full_path, steps=40, warmup_steps=5, batch_size=8,
            image_size=12, learning_rate=0.02, eval_share=0.2, ema=0.9, log_every=5, eval_every=20, checkpoint_every=20,
            workers=0,
        )  # fmt: skip
        return TrainingConfig(**(settings | changes))

    def test_learns_logs_and_exports_what_load_takes(self):
        config = self.config()
        setup = prepare(config, self.network)
        reported = []
        path = train(config, setup, report=reported.append, notes={"who": "a test"})
        lines = read_metrics(pathlib.Path(config.output))
        self.assertEqual(lines, reported)
        self.assertEqual([line["step"] for line in lines], list(range(5, 45, 5)))
        self.assertEqual([line["step"] for line in lines if "eval_top1" in line], [20, 40])
        self.assertLess(lines[-1]["loss"], 0.5 * lines[0]["loss"])
        self.assertGreater(lines[-1]["eval_top1"], 0.9)
        self.assertEqual(lines[-1]["eval_top5"], 1.0)
        model = cwcf_jax.load(self.network, path)
        self.assertEqual(networks.class_names(model.network.spec), ("blue sky", "green grass", "red roof"))
        self.assertEqual(networks.read_provenance(path).notes["who"], "a test")
        logits = jax.jit(lambda params, images: classify(model.network, params, images, "float32"))
        images = jnp.asarray(np.stack([center_crop(image, 12) for image, _ in setup.held_out]))
        correct = logits(model.params, images).argmax(axis=1) == jnp.array([label for _, label in setup.held_out])
        self.assertAlmostEqual(float(correct.mean()), lines[-1]["eval_top1"], places=6)
        # A second call has nothing to do, and leaves the files unchanged.
        written = path.stat().st_mtime_ns
        self.assertEqual(train(config, prepare(config, self.network)), path)
        self.assertEqual(path.stat().st_mtime_ns, written)
        self.assertEqual(read_metrics(pathlib.Path(config.output)), lines)

    def test_exported_parameters_are_the_averages_and_the_trunk_as_it_came(self):
        config = self.config(steps=4, warmup_steps=1, eval_share=0.0)
        whole = self.network.initialize(3)
        networks.save_params(whole, self.root / "whole.npz")
        config = self.config(steps=4, warmup_steps=1, trunk=str(self.root / "whole.npz"), train="head")
        setup = prepare(config, self.network)
        params = networks.load_params(setup.network, train(config, setup))
        for name in ("conv1_1", "conv2_1"):
            jax.tree.map(np.testing.assert_array_equal, params[name], whole[name])
        trainer = Trainer(config, setup)
        state = trainer.initial()
        with self.subTest("a step compiles once"):
            dataset = trainer.dataset()
            for i in range(3):
                state = trainer.step(state, dataset[i])
            self.assertEqual(trainer.train_step._cache_size(), 1)
        jax.tree.map(lambda average, latest: self.assertFalse(np.array_equal(average, latest)), state.ema, state.params)
        self.assertIs(trainer.params(state)["cam_conv"], state.ema["cam_conv"])

    def test_eight_devices_do_what_one_does(self):
        config = self.config(batch_size=16)
        setup = prepare(config, self.network)
        states, evaluations = [], []
        for devices in (jax.devices()[:1], jax.devices()):
            trainer = Trainer(config, setup, devices)
            state, dataset = trainer.initial(), trainer.dataset()
            for i in range(4):
                state = trainer.step(state, dataset[i])
            self.assertLen(state.params["classifier"]["bias"].sharding.device_set, len(devices))
            states.append(jax.device_get(state))
            evaluations.append(trainer.evaluate(state, setup.held_out))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *states)
        for name, value in evaluations[0].items():
            self.assertAlmostEqual(evaluations[1][name], value, places=4)
        with self.assertRaisesRegex(ValueError, "--batch_size: 12 is not a multiple of the 8 devices"):
            Trainer(self.config(batch_size=12), setup)

    def test_other_settings_or_data_are_refused_and_named(self):
        config = self.config(steps=2, warmup_steps=0)
        train(config, prepare(config, self.network))
        same = dict(output=config.output, warmup_steps=0)
        for changes, message in (
            (dict(steps=3), "--steps: 2 there, 3 now"),
            (
                dict(learning_rate=0.5, jitter=0.1),
                "--jitter: 0.3 there, 0.1 now\n  --learning_rate: 0.02 there, 0.5 now",
            ),
        ):
            changed = self.config(**({"steps": 2} | same | changes))
            with self.subTest(message), self.assertRaisesRegex(ResumeError, message):
                train(changed, prepare(changed, self.network))
        extra = tiny.pictures(pathlib.Path(self.create_tempdir().full_path) / "colours", count=9)
        moved = self.config(steps=2, **same)
        with self.assertRaisesRegex(ResumeError, '\n  training pictures: "'):
            train(moved, prepare(self.config(steps=2, dataset=str(extra), **same), self.network))
        freely = self.config(steps=2, workers=1, checkpoint_every=7, log_every=1, licence="CC0", **same)
        train(freely, prepare(freely, self.network))

    def test_folders_that_are_not_for_it(self):
        config = self.config()
        setup = prepare(config, self.network)
        (pathlib.Path(config.output) / "thesis.tex").write_text("years of work")
        with self.assertRaisesRegex(ResumeError, "holds thesis.tex, but no config.json; name a new or an empty folder"):
            train(config, setup)
        other = self.config()
        output = pathlib.Path(other.output)
        with (
            files.lock(output / files.LOCK, output, ResumeError),
            self.assertRaisesRegex(ResumeError, f"{output} is in use by another process"),
        ):
            train(other, setup)
        (pathlib.Path(other.output) / "config.json").write_text("{")
        with self.assertRaisesRegex(ResumeError, "config.json cannot be read"):
            train(other, setup)

    def test_a_picture_that_breaks_on_the_way_is_named(self):
        folder = tiny.pictures(pathlib.Path(self.create_tempdir().full_path) / "colours", count=4)
        config = self.config(dataset=str(folder), eval_share=0.0)
        setup = prepare(config, self.network)
        (folder / "red_roof" / "red_roof_2.jpg").write_bytes(b"no picture")
        with self.assertRaisesRegex(ImageError, "red_roof_2.jpg"):
            train(config, setup)

    def test_a_loss_beyond_all_bounds_ends_it_before_anything_is_saved(self):
        config = self.config(learning_rate=1e30, warmup_steps=0, clip_norm=0.0, eval_share=0.0)
        with self.assertRaisesRegex(ValueError, "the loss is (nan|inf) at step 5; lower --learning_rate"):
            train(config, prepare(config, self.network))
        self.assertEmpty(list((pathlib.Path(config.output) / "checkpoints").iterdir()))


class MetricsLogTest(absltest.TestCase):
    def test_lines_after_the_restored_step_and_torn_lines_are_cut(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        whole = [json.dumps({"step": step, "loss": 0.1}) for step in (1, 2, 3)]
        (folder / "metrics.jsonl").write_text("\n".join(whole) + '\n{"step": 4, "lo')
        MetricsLog(folder, after=9).write({"step": 10})
        self.assertEqual([line["step"] for line in read_metrics(folder)], [1, 2, 3, 10])
        MetricsLog(folder, after=2).write({"step": 3})
        self.assertEqual(read_metrics(folder)[1:], [{"step": 2, "loss": 0.1}, {"step": 3}])


if __name__ == "__main__":
    absltest.main()
