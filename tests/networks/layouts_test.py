"""This test translates foreign arrays to the parameters of a network."""

import warnings

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.networks import Preprocessing, WeightLayout, layouts
from tests.networks import torch_oracles

ANY = Preprocessing("RGB", (0.0, 0.0, 0.0))
GENERATOR = np.random.default_rng(0)


def _draw(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


class TransformTest(absltest.TestCase):
    def test_one_value_of_each(self):
        kernel = _draw(7, 5, 3, 2)  # [out, in, rows, columns]
        self.assertEqual(layouts.conv(kernel)[2, 1, 4, 6], kernel[6, 4, 2, 1])
        self.assertEqual(layouts.conv(kernel).shape, (3, 2, 5, 7))
        dense = _draw(4, 9)
        self.assertEqual(layouts.dense(dense)[8, 3], dense[3, 8])
        on_maps = _draw(4, 5 * 3 * 3)
        actual = layouts.dense_on_maps(5, 3)(on_maps)
        self.assertEqual(actual[2, 1, 4, 3], on_maps[3, 4 * 9 + 2 * 3 + 1])
        rows = _draw(3 * 3 * 5, 4)
        self.assertEqual(layouts.rows_on_maps(5, 3)(rows)[2, 1, 4, 3], rows[(2 * 3 + 1) * 5 + 4, 3])

    def test_wrong_axes(self):
        for transform in (layouts.conv, layouts.dense, layouts.dense_on_maps(5, 3), layouts.rows_on_maps(5, 3)):
            with self.assertRaisesRegex(ValueError, "3 axes instead of"):
                transform(_draw(2, 2, 2))
        with self.assertRaisesRegex(ValueError, "44 inputs instead of 45"):
            layouts.dense_on_maps(5, 3)(_draw(2, 44))
        with self.assertRaisesRegex(ValueError, "44 inputs instead of 45"):
            layouts.rows_on_maps(5, 3)(_draw(44, 2))


class ChooseTest(absltest.TestCase):
    def test_most_keys_win(self):
        first, second = (WeightLayout(name, layouts.torch({name: name, "c": "c"}), ANY) for name in "ab")
        self.assertIs(layouts.choose((first, second), ["a.weight", "c.weight"]), first)
        self.assertIs(layouts.choose((first, second), ["b.weight", "c.weight"]), second)
        self.assertIs(layouts.choose((first, second), ["c.weight"]), first)
        self.assertIsNone(layouts.choose((first, second), ["d.weight"]))
        self.assertIsNone(layouts.choose((), ["d.weight"]))

    def test_every_layout_of_every_network_leads_to_all_of_its_parameters(self):
        for network in networks.NETWORKS.values():
            parameters = {f"{layer}/{part}" for layer, part in _leaves(network.shapes())}
            for layout in network.layouts():
                targets = [target for target, _ in layout.table.values()]
                self.assertLen(set(targets), len(targets), layout.name)
                folded = {target for target in targets if "/norm/" not in target}
                for target in targets:
                    layer = target.split("/norm/")[0]
                    if layer != target:
                        folded |= {f"{layer}/bias"} | (set() if f"{layer}/kernel" in targets else {f"{layer}/scale"})
                if network.spec.name.startswith("vgg16_cam") and layout.name in ("keras", "torchvision"):
                    expected = {key for key in parameters if key.split("/")[0] not in network.spec.head}
                else:
                    expected = parameters
                self.assertEqual(folded, expected, f"{network.spec.name}, {layout.name}")


def _leaves(shapes, prefix=""):
    for name, value in shapes.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield prefix.rstrip("/"), name


class FoldTest(absltest.TestCase):
    def statistics(self, channels):
        return {
            "x/norm/scale": _draw(channels),
            "x/norm/bias": _draw(channels),
            "x/norm/mean": _draw(channels),
            "x/norm/variance": np.exp(_draw(channels)),
        }

    def normalised(self, y, statistics):
        scale, bias, mean, variance = (value.astype(np.float64) for value in statistics.values())
        return (y - mean) / np.sqrt(variance + 1e-5) * scale + bias

    def test_into_a_kernel(self):
        kernel, statistics, x = _draw(3, 3, 4, 6), self.statistics(6), GENERATOR.normal(size=(5, 3, 3, 4))
        for bias in ({}, {"x/bias": _draw(6)}):
            folded = layouts.fold_norms({"x/kernel": kernel, **bias, **statistics})
            self.assertEqual(folded.keys(), {"x/kernel", "x/bias"})
            self.assertEqual({array.dtype for array in folded.values()}, {np.dtype(np.float32)})
            y = np.einsum("nyxi,yxio->no", x, kernel.astype(np.float64)) + bias.get("x/bias", 0.0)
            expected = self.normalised(y, statistics)
            actual = np.einsum("nyxi,yxio->no", x, folded["x/kernel"].astype(np.float64)) + folded["x/bias"]
            np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())

    def test_without_a_kernel(self):
        statistics, x = self.statistics(6), GENERATOR.normal(size=(5, 6))
        other = _draw(2)
        actual = layouts.fold_norms({**statistics, "y/bias": other})
        self.assertEqual(actual.keys(), {"x/scale", "x/bias", "y/bias"})
        self.assertIs(actual["y/bias"], other)
        expected = self.normalised(x, statistics)
        np.testing.assert_allclose(x * actual["x/scale"] + actual["x/bias"], expected, atol=1e-6)

    def test_a_variance_of_zero(self):
        statistics = self.statistics(2) | {"x/norm/variance": np.zeros(2, np.float32)}
        actual = layouts.fold_norms(statistics)
        np.testing.assert_allclose(actual["x/scale"], statistics["x/norm/scale"] / np.sqrt(1e-5), rtol=1e-6)


class TranslateTest(parameterized.TestCase):
    """This test translates a convolution with its batch normalisation, and a classifier."""

    def setUp(self):
        super().setUp()
        table = layouts.torch({"conv": "x"}, bias=False) | layouts.torch_norm({"bn": "x"})
        table |= layouts.torch({"fc": "classifier"}, transform=layouts.dense)
        self.layout = WeightLayout("torch", table, ANY, ignored=("*.num_batches_tracked",))
        self.shapes = {"x/kernel": (3, 2, 4, 6), "x/bias": (6,), "classifier/kernel": (6, 5), "classifier/bias": (5,)}
        self.arrays = {
            "conv.weight": _draw(6, 4, 3, 2),
            **{f"bn.{part}": _draw(6) for part in ("weight", "bias", "running_mean")},
            "bn.running_var": np.exp(_draw(6)),
            "bn.num_batches_tracked": np.array(3),
            "fc.weight": _draw(5, 6),
            "fc.bias": _draw(5),
        }

    def translate(self, changes=(), **options):
        return layouts.translate(self.layout, self.arrays | dict(changes), self.shapes, **options)

    def test_all_layers(self):
        actual, faults = self.translate()
        self.assertEqual(faults, [])
        self.assertEqual({key: array.shape for key, array in actual.items()}, self.shapes)
        np.testing.assert_array_equal(actual["classifier/kernel"], self.arrays["fc.weight"].T)

    def test_some_layers(self):
        actual, faults = self.translate({"of another head": _draw(3), "fc.weight": _draw(9, 9)}, layers={"x"})
        self.assertEqual((faults, actual.keys()), ([], {"x/kernel", "x/bias"}))

    @parameterized.parameters(
        ("bn.running_var", np.array([1, 1, 1, 1, 1, -0.1], np.float32), "negative bn.running_var, a variance"),
        ("bn.running_var", np.array([1, 1, 1, 1, 1, np.nan], np.float32), "not finite bn.running_var"),
        ("bn.running_mean", np.full(6, -np.inf, np.float32), "not finite bn.running_mean"),
        ("fc.bias", np.full(5, 1e39), "not finite fc.bias"),  # infinite as float32
        ("fc.bias", np.ones(5, np.int64), "not floating point fc.bias: int64"),
        ("fc.bias", np.ones(5, bool), "not floating point fc.bias: bool"),
        ("fc.bias", np.ones((5, 1), np.float32), "mis-shaped fc.bias (5, 1): (5, 1) for classifier/bias (5,)"),
        ("bn.bias", np.ones(7, np.float32), "mis-shaped bn.bias (7,): (7,) for x/norm/bias (6,)"),
        (
            "conv.weight",
            np.ones((6, 4), np.float32),
            "mis-shaped conv.weight (6, 4), for x/kernel: 2 axes instead of 4",
        ),
        ("conv.bias", np.ones(6, np.float32), "unmapped conv.bias (6,)"),
    )
    def test_faults(self, key, array, message):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            actual, faults = self.translate({key: array})
        self.assertEqual((actual, faults), ({}, [message]))

    def test_half_precision_and_doubles_are_accepted(self):
        for dtype in (np.float16, np.float64):
            _, faults = self.translate({key: array.astype(dtype) for key, array in self.arrays.items() if array.ndim})
            self.assertEqual(faults, [])

    def test_missing(self):
        del self.arrays["bn.running_var"], self.arrays["fc.weight"]
        _, faults = self.translate()
        self.assertEqual(
            faults, ["missing bn.running_var, for x/norm/variance", "missing fc.weight, for classifier/kernel"]
        )


class DenseOfVgg16Test(parameterized.TestCase):
    """This test translates narrow copies of VGG-16's dense layers; each framework flattens pool5 differently."""

    @parameterized.parameters(
        ("caffe", "torch", ("fc6", "fc7", "fc8"), "{}/W {}/b"),
        ("torchvision", "torch", ("classifier.0", "classifier.3", "classifier.6"), "{}.weight {}.bias"),
        ("keras", "keras", ("fc1", "fc2", "predictions"), "{}/kernel {}/bias"),
        ("keras, Theano order", "theano", ("fc1", "fc2", "predictions"), "{}/kernel {}/bias"),
    )
    def test_against_the_oracle(self, name, form, names, keys):
        weights = torch_oracles.Weights(0, form)
        pool5 = GENERATOR.random((2, 7, 7, 512))
        logits = torch_oracles.vgg16_head(weights, weights.inputs(pool5), names, (11, 9, 6)).numpy()
        arrays = {}
        for layer, _, (kernel, bias) in weights.as_layers():
            first, second = keys.replace("{}", layer).split()
            arrays |= {first: kernel, second: bias}
        (layout,) = (layout for layout in networks.get("vgg16").layouts() if layout.name == name)
        shapes = {"fc6/kernel": (7, 7, 512, 11), "fc7/kernel": (11, 9), "fc8/kernel": (9, 6)}
        shapes |= {
            f"{layer}/bias": shape[-1:] for layer, shape in zip(("fc6", "fc7", "fc8"), shapes.values(), strict=True)
        }
        params, faults = layouts.translate(layout, arrays, shapes, layers=("fc6", "fc7", "fc8"))
        self.assertEqual(faults, [])
        x = np.maximum(np.einsum("nhwc,hwco->no", pool5, params["fc6/kernel"], optimize=True) + params["fc6/bias"], 0)
        x = np.maximum(x @ params["fc7/kernel"] + params["fc7/bias"], 0)
        actual = x @ params["fc8/kernel"] + params["fc8/bias"]
        np.testing.assert_allclose(actual, logits, atol=1e-5 * np.abs(logits).max())


if __name__ == "__main__":
    absltest.main()
