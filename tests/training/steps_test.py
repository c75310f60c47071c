"""These tests compare training steps with the same mathematics in float64 NumPy, without JAX, Optax or the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.training import state as states
from cwcf_jax.training import steps
from cwcf_jax.training.config import TrainingConfig
from tests.training import tiny

STEPS = 6


def config(**changes):
    values = dict(dataset="somewhere", steps=STEPS, warmup_steps=2, learning_rate=0.05, weight_decay=0.3)
    return TrainingConfig(**(values | changes))


def batch(seed=0, count=8, classes=3):
    generator = np.random.default_rng(seed)
    return {
        "images": jnp.asarray(generator.integers(0, 256, (count, 12, 12, 3), np.uint8)),
        "labels": jnp.asarray(generator.integers(0, classes, count), jnp.int32),
        "weights": jnp.ones(count, jnp.float32),
    }


@functools.cache
def run(network, settings, *, train="head", precision="float32", step_count=STEPS):
    """Returns all states from the first to the last, and the frozen parameters."""
    trained, frozen = states.split_params(network, network.initialize(0), train)
    optimizer = states.make_optimizer(settings, settings.steps)
    state = states.initial_state(trained, optimizer, ema=settings.ema)
    step_config = steps.StepConfig(settings.label_smoothing, settings.ema, precision, settings.log_every)
    step = jax.jit(functools.partial(steps.train_step, network=network, optimizer=optimizer, config=step_config))
    history = [state]
    for i in range(step_count):
        history.append(step(history[-1], frozen, batch(i)))
    assert step._cache_size() == 1, "recompiled"
    return history, frozen


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class Oracle:
    """An `Oracle` trains softmax regression on fixed features, by AdamW behind a clipped norm, in float64."""

    def __init__(self, kernel, bias, settings):
        self.params = {"kernel": np.asarray(kernel, np.float64), "bias": np.asarray(bias, np.float64)}
        self.ema = {name: value.copy() for name, value in self.params.items()}
        self.first = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.second = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.settings, self.step = settings, 0

    def rate(self):
        """Returns the learning rate: linear to the peak over the warm-up, then half a cosine."""
        s = self.settings
        if self.step < s.warmup_steps:
            return s.learning_rate * self.step / s.warmup_steps
        share = (self.step - s.warmup_steps) / (s.steps - s.warmup_steps)
        return s.learning_rate * (1 + np.cos(np.pi * share)) / 2

    def __call__(self, features, labels):
        s = self.settings
        logits = features @ self.params["kernel"] + self.params["bias"]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        n = p.shape[1]
        targets = np.full_like(p, s.label_smoothing / n)
        targets[np.arange(len(labels)), labels] += 1 - s.label_smoothing
        loss = -(targets * np.log(p)).sum(1).mean()
        accuracy = (p.argmax(1) == labels).mean()
        delta = (p - targets) / len(labels)
        gradients = {"kernel": features.T @ delta, "bias": delta.sum(0)}
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        if s.clip_norm and norm > s.clip_norm:
            gradients = {name: g * s.clip_norm / norm for name, g in gradients.items()}
        rate, self.step = self.rate(), self.step + 1
        decay = min(s.ema, self.step / (9 + self.step))
        for name, g in gradients.items():
            self.first[name] = 0.9 * self.first[name] + 0.1 * g
            self.second[name] = 0.999 * self.second[name] + 0.001 * g**2
            m, v = self.first[name] / (1 - 0.9**self.step), self.second[name] / (1 - 0.999**self.step)
            weight_decay = s.weight_decay if name == "kernel" else 0.0
            self.params[name] -= rate * (m / (np.sqrt(v) + 1e-8) + weight_decay * self.params[name])
            self.ema[name] = decay * self.ema[name] + (1 - decay) * self.params[name]
        return loss, accuracy


class OracleTest(parameterized.TestCase):
    @parameterized.parameters(
        dict(),
        dict(label_smoothing=0.2, ema=0.15, clip_norm=0.01),
        dict(ema=0.9, warmup_steps=0, clip_norm=0.0),
    )
    def test_training_a_classifier_is_softmax_regression(self, **changes):
        settings = config(log_every=1, **changes)
        network = tiny.network(head=("classifier",))
        history, frozen = run(network, settings)
        head = history[0].params["classifier"]
        oracle = Oracle(head["kernel"], head["bias"], settings)
        apply = jax.jit(lambda images: steps.apply_network(network, history[0].params | frozen, images)[1]["cam_conv"])
        for i in range(STEPS):
            features = np.asarray(apply(batch(i)["images"]), np.float64).mean((1, 2))
            loss, accuracy = oracle(features, np.asarray(batch(i)["labels"]))
            state = history[i + 1]
            self.assertAlmostEqual(float(state.window["loss"]), loss, places=5)
            self.assertAlmostEqual(float(state.window["accuracy"]), accuracy, places=6)
            for name in ("kernel", "bias"):
                np.testing.assert_allclose(state.params["classifier"][name], oracle.params[name], atol=2e-5)
                if settings.ema:
                    np.testing.assert_allclose(state.ema["classifier"][name], oracle.ema[name], atol=2e-5)
        self.assertEqual(int(history[-1].step), STEPS)

    def test_the_log_window_sums_and_starts_over(self):
        network = tiny.network(head=("classifier",))
        single, _ = run(network, config(log_every=1))
        summed, _ = run(network, config(log_every=3))
        losses = [float(state.window["loss"]) for state in single[1:]]
        for i, expected in ((1, losses[:1]), (3, losses[:3]), (4, losses[3:4]), (6, losses[3:])):
            self.assertAlmostEqual(float(summed[i].window["loss"]), sum(expected), places=4)
            self.assertEqual(float(summed[i].window["steps"]), len(expected))


class TrainStepTest(parameterized.TestCase):
    def test_a_frozen_trunk_has_no_state_and_does_not_change_anything(self):
        network = tiny.network()
        history, frozen = run(network, config(ema=0.9))
        self.assertEqual(sorted(frozen), ["conv1_1", "conv2_1"])
        self.assertEqual(sorted(history[-1].params), ["cam_conv", "classifier"])
        head_count = count(history[0].params)
        # step, averages of first and second moment, running average, three sums, counters of the optimizer
        self.assertLess(count(history[-1]), 4 * head_count + 20)
        for name, layer in network.initialize(0).items():
            if name in frozen:
                jax.tree.map(np.testing.assert_array_equal, frozen[name], layer)

    def test_training_everything_changes_everything(self):
        history, frozen = run(tiny.network(), config(ema=0.9, learning_rate=0.01), train="all")
        self.assertEqual(frozen, {})
        for old, new in zip(jax.tree.leaves(history[0].params), jax.tree.leaves(history[2].params), strict=True):
            self.assertGreater(float(jnp.abs(old - new).max()), 0.0)

    def test_nothing_flows_into_a_frozen_trunk(self):
        network, settings = tiny.network(), config()
        trained, frozen = states.split_params(network, network.initialize(0), "head")
        optimizer = states.make_optimizer(settings, STEPS)
        state = states.initial_state(trained, optimizer, ema=0.0)

        def loss(fixed):
            return steps.train_step(state, fixed, batch(), network, optimizer, steps.StepConfig()).window["loss"]

        for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(frozen)):
            self.assertEqual(float(jnp.abs(leaf).max()), 0.0)

    def test_mixed_precision_is_close_and_keeps_float32(self):
        settings = config(ema=0.9, learning_rate=0.01)
        full, _ = run(tiny.network(), settings, train="all")
        mixed, _ = run(tiny.network(), settings, train="all", precision="mixed")
        for leaf in jax.tree.leaves((mixed[-1].params, mixed[-1].ema, mixed[-1].optimizer, mixed[-1].window)):
            self.assertIn(leaf.dtype, (jnp.float32, jnp.int32))
        for a, b in zip(full[1:], mixed[1:], strict=True):
            np.testing.assert_allclose(b.window["loss"], a.window["loss"], rtol=0.03)
        self.assertNotEqual(float(full[1].window["loss"]), float(mixed[1].window["loss"]))

    def test_mixed_logits_are_classified_in_float32(self):
        network, images = tiny.network(), batch()["images"]
        params = network.initialize(0)
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        maps = jax.jit(lambda params: steps.apply_network(network, params, images)[1]["cam_conv"])(half)
        maps = np.asarray(maps.astype(jnp.float32), np.float64)
        kernel = np.asarray(params["classifier"]["kernel"], np.float64)
        logits = jax.jit(lambda params: steps.classify(network, params, images, "mixed"))(params)
        self.assertEqual(logits.dtype, jnp.float32)
        np.testing.assert_allclose(logits, maps.mean((1, 2)) @ kernel, rtol=1e-5, atol=1e-5)


class EvaluationTest(absltest.TestCase):
    def test_ranks_count_classes_before_the_right_one(self):
        logits = jnp.array([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0], [5.0, 5.0, 5.0]])
        self.assertEqual(steps.ranks(logits, jnp.array([0, 0, 2], jnp.int32)).tolist(), [2, 0, 2])

    def test_sums_leave_out_what_fills_up(self):
        network = tiny.network(num_labels=10)
        params, padded_batch = network.initialize(0), batch(classes=10)
        padded_batch["weights"] = jnp.array([1, 1, 1, 0, 1, 1, 0, 0], jnp.float32)
        sums = jax.jit(lambda params: steps.eval_step(params, padded_batch, network, "float32"))(params)
        classify = jax.jit(lambda params: steps.classify(network, params, padded_batch["images"], "float32"))
        logits = np.asarray(classify(params), np.float64)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        counted, labels = [0, 1, 2, 4, 5], np.asarray(padded_batch["labels"])
        order = np.argsort(-logits, axis=1)
        self.assertEqual(float(sums["count"]), 5)
        self.assertAlmostEqual(float(sums["loss"]), -sum(log_p[i, labels[i]] for i in counted), places=3)
        self.assertEqual(float(sums["top1"]), sum(order[i, 0] == labels[i] for i in counted))
        self.assertEqual(float(sums["top5"]), sum(labels[i] in order[i, :5] for i in counted))


class ScheduleTest(absltest.TestCase):
    def test_hand_worked(self):
        schedule = states.learning_rate(config(steps=110, warmup_steps=10, learning_rate=2.0), 110)
        for step, rate in ((0, 0.0), (5, 1.0), (10, 2.0), (60, 1.0), (110, 0.0)):
            self.assertAlmostEqual(float(schedule(step)), rate, places=5)

    def test_a_warm_up_without_end(self):
        with self.assertRaisesRegex(ValueError, "--warmup_steps: 6 leave none of the 6 steps"):
            states.learning_rate(config(warmup_steps=6), 6)


if __name__ == "__main__":
    absltest.main()
