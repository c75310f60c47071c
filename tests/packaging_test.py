"""Tests that pyproject.toml and CHANGELOG.md agree with the code: dependencies, extras and the version."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib

from absl.testing import absltest
from packaging.requirements import Requirement

from cwcf_jax.version import __version__
from tests.support import shared

PROJECT = tomllib.loads((shared.ROOT / "pyproject.toml").read_text())["project"]

EXTRAS = {
    "cli": ["index"],
    "datasets": ["datasets"],
    "extraction": ["ray"],
    "images": ["index"],  # for object stores only, which are imported on use
    "index": ["index", "ray", "postgres"],
    "training": ["training"],
    "weights": ["weights"],
    "web": ["web"],
}
"""The extras with the dependencies of each subpackage; all other subpackages need only the core dependencies."""

OPTIONAL = {"faiss"}
"""Packages that no extra declares; `cwcf export` reports if faiss is missing."""


def declared(requirements):
    """Yields the names of distributions, and resolves the project's own extras."""
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from declared(PROJECT["optional-dependencies"][extra])
        else:
            yield requirement.name.lower().replace("_", "-")


def third_party(file):
    """Yields the top-level names of third-party packages that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in {module.split(".")[0] for module in modules}:
            if name not in sys.stdlib_module_names and name not in ("benchmarks", "cwcf_jax", "experiments", "tests"):
                yield name


class DependenciesTest(absltest.TestCase):
    def check(self, folder, requirements, optional):
        allowed, distributions_of = set(declared(requirements)), importlib.metadata.packages_distributions()
        for file in sorted(folder.rglob("*.py") if folder.is_dir() else [folder]):
            for name in set(third_party(file)) - optional:
                distributions = {dist.lower().replace("_", "-") for dist in distributions_of.get(name, [name])}
                self.assertTrue(distributions & allowed, f"{file} imports {name}, which its extra does not declare")

    def test_imports_of_subpackages_are_declared(self):
        for path in sorted((shared.ROOT / "cwcf_jax").iterdir()):
            extras = [f"{PROJECT['name']}[{extra}]" for extra in EXTRAS.get(path.name, ())]
            self.check(path, [*PROJECT["dependencies"], *extras], OPTIONAL if path.name == "cli" else set())

    def test_imports_of_drivers_and_benchmarks_are_declared(self):
        for folder in ("experiments", "benchmarks"):
            optional = {"torch"} if folder == "benchmarks" else set()  # see CONTRIBUTING.md
            self.check(shared.ROOT / folder, [*PROJECT["dependencies"], f"{PROJECT['name']}[{folder}]"], optional)

    def test_extras_in_documents_and_messages_exist(self):
        pages = [*shared.ROOT.glob("*.md"), *(shared.ROOT / "docs").glob("*.md"), shared.ROOT / ".ci" / "run"]
        for file in (*pages, *(shared.ROOT / "cwcf_jax").rglob("*.py")):
            for extras in re.findall(r"(?:cwcf-jax|WHEEL|'\.)\[([\w,]+)\]", file.read_text()):
                self.assertLessEqual(set(extras.split(",")), PROJECT["optional-dependencies"].keys(), file)


class VersionTest(absltest.TestCase):
    def test_the_first_release_in_the_changelog_is_this_version(self):
        versions = re.findall(r"^## \[?([^\] ]+)", (shared.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        released = [version for version in versions if version != "Unreleased"]
        self.assertEqual(released[0], __version__)

    def test_a_tag_is_this_version(self):
        command = ["git", "tag", "--points-at", "HEAD"]
        completed = subprocess.run(command, cwd=shared.ROOT, capture_output=True, text=True, check=False)
        for tag in completed.stdout.split():  # no tags between versions, or outside a git checkout
            self.assertEqual(tag, f"v{__version__}")


if __name__ == "__main__":
    absltest.main()
