import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from absl.testing import absltest, parameterized
from tensorflow_datasets.core import shuffle

from cwcf_jax.datasets import benchmarks
from cwcf_jax.datasets.benchmarks import ExpectedCounts, assembly, builders, prepared
from cwcf_jax.datasets.oxford import read_oxford
from cwcf_jax.images.decoding import read_image
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts
from tests.support import shared

COUNTS = {
    "oxford5k": ExpectedCounts((5,), 2),
    "paris6k": ExpectedCounts((4,), 1),
    "flickr100k": ExpectedCounts((3, 4)),
    "roxford5k": ExpectedCounts((3,), 2),
    "rparis6k": ExpectedCounts((2,), 1),
    "revisitop1m": ExpectedCounts((4,)),
    "instre": ExpectedCounts((2,), 2),
}
RPARIS = {
    "imlist": ["paris_louvre_000003", "paris_eiffel_000001"],
    "qimlist": ["paris_defense_000000"],
    "gnd": [{"bbx": [0, 0, 40, 20], "easy": [0], "hard": [], "junk": [1]}],
}


def write_archives(manual_dir):
    manual_dir.mkdir()
    paris = list(layouts.PARIS.items())
    layouts.write_tar(manual_dir / "oxbuild_images-v1.tgz", layouts.OXFORD, layouts.NEW)
    layouts.write_tar(manual_dir / "gt_files_170407.tgz", layouts.OXFORD_LABELS)
    layouts.write_tar(manual_dir / "paris_1.tgz", dict(paris[:2]))
    layouts.write_tar(manual_dir / "paris_2.tgz", dict(paris[2:]) | layouts.CORRUPT)
    layouts.write_tar(manual_dir / "paris_120310.tgz", layouts.PARIS_LABELS)
    layouts.write_tar(manual_dir / "oxc1_100k.tar", layouts.FLICKR)
    for number, files in enumerate(layouts.MILLION, start=1):
        layouts.write_tar(manual_dir / f"revisitop1m.{number}.tar.gz", files)
    layouts.write_tar(manual_dir / "instre.tar.gz", layouts.INSTRE)
    layouts.write_mat(manual_dir / "gnd_instre.mat", layouts.INSTRE_LISTS)
    (manual_dir / "revisitop1m.txt").write_text(layouts.MILLION_LIST)
    layouts.write_pickle(manual_dir / "gnd_roxford5k.pkl", layouts.REVISITED)
    layouts.write_pickle(manual_dir / "gnd_rparis6k.pkl", RPARIS)


def write_folders(manual_dir):
    """Writes the same data as `write_archives`, as extracted folders."""
    layouts.write_folder(manual_dir / "oxford5k" / "jpg", layouts.OXFORD, layouts.NEW)
    layouts.write_folder(manual_dir / "oxford5k" / "lab", layouts.OXFORD_LABELS)
    layouts.write_folder(manual_dir, layouts.PARIS | layouts.CORRUPT | layouts.FLICKR)
    layouts.write_folder(manual_dir / "paris_120310", layouts.PARIS_LABELS)
    for files in layouts.MILLION:
        layouts.write_folder(manual_dir / "revisitop1m" / "jpg", files)
    layouts.write_folder(manual_dir / "instre", layouts.INSTRE)
    layouts.write_pickle(manual_dir / "instre" / "gnd_instre.pkl", layouts.INSTRE_LISTS)
    (manual_dir / "revisitop1m" / "revisitop1m.txt").write_text(layouts.MILLION_LIST)
    layouts.write_pickle(manual_dir / "roxford5k" / "gnd_roxford5k.pkl", layouts.REVISITED, protocol=4)
    layouts.write_pickle(manual_dir / "rparis6k" / "gnd_rparis6k.pkl", RPARIS, protocol=5)


def contents(paths):
    return [path.open("rb").read() for path in paths]


class LoadCase(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        write_archives(cls.root / "archives")
        write_folders(cls.root / "folders")

    def load(self, name, route="archives", data_dir=None):
        return benchmarks.load(
            name, data_dir=data_dir or self.root / f"from_{route}", manual_dir=self.root / route, counts=COUNTS
        )


class LoadTest(LoadCase):
    @parameterized.parameters(*prepared.PARTS)
    def test_archives_and_folders_make_the_same_dataset(self, name):
        archives, folders = self.load(name), self.load(name, "folders")
        self.assertEqual((archives.name, archives.names), (name, folders.names))
        self.assertEqual(contents(archives.paths), contents(folders.paths))
        self.assertEqual(contents(archives.query_pictures()), contents(folders.query_pictures()))
        fields = [[{**vars(query), "picture": None} for query in dataset.queries] for dataset in (archives, folders)]
        self.assertEqual(*fields)
        self.assertLen(archives, sum(min(COUNTS[part].images) for part in prepared.PARTS[name]))
        self.assertLen(archives.queries, COUNTS[prepared.PARTS[name][0]].queries)

    def test_a_prepared_dataset_needs_no_archives(self):
        expected = self.load("roxford5k")
        reloaded = benchmarks.load(
            "roxford5k", data_dir=self.root / "from_archives", manual_dir=self.root / "none", counts=COUNTS
        )
        self.assertEqual((reloaded.names, reloaded.release), (expected.names, "face-blurred"))
        self.assertEqual(contents(reloaded.query_pictures()), contents(expected.query_pictures()))

    def test_oxford_is_what_read_oxford_reads(self):
        actual, expected = self.load("oxford5k"), read_oxford(self.root / "folders" / "oxford5k")
        self.assertEqual((actual.names, actual.queries), (expected.names, expected.queries))
        self.assertEqual(contents(actual.paths), [path.read_bytes() for path in expected.paths])
        self.assertEqual(str(actual.paths[0]), "oxford5k: all_1")

    def test_records_can_be_read_in_threads(self):
        dataset = self.load("oxford5k")
        with ThreadPoolExecutor(4) as pool:
            pictures = list(pool.map(read_image, dataset.paths * 4))
        for picture, name in zip(pictures, dataset.names * 4, strict=True):
            expected = read_image(self.root / "folders" / "oxford5k" / "jpg" / f"{name}.jpg")
            np.testing.assert_array_equal(picture, expected)

    def test_difficulties(self):
        dataset = self.load("roxford5k")
        first = dataset.queries[0]
        # The order of imlist: oxford_7 hall_3 gate_2.
        self.assertEqual((first.name, first.image, first.box), ("hall_10", None, (1.5, 2.0, 30.0, 19.0)))
        self.assertEqual((first.positives, first.hard, first.junk), ({1, 2}, {2}, frozenset()))
        self.assertEqual(contents(dataset.query_pictures())[0], layouts.OXFORD["hall_10.jpg"])
        for name in ("oxford5k", "instre"):
            self.assertEqual({query.hard for query in self.load(name).queries}, {None})

    @parameterized.parameters(("oxford105k", "oxford5k", "flickr100k"), ("rparis6k+1m", "rparis6k", "revisitop1m"))
    def test_distractors_follow_the_benchmark(self, name, base, distractors):
        dataset, base, distractors = self.load(name), self.load(base), self.load(distractors)
        self.assertEqual(dataset.names, base.names + distractors.names)
        self.assertEqual(contents(dataset.paths), contents(base.paths) + contents(distractors.paths))
        self.assertEqual([vars(query)["positives"] for query in dataset.queries], [q.positives for q in base.queries])
        self.assertEqual(dataset.release, base.release)

    def test_a_distractor_with_the_name_of_a_picture(self):
        dataset = self.load("oxford5k")
        with (
            mock.patch.object(prepared, "open_part", return_value=dataset),
            self.assertRaisesRegex(DatasetError, "^oxford105k: a distractor has the name of a picture: all_1, gate_2"),
        ):
            benchmarks.load("oxford105k")

    @parameterized.parameters(
        ("oxford5k", "archives", "face-blurred"),
        ("oxford105k", "archives", "face-blurred"),
        ("oxford5k", "folders", "unknown"),
        ("paris6k", "archives", "original"),
        ("rparis6k+1m", "folders", "original"),
        ("flickr100k", "archives", ""),
        ("instre", "folders", ""),
    )
    def test_releases(self, name, route, expected):
        self.assertEqual(self.load(name, route).release, expected)

    def test_tfds_reads_the_dataset(self):
        self.load("roxford5k")
        source = tfds.data_source(
            "roxford5k",
            split="images[1:]",
            data_dir=str(self.root / "from_archives"),
            builder_kwargs={"config": builders.config_for(COUNTS["roxford5k"]), "file_format": "array_record"},
            decoders={"image": tfds.decode.SkipDecoding()},
            download=False,
        )
        self.assertEqual([example["name"] for example in source], [b"gate_2", b"oxford_7"])
        self.assertEqual(source[0]["image"], layouts.OXFORD["gate_2.jpg"])

    def test_names(self):
        self.assertEqual(list(benchmarks.NAMES), list(prepared.PARTS))
        self.assertEqual(
            benchmarks.NAMES["oxford105k"],
            "oxford5k with the distractors of flickr100k: 105,133 photographs, 55 queries",  # 5,063 + 100,070
        )
        with self.assertRaisesRegex(ValueError, "unknown dataset oxford6k; known are oxford5k, paris6k, oxford105k, "):
            benchmarks.load("oxford6k")


class PreparationTest(LoadCase):
    def setUp(self):
        super().setUp()
        self.data = layouts.folder_of(self)

    def test_many_shards_keep_the_order(self):
        for per_shard in (1, 2, 3, 5):
            data = self.data / str(per_shard)
            with mock.patch.object(builders, "PICTURES_PER_SHARD", per_shard):
                dataset = self.load("oxford5k", data_dir=data)
            self.assertEqual(contents(dataset.paths), [layouts.OXFORD[f"{name}.jpg"] for name in dataset.names])
            self.assertLen(list(data.rglob("*array_record*")), -(-5 // per_shard))

    def test_tfds_does_not_shuffle_with_tensorflow(self):
        with mock.patch.object(shuffle, "MAX_MEM_BUFFER_SIZE", 0):  # as for a dataset of more than 1 GB
            self.assertLen(self.load("roxford5k", data_dir=self.data), 3)

    def test_only_files_of_tfds_are_written(self):
        self.load("paris6k", data_dir=self.data)
        files = {path.name for path in self.data.rglob("*") if path.is_file()}
        self.assertEqual(
            files,
            {"metadata.json", "dataset_info.json", "features.json", "paris6k-images.array_record-00000-of-00001"},
        )
        self.assertEqual(list(self.data.rglob("*.jpg")), [])

    @parameterized.parameters(KeyboardInterrupt, DatasetError)
    def test_an_interrupted_preparation_starts_again(self, kind):
        read = assembly.read_files

        def interrupted(path):
            for number, file in enumerate(read(path)):
                if number == 3:
                    raise kind("stop")
                yield file

        leftover = self.data / "oxford5k" / "5_images_2_queries" / "incomplete.ABCDEF_1.0.0"  # left by a killed process
        leftover.mkdir(parents=True)
        with (
            mock.patch.object(builders, "PICTURES_PER_SHARD", 2),
            mock.patch.object(assembly, "read_files", interrupted),
            self.assertRaisesRegex(kind, "stop"),
        ):
            self.load("oxford5k", data_dir=self.data)
        self.assertEqual(list(leftover.parent.iterdir()), [leftover])
        self.assertLen(self.load("oxford5k", data_dir=self.data), 5)

    def test_wrong_counts_prepare_nothing(self):
        manual_dir = self.root / "archives"
        with self.assertRaisesRegex(DatasetError, "2 queries of oxford5k instead of 55"):
            benchmarks.load("oxford5k", data_dir=self.data, manual_dir=manual_dir)
        with self.assertRaisesRegex(DatasetError, "oxbuild_images-v1.tgz: 5 pictures of oxford5k instead of 6"):
            benchmarks.load(
                "oxford5k", data_dir=self.data, manual_dir=manual_dir, counts={"oxford5k": ExpectedCounts((6,), 2)}
            )
        self.assertEmpty(list(self.data.rglob("*array_record*")))

    def test_the_manual_folder(self):
        with self.assertRaisesRegex(DatasetError, f"Manual directory {self.data}/downloads/manual does not exist"):
            benchmarks.load("oxford5k", data_dir=self.data)
        (self.data / "downloads").mkdir(exist_ok=True)
        (self.data / "downloads" / "manual").symlink_to(self.root / "archives")
        self.assertLen(benchmarks.load("oxford5k", data_dir=str(self.data), counts=COUNTS), 5)

    def test_metadata_that_does_not_fit_the_records(self):
        self.load("oxford5k", data_dir=self.data)
        (path,) = (self.data / "oxford5k" / "5_images_2_queries").rglob("metadata.json")
        path.write_text(path.read_text().replace('["hall_3", ', "["))
        with self.assertRaisesRegex(DatasetError, "metadata.json does not fit its records; remove the folder"):
            self.load("oxford5k", data_dir=self.data)


IMPORT_PROGRAM = """
import sys
import cwcf_jax, cwcf_jax.datasets.benchmarks
heavy = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "array_record")]
assert not heavy, heavy
"""


class ImportTest(absltest.TestCase):
    def test_without_tensorflow(self):
        self.assertNotIn("tensorflow", sys.modules)

    def test_import_loads_no_tfds(self):
        process = subprocess.run(
            [sys.executable, "-c", IMPORT_PROGRAM], cwd=shared.ROOT, capture_output=True, text=True, check=False
        )
        self.assertEqual(process.returncode, 0, process.stderr)


if __name__ == "__main__":
    absltest.main()
