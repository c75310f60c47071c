"""Tests of the package's layout: modules import only from lower levels, and `import cwcf_jax` has no side effects."""

import ast
import pathlib
import re
import subprocess
import sys
import types

from absl.testing import absltest

ROOT = pathlib.Path(__file__).parent.parent
LEVELS = {
    "version": 0,
    "compilation_cache": 0,
    "arrays": 0,
    "safe_pickle": 0,
    "files": 0,
    "hardware": 0,
    "images": 1,
    "networks": 1,
    "descriptors": 1,
    "datasets": 2,
    "weights": 2,
    "store": 2,
    "encoder": 3,
    "training": 4,
    "extraction": 4,
    "search": 4,
    "baselines": 5,
    "evaluation": 5,
    "index": 6,
    "web": 7,
    "cli": 8,
    "__main__": 9,
}


def _imports(file):
    """Yields all modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _submodule(module):
    """Returns ``networks`` for ``cwcf_jax.networks.spec``; None for other packages, and for cwcf_jax itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "cwcf_jax" and len(parts) > 1 else None


class LevelsTest(absltest.TestCase):
    def test_every_module_has_a_level(self):
        entries = {path.stem for path in (ROOT / "cwcf_jax").iterdir() if path.suffix == ".py" or path.is_dir()}
        self.assertEqual(entries - {"__init__", "__pycache__", "py"}, LEVELS.keys())

    def test_contributing_has_the_same_levels(self):
        rows = re.findall(r"^\| (\d) \| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        documented = {name: int(level) for level, names in rows for name in re.findall(r"`(\w+)`", names)}
        self.assertEqual(documented, LEVELS)

    def test_modules_import_only_from_lower_levels(self):
        for file in sorted((ROOT / "cwcf_jax").rglob("*.py")):
            relative = file.relative_to(ROOT / "cwcf_jax")
            importer = relative.parts[0].removesuffix(".py")
            for module in _imports(file):
                imported = _submodule(module)
                if importer == "__init__" or imported == importer or imported not in LEVELS:
                    continue
                self.assertLess(LEVELS[imported], LEVELS[importer], f"{relative} imports {module}")

    def test_the_library_imports_neither_drivers_nor_their_dependencies(self):
        for file in sorted((ROOT / "cwcf_jax").rglob("*.py")):
            for module in _imports(file):
                forbidden = ("absl", "experiments", "benchmarks", "tests", "tensorflow")
                self.assertNotIn(module.split(".")[0], forbidden, file)

    def test_neither_drivers_nor_benchmarks_import_tests(self):
        for folder in ("benchmarks", "experiments"):
            for file in sorted((ROOT / folder).rglob("*.py")):
                self.assertNotIn("tests", [module.split(".")[0] for module in _imports(file)], file)

    def test_files_stay_small(self):
        for folder in ("cwcf_jax", "experiments"):
            for file in (ROOT / folder).rglob("*.py"):
                self.assertLessEqual(len(file.read_text().splitlines()), 300, file)


IMPORT = """
import sys
import jax, flax.nnx, jaxtyping, numpy, PIL.Image, PIL.ImageOps  # first, because these may have side effects
from absl import flags
flags_before = set(flags.FLAGS)
opened = []
def watch(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so")):
        opened.append(arguments[0])
sys.addaudithook(watch)
import cwcf_jax
opened = list(opened)
from jax._src import xla_bridge
assert not opened, f"opened {opened}"
assert set(flags.FLAGS) == flags_before and not flags.FLAGS.is_parsed(), "touched flags"
assert not xla_bridge.backends_are_initialized(), "touched a device"
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "orbax", "matplotlib")], "heavy import"
"""


class ImportTest(absltest.TestCase):
    def test_the_import_has_no_side_effects(self):
        command = [sys.executable, "-B", "-c", IMPORT]
        completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(completed.returncode, 0, completed.stderr)

    def test_public_api_is_documented(self):
        import cwcf_jax

        for name in cwcf_jax.__all__:
            if not name.startswith("__"):
                public = getattr(cwcf_jax, name)
                self.assertTrue(public.__doc__, name)
                self.assertFalse(isinstance(public, types.ModuleType), name)

    def test_former_names_work_with_a_warning(self):
        import cwcf_jax

        for former, name in {
            "Options": "QueryConfig",
            "settings_for": "make_index_config",
            "spread": "replicate",
        }.items():
            with self.assertWarnsRegex(DeprecationWarning, f"cwcf_jax.{former} is deprecated; use cwcf_jax.{name}"):
                self.assertIs(getattr(cwcf_jax, former), getattr(cwcf_jax, name))
            self.assertNotIn(former, cwcf_jax.__all__)

    def test_names_in_the_documents_are_public(self):
        import cwcf_jax

        pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
        documented = {name for block in blocks for name in re.findall(r"\bcwcf_jax\.(\w+)\(", block)}
        for names in (match for block in blocks for match in re.findall(r"^from cwcf_jax import (.*)$", block, re.M)):
            documented |= set(names.split(", ")) - LEVELS.keys()
        self.assertContainsSubset({"load", "encode", "Index"}, documented)
        self.assertContainsSubset(documented, cwcf_jax.__all__)

    def test_modules_and_names_are_imported_on_their_first_use(self):
        modules = sorted(LEVELS.keys() - {"__main__"})
        _run(
            f"""
import sys, types
import cwcf_jax
assert [name for name in sys.modules if name.startswith("cwcf_jax.")] == ["cwcf_jax.version"]
for module in {modules}:
    assert isinstance(getattr(cwcf_jax, module), types.ModuleType), module
assert not hasattr(cwcf_jax, "nothing") and not hasattr(cwcf_jax, "_nothing")
"""
        )

    def test_the_error_names_a_missing_extra(self):
        for missing, name, extra in (("lancedb", "Index", "index"), ("fastapi", "web", "web")):
            _run(
                f"""
import sys
sys.modules["{missing}"] = None
import cwcf_jax
cwcf_jax.load
try:
    cwcf_jax.{name}
except ImportError as error:
    assert str(error) == "cwcf_jax.{name} needs {missing}: pip install 'cwcf-jax[{extra}]'", error
else:
    raise AssertionError("{name} without {missing}")
"""
            )


def _run(code):
    command = [sys.executable, "-B", "-c", code]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr


if __name__ == "__main__":
    absltest.main()
