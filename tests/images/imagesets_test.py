"""This test reads the pictures of datasets, and takes small benchmarks from a hand-made one."""

import dataclasses
import io
import pathlib

import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cwcf_jax.images.decoding import ImageError, Resize, load_image, read_image, read_size
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetPicture, ImageSet


def encoded(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class RecordTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
        self.source = [{"image": encoded(pixels)} for pixels in self.pixels] + [{"image": b"no picture"}]

    def record(self, index):
        return DatasetPicture(self.source, index, f"shard 3: picture {index}")

    def test_opens_like_a_path(self):
        with self.record(1).open("rb") as file:
            self.assertEqual(file.read(), encoded(self.pixels[1]))
        for mode in ("r", "wb", ""):
            with self.assertRaisesWithLiteralMatch(ValueError, f"a record is opened with 'rb', not {mode!r}"):
                self.record(1).open(mode)

    def test_is_read_as_a_picture(self):
        for index in (0, 1):
            np.testing.assert_array_equal(read_image(self.record(index)), self.pixels[index])
            self.assertEqual(read_size(self.record(index)), (5, 7))
        actual, original = load_image(self.record(1), Resize(), (1.0, 2.0, 4.0, 5.0))
        np.testing.assert_array_equal(actual, self.pixels[1, 2:5, 1:4])
        self.assertEqual(original, (3, 3))

    def test_only_on_demand(self):
        record = self.record(1)
        self.source[1] = {"image": encoded(self.pixels[0])}
        np.testing.assert_array_equal(read_image(record), self.pixels[0])

    def test_messages_call_it_by_its_name(self):
        self.assertEqual(str(self.record(2)), "shard 3: picture 2")
        for function in (read_image, read_size):
            with self.assertRaises(ImageError) as caught:
                function(self.record(2))
            self.assertStartsWith(str(caught.exception), "shard 3: picture 2: cannot be read as a picture")


def _image_set(queries, images=20):
    names = tuple(f"picture {i}" for i in range(images))
    return ImageSet("toy", names, tuple(pathlib.Path(f"{i}.jpg") for i in range(images)), queries, "original")


def _query(name, image, positives, junk=(), **options):
    return BenchmarkQuery(name, image, (1.0, 2.0, 3.0, 4.0), frozenset(positives), frozenset(junk), **options)


class ImageSetTest(absltest.TestCase):
    def test_query_pictures(self):
        own = pathlib.Path("elsewhere.png")
        images = _image_set((_query("a", 7, {1}), _query("b", None, {2}, picture=own), _query("c", 0, {2})))
        self.assertEqual(images.query_pictures(), [pathlib.Path("7.jpg"), own, pathlib.Path("0.jpg")])
        with self.assertRaisesRegex(ValueError, "query d has neither an image nor a picture of its own"):
            _image_set((_query("d", None, {1}),)).query_pictures()

    def test_revisited(self):
        self.assertFalse(_image_set(()).revisited)
        self.assertFalse(_image_set((_query("a", 1, {2}),)).revisited)
        self.assertTrue(_image_set((_query("a", 1, {2}, hard=frozenset()),)).revisited)

    def test_length(self):
        self.assertLen(_image_set((), 20), 20)


class SubsetTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.images = _image_set(
            (
                _query("a", 5, {5, 9, 3, 12}, {14, 13, 11}, hard=frozenset({3, 12})),
                _query("b", None, {2}, hard=frozenset(), picture=pathlib.Path("elsewhere.png")),
                _query("c", 19, {18}, hard=frozenset({18})),
            )
        )

    def test_hand_worked(self):
        # Query a keeps its picture 5, the positives 3 and 5, and the junk 11 and 13; query b keeps the positive 2. The
        # first images without a judgement are 0 and 1.
        actual = self.images.subset(queries=2, positives=2, others=2)
        rows = [0, 1, 2, 3, 5, 11, 13]
        self.assertEqual(actual.names, tuple(f"picture {row}" for row in rows))
        self.assertEqual(actual.paths, tuple(pathlib.Path(f"{row}.jpg") for row in rows))
        first, second = actual.queries
        self.assertEqual((first.image, first.positives, first.junk), (4, {3, 4}, {5, 6}))
        self.assertEqual(first.hard, {3})
        self.assertEqual((second.image, second.positives, second.junk, second.hard), (None, {2}, frozenset(), set()))
        self.assertEqual((actual.name, actual.release), ("toy", "original"))
        self.assertEqual(actual.query_pictures(), [pathlib.Path("5.jpg"), pathlib.Path("elsewhere.png")])

    def test_larger_numbers_than_there_are(self):
        actual = self.images.subset(queries=99, positives=99, others=99)
        kept = [row for row in range(20) if row != 14]  # the third junk picture of query a
        self.assertEqual(actual.names, tuple(f"picture {row}" for row in kept))
        self.assertEqual([query.name for query in actual.queries], ["a", "b", "c"])

    def test_without_hard_ones(self):
        queries = tuple(dataclasses.replace(query, hard=None) for query in self.images.queries)
        actual = dataclasses.replace(self.images, queries=queries).subset(queries=2, positives=1, others=0)
        self.assertFalse(actual.revisited)
        self.assertEqual(actual.names, tuple(f"picture {row}" for row in (2, 3, 5, 11, 13)))

    @settings(deadline=None, max_examples=80)
    @given(st.data())
    def test_any_subset_is_a_valid_benchmark(self, data):
        rows = st.integers(0, 19)
        queries = []
        for i in range(data.draw(st.integers(1, 4))):
            positives = data.draw(st.frozensets(rows, min_size=1, max_size=6))
            junk = data.draw(st.frozensets(rows, max_size=6)) - positives
            image = data.draw(st.none() | rows)
            hard = data.draw(st.none() | st.frozensets(st.sampled_from(sorted(positives))))
            picture = pathlib.Path("own.png") if image is None else None
            queries.append(_query(f"q{i}", image, positives, junk, hard=hard, picture=picture))
        images = _image_set(tuple(queries))
        count, others = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 6))
        max_positives = data.draw(st.integers(1, 4))
        actual = images.subset(queries=count, positives=max_positives, others=others)

        self.assertLen(set(actual.names), len(actual))
        self.assertEqual(actual.names, tuple(sorted(actual.names, key=images.names.index)))  # the order is kept
        self.assertEqual([images.names.index(name) for name in actual.names], [int(path.stem) for path in actual.paths])
        self.assertEqual(actual.query_pictures(), images.query_pictures()[:count])
        for new, old in zip(actual.queries, queries, strict=False):
            self.assertEqual((new.name, new.box, new.picture), (old.name, old.box, old.picture))
            self.assertNotEmpty(new.positives)
            self.assertFalse(new.positives & new.junk)
            for kept, original in ((new.positives, old.positives), (new.junk, old.junk), (new.hard, old.hard)):
                if original is None:
                    self.assertIsNone(kept)
                    continue
                names = {f"picture {row}" for row in original}
                self.assertEqual({actual.names[row] for row in kept}, names & set(actual.names))


if __name__ == "__main__":
    absltest.main()
