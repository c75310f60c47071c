import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from cwcf_jax.datasets.labelled import check_readable, read_labelled, split_by_name
from cwcf_jax.images.decoding import ImageError
from cwcf_jax.images.imagesets import DatasetError
from tests.support import shared


def write_picture(path, grey=100, side=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (grey, grey, grey)).save(path)
    return path


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "things"
        for name, grey in (("red_bus/b.png", 20), ("red_bus/sub/a.png", 30), ("cat/x.jpg", 40), ("cat/.y.jpg", 50)):
            write_picture(self.folder / name, grey)
        write_picture(self.folder / ".hidden" / "z.png")
        (self.folder / "cat" / "notes.txt").write_text("no picture")

    def test_one_folder_per_class(self):
        images = read_labelled(self.folder)
        self.assertEqual(images.name, "things")
        self.assertEqual(images.class_names, ("cat", "red bus"))
        self.assertEqual(images.names, ("cat/x.jpg", "red_bus/b.png", "red_bus/sub/a.png"))
        self.assertEqual(images.labels, (0, 1, 1))
        self.assertEqual([(int(image[0, 0, 0]), label) for image, label in images], [(40, 0), (20, 1), (30, 1)])
        self.assertEqual(images.counts(), {0: 1, 1: 2})

    def test_select_and_relabel(self):
        images = read_labelled(self.folder).select([2, 0]).select([1, 0]).relabel(("bus", "cat"), {0: 1, 1: 0})
        self.assertEqual(images.names, ("cat/x.jpg", "red_bus/sub/a.png"))
        self.assertEqual([(int(image[0, 0, 0]), label) for image, label in images], [(40, 1), (30, 0)])
        self.assertEqual(images.labels, (1, 0))

    def test_the_fingerprint_sees_names_labels_and_sizes(self):
        original = read_labelled(self.folder).fingerprint()
        self.assertEqual(read_labelled(self.folder).fingerprint(), original)
        fingerprints = {original, read_labelled(self.folder).select([0, 1]).fingerprint()}
        write_picture(self.folder / "cat" / "x.jpg", side=9)
        fingerprints.add(read_labelled(self.folder).fingerprint())
        (self.folder / "cat").rename(self.folder / "dog")
        fingerprints.add(read_labelled(self.folder).fingerprint())
        self.assertLen(fingerprints, 4)

    def test_unreadable_pictures_are_left_out_and_named(self):
        (self.folder / "red_bus" / "b.png").write_bytes(b"no picture")
        images = read_labelled(self.folder)
        with self.assertRaisesRegex(ImageError, "red_bus/b.png"):
            images[1]
        readable, reasons = check_readable(images, workers=2)
        self.assertEqual(readable.names, ("cat/x.jpg", "red_bus/sub/a.png"))
        self.assertLen(reasons, 1)
        self.assertIn("red_bus/b.png: cannot be read as a picture", reasons[0])
        with self.assertRaisesRegex(DatasetError, "not one of 1 pictures can be read.*red_bus/b.png"):
            check_readable(images.select([1]), workers=1)

    def test_invalid_folders(self):
        with self.assertRaisesRegex(DatasetError, "nowhere: no such folder"):
            read_labelled(self.folder / "nowhere")
        with self.assertRaisesRegex(DatasetError, "sub: neither labels.csv nor a sub-folder"):
            read_labelled(self.folder / "red_bus" / "sub")
        (self.folder / "empty").mkdir()
        with self.assertRaisesRegex(DatasetError, "empty: this folder of a class has no pictures"):
            read_labelled(self.folder)
        (self.folder / "empty").rmdir()
        write_picture(self.folder / "red bus" / "c.png")
        with self.assertRaisesRegex(DatasetError, "two sub-folders mean the same class"):
            read_labelled(self.folder)


class SplitTest(absltest.TestCase):
    def test_the_split_depends_on_names_alone(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for i in range(60):
            write_picture(folder / ("a" if i % 2 else "b") / f"{i}.png", side=1)
        images = read_labelled(folder)
        train, held_out = split_by_name(images, 0.25)
        self.assertEqual(sorted(train.names + held_out.names), sorted(images.names))
        self.assertBetween(len(held_out), 6, 26)
        fewer = images.select(range(0, 60, 3))
        self.assertEqual(set(split_by_name(fewer, 0.25)[1].names), set(held_out.names) & set(fewer.names))
        self.assertLessEqual(set(held_out.names), set(split_by_name(images, 0.5)[1].names))
        with self.assertRaisesRegex(DatasetError, "a share of 1e-06 leaves 60 pictures and holds out 0"):
            split_by_name(images, 1e-6)


class ListingTest(parameterized.TestCase):
    def listing(self, text):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for name in ("a.png", "b.png"):
            write_picture(folder / "jpg" / name)
        (folder / "labels.csv").write_text(text)
        return folder

    def test_labels_are_indices(self):
        images = read_labelled(self.listing("file,index,name\nb.png,7,seven\na.png,3,three\n"))
        self.assertEqual(images.class_names, ())
        self.assertEqual((images.names, images.labels), (("jpg/b.png", "jpg/a.png"), (7, 3)))

    @parameterized.parameters(
        ("file,label\na.png,1\n", r"labels.csv:1: no column index; it needs file, index"),
        ("", r"labels.csv:1: no column file nor index"),
        ("file,index\n", r"labels.csv: no pictures are listed"),
        ("file,index\na.png,1\nz.png,1\n", r"labels.csv:3: .*jpg/z.png does not exist"),
        ("file,index\na.png,1\na.png,2\n", r"labels.csv:3: a.png is listed twice"),
        ("file,index\na.png,-1\n", r"labels.csv:2: '-1' is not the index of a class"),
        ("file,index\na.png,1.0\n", r"labels.csv:2: '1.0' is not the index"),
        ("file,index\na.png\n", r"labels.csv:2: '' is not the index"),
    )
    def test_invalid_listings(self, text, message):
        with self.assertRaisesRegex(DatasetError, message):
            read_labelled(self.listing(text))

    def test_real_pictures(self):
        images = read_labelled(shared.require("data/imagenet_cls_dev"))
        self.assertLen(images, 250)
        self.assertEqual((images.names[1], images[1][1]), ("jpg/0004_n01494475.jpg", 4))
        self.assertEqual(images[1][0].dtype, np.uint8)


TFDS_PROGRAM = """
import io
import sys
import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

class Dots(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    CHANNELS, LABELLED = 3, True
    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, self.CHANNELS))}
        if self.LABELLED:
            features["label"] = tfds.features.ClassLabel(names=["black_dot", "white_dot"])
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(4)}
    def _generate_examples(self, count):
        for i in range(count):
            stream = io.BytesIO()  # an array would need tensorflow to become a PNG
            Image.new("RGB" if self.CHANNELS == 3 else "L", (7, 5), (10 * i,) * self.CHANNELS).save(stream, "PNG")
            example = {"image": io.BytesIO(stream.getvalue())}
            yield i, example | ({"label": i % 2} if self.LABELLED else {})

class GreyDots(Dots):
    CHANNELS = 1

class UnlabelledDots(Dots):
    LABELLED = False

for kind in (Dots, GreyDots, UnlabelledDots):
    kind(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()

from cwcf_jax.datasets.labelled import read_labelled
assert len(read_labelled("tfds:dots", data_dir=sys.argv[1])) == 6
assert "tensorflow" not in sys.modules
"""


class TfdsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        process = subprocess.run(
            [sys.executable, "-c", TFDS_PROGRAM, folder], capture_output=True, text=True, check=False, cwd=shared.ROOT
        )
        assert process.returncode == 0, process.stderr
        cls.folder = folder

    def test_datasets_of_another_process_are_read_without_tensorflow(self):
        images = read_labelled("tfds:dots", data_dir=self.folder)
        self.assertEqual((images.name, images.class_names), ("tfds:dots:train", ("black dot", "white dot")))
        self.assertEqual((len(images), images.labels), (6, ()))
        for i, (image, label) in enumerate(images):
            self.assertEqual((image.shape, image.dtype, label), ((5, 7, 3), np.uint8, i % 2))
            np.testing.assert_array_equal(image, 10 * i)
        self.assertNotIn("tensorflow", sys.modules)

    def test_splits_shares_and_grey_pictures(self):
        images = read_labelled("tfds:dots", data_dir=self.folder)
        self.assertLen(read_labelled("tfds:dots:test[:75%]", data_dir=self.folder), 3)
        self.assertNotEqual(images.fingerprint(), read_labelled("tfds:dots:test", data_dir=self.folder).fingerprint())
        train, held_out = split_by_name(images, 0.5)
        self.assertEqual(sorted(train.names + held_out.names), sorted(images.names))
        np.testing.assert_array_equal(read_labelled("tfds:grey_dots", data_dir=self.folder)[5][0], 50)

    @parameterized.parameters(
        ("tfds:no_such_dots", "tfds:no_such_dots: cannot be opened .DatasetNotFoundError"),
        ("tfds:dots:nonsense", "tfds:dots:nonsense: cannot be opened "),
        ("tfds:unlabelled_dots", "tfds:unlabelled_dots: needs the features image and label .a ClassLabel., has image"),
        ("tfds:mnist", "tfds:mnist: not prepared in .* prepare it with file_format=array_record"),
    )
    def test_invalid_names(self, name, message):
        with self.assertRaisesRegex(DatasetError, message):
            read_labelled(name, data_dir=self.folder)


if __name__ == "__main__":
    absltest.main()
