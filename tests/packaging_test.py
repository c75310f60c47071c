"""What pyproject.toml and CHANGELOG.md promise fits the code."""

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
    "images": ["index"],  # object stores, imported by who has an address
    "index": ["index", "ray", "postgres"],
    "training": ["training"],
    "weights": ["weights"],
    "web": ["web"],
}
"""Rooms whose dependencies are in extras; all others need no more than the core."""

OPTIONAL = {"faiss"}
"""`cwcf export` writes an index of it where it is installed, and says so where it is not."""


def declared(requirements):
    """Names of distributions, those of the project's own extras included."""
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from declared(PROJECT["optional-dependencies"][extra])
        else:
            yield requirement.name.lower().replace("_", "-")


def foreign(file):
    """The top-level names of the packages of others that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in {module.split(".")[0] for module in modules}:
            if name not in sys.stdlib_module_names and name not in ("benchmarks", "cwcf_jax", "experiments", "tests"):
                yield name


class DependenciesTest(absltest.TestCase):
    def check(self, folder, requirements, optional):
        allowed, owners = set(declared(requirements)), importlib.metadata.packages_distributions()
        for file in sorted(folder.rglob("*.py") if folder.is_dir() else [folder]):
            for name in set(foreign(file)) - optional:
                distributions = {owner.lower().replace("_", "-") for owner in owners.get(name, [name])}
                self.assertTrue(distributions & allowed, f"{file} imports {name}, which its extra does not declare")

    def test_every_room_declares_what_it_imports(self):
        for room in sorted((shared.ROOT / "cwcf_jax").iterdir()):
            extras = [f"{PROJECT['name']}[{extra}]" for extra in EXTRAS.get(room.name, ())]
            self.check(room, [*PROJECT["dependencies"], *extras], OPTIONAL if room.name == "cli" else set())

    def test_the_repository_declares_what_it_imports(self):
        for folder in ("experiments", "benchmarks"):
            optional = {"torch"} if folder == "benchmarks" else set()  # see CONTRIBUTING.md
            self.check(shared.ROOT / folder, [*PROJECT["dependencies"], f"{PROJECT['name']}[{folder}]"], optional)

    def test_extras_that_are_named_exist(self):
        pages = [*shared.ROOT.glob("*.md"), *(shared.ROOT / "docs").glob("*.md"), shared.ROOT / ".ci" / "run"]
        for file in (*pages, *(shared.ROOT / "cwcf_jax").rglob("*.py")):
            for extras in re.findall(r"(?:cwcf-jax|WHEEL|'\.)\[([\w,]+)\]", file.read_text()):
                self.assertLessEqual(set(extras.split(",")), PROJECT["optional-dependencies"].keys(), file)


class VersionTest(absltest.TestCase):
    def test_changelog_begins_with_this_version(self):
        versions = re.findall(r"^## \[?([^\] ]+)", (shared.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        released = [version for version in versions if version != "Unreleased"]
        self.assertEqual(released[0], __version__)

    def test_tag_is_this_version(self):
        command = ["git", "tag", "--points-at", "HEAD"]
        done = subprocess.run(command, cwd=shared.ROOT, capture_output=True, text=True, check=False)
        for tag in done.stdout.split():  # none between versions, and none in a copy that is no git checkout
            self.assertEqual(tag, f"v{__version__}")


if __name__ == "__main__":
    absltest.main()
