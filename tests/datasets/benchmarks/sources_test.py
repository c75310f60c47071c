import pathlib

from absl.testing import absltest, parameterized

from cwcf_jax.datasets.benchmarks import sources
from cwcf_jax.datasets.benchmarks.sources import detect_release, locate
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts

OLD, NEW = layouts.OLD, layouts.NEW


class LocateTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = layouts.folder_of(self)

    def touch(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def locate_names(self, source):
        return [path.relative_to(self.folder).as_posix() for path in locate(self.folder, source)]

    @parameterized.parameters(".tgz", ".tar.gz", ".tar", ".zip")
    def test_any_archive_suffix(self, suffix):
        self.touch(f"oxbuild_images{suffix}")
        self.assertEqual(self.locate_names(sources.OXFORD_PICTURES), [f"oxbuild_images{suffix}"])

    def test_an_archive_before_a_folder_and_the_original_before_the_blurred(self):
        self.touch("oxford5k/jpg/a.jpg")
        self.assertEqual(self.locate_names(sources.OXFORD_PICTURES), ["oxford5k/jpg"])
        self.touch("oxbuild_images-v1.tgz")
        self.assertEqual(self.locate_names(sources.OXFORD_PICTURES), ["oxbuild_images-v1.tgz"])
        self.touch("oxbuild_images/a.jpg")
        self.assertEqual(self.locate_names(sources.OXFORD_PICTURES), ["oxbuild_images"])
        self.touch("oxbuild_images.tgz")
        self.assertEqual(self.locate_names(sources.OXFORD_PICTURES), ["oxbuild_images.tgz"])

    def test_releases_do_not_mix(self):
        self.touch("paris_1.tgz", "paris_2-v1.tgz")
        with self.assertRaisesRegex(DatasetError, "as paris_1 and paris_2 or paris_1-v1 and paris_2-v1 or paris or"):
            locate(self.folder, sources.PARIS_PICTURES)
        self.touch("paris_1-v1.tgz")
        self.assertEqual(self.locate_names(sources.PARIS_PICTURES), ["paris_1-v1.tgz", "paris_2-v1.tgz"])

    def test_a_source_in_many_archives(self):
        self.touch("revisitop1m.txt", "revisitop1m.1.tar.gz", "revisitop1m.2.tar.gz", "revisitop1m/jpg/a.jpg")
        self.assertEqual(self.locate_names(sources.MILLION_PICTURES), ["revisitop1m.1.tar.gz", "revisitop1m.2.tar.gz"])
        self.assertEqual(self.locate_names(sources.MILLION_LIST), ["revisitop1m.txt"])

    def test_rar_archives_are_not_read(self):
        self.touch("oxc1_100k.part01.rar")
        with self.assertRaisesRegex(DatasetError, "unrar x oxc1_100k.part01.rar makes the folder"):
            locate(self.folder, sources.FLICKR_PICTURES)

    def test_missing_source(self):
        with self.assertRaises(DatasetError) as context:
            locate(self.folder, sources.ROXFORD_LISTS)
        self.assertEqual(
            str(context.exception),
            f"{self.folder}: the ground truth gnd_roxford5k.pkl is missing; get it from "
            "http://cmp.felk.cvut.cz/revisitop (data/datasets/roxford5k) and put it into this folder as "
            "gnd_roxford5k.pkl or roxford5k/gnd_roxford5k.pkl, an archive of that name (.tgz, .tar.gz, .tar, .zip) or "
            "a folder (the photographs are those of Oxford5k)",
        )


class DetectReleaseTest(parameterized.TestCase):
    @parameterized.parameters(
        # The withdrawn archives have files of 2007; the release of 2022 is called -v1.
        (("oxbuild_images.tgz",), (OLD, OLD), "original"),
        (("paris_1.tgz", "paris_2.tar"), (OLD, OLD + 1), "original"),
        (("oxbuild_images-v1.tgz",), (NEW, NEW), "face-blurred"),
        (("oxbuild_images-v1",), (OLD, OLD), "face-blurred"),
        (("paris_1-v1.tgz", "paris_2-v1.tgz"), (OLD, NEW), "face-blurred"),
        # The old name says nothing about files that were written after the blurring.
        (("oxbuild_images.tgz",), (OLD, NEW), "unknown"),
        (("oxford5k/jpg",), (NEW, NEW), "unknown"),
        (("oxford5k/jpg",), (OLD, OLD), "original"),
        # Dates that were never set are 1970 in tar archives and 1980 in zip archives.
        (("oxbuild_images.tgz",), (0.0, 0.0), "unknown"),
        (("oxbuild_images.zip",), (315_532_800.0, OLD), "unknown"),
        (("paris_1.tgz", "paris_2-v1.tgz"), (NEW, NEW), "unknown"),
    )
    def test_detect_release(self, names, dates, expected):
        self.assertEqual(detect_release([pathlib.Path(name) for name in names], dates), expected)


if __name__ == "__main__":
    absltest.main()
