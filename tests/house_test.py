"""The house stays as drawn: imports run down only, and importing the library does nothing."""

import ast
import pathlib
import re
import subprocess
import sys
import types

from absl.testing import absltest

ROOT = pathlib.Path(__file__).parent.parent
FLOORS = {
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
    """Every module that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(module):
    """``cwcf_jax.networks.spec`` -> ``networks``; None for other packages, and for cwcf_jax itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "cwcf_jax" and len(parts) > 1 else None


class FloorsTest(absltest.TestCase):
    def test_every_module_has_a_floor(self):
        entries = {path.stem for path in (ROOT / "cwcf_jax").iterdir() if path.suffix == ".py" or path.is_dir()}
        self.assertEqual(entries - {"__init__", "__pycache__", "py"}, FLOORS.keys())

    def test_contributing_has_the_same_floors(self):
        rows = re.findall(r"^\| (\d) \| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        listed = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}
        self.assertEqual(listed, FLOORS)

    def test_imports_run_down(self):
        for file in sorted((ROOT / "cwcf_jax").rglob("*.py")):
            relative = file.relative_to(ROOT / "cwcf_jax")
            own = relative.parts[0].removesuffix(".py")
            for module in _imports(file):
                part = _part(module)
                if own == "__init__" or part == own or part not in FLOORS:
                    continue
                self.assertLess(FLOORS[part], FLOORS[own], f"{relative} imports {module}")

    def test_only_drivers_read_flags_and_nothing_below_imports_them(self):
        for file in sorted((ROOT / "cwcf_jax").rglob("*.py")):
            for module in _imports(file):
                unwanted = ("absl", "experiments", "benchmarks", "tests", "tensorflow")
                self.assertNotIn(module.split(".")[0], unwanted, file)

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
import jax, flax.nnx, jaxtyping, numpy, PIL.Image, PIL.ImageOps  # what they do when imported is theirs
from absl import flags
known = set(flags.FLAGS)
opened = []
def watch(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc", ".so")):
        opened.append(arguments[0])
sys.addaudithook(watch)
import cwcf_jax
opened = list(opened)
from jax._src import xla_bridge
assert not opened, f"opened {opened}"
assert set(flags.FLAGS) == known and not flags.FLAGS.is_parsed(), "touched flags"
assert not xla_bridge.backends_are_initialized(), "touched a device"
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "orbax", "matplotlib")], "heavy import"
"""


class ImportTest(absltest.TestCase):
    def test_importing_does_nothing(self):
        command = [sys.executable, "-B", "-c", IMPORT]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_public_api_is_documented(self):
        import cwcf_jax

        for name in cwcf_jax.__all__:
            if not name.startswith("__"):
                public = getattr(cwcf_jax, name)
                self.assertTrue(public.__doc__, name)
                self.assertFalse(isinstance(public, types.ModuleType), name)

    def test_former_names_stay_with_a_warning(self):
        import cwcf_jax

        for former, name in {
            "Options": "QueryConfig",
            "settings_for": "make_index_config",
            "spread": "replicate",
        }.items():
            with self.assertWarnsRegex(DeprecationWarning, f"cwcf_jax.{former} is deprecated; use cwcf_jax.{name}"):
                self.assertIs(getattr(cwcf_jax, former), getattr(cwcf_jax, name))
            self.assertNotIn(former, cwcf_jax.__all__)

    def test_what_the_pages_show_is_public(self):
        import cwcf_jax

        pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
        shown = {name for block in blocks for name in re.findall(r"\bcwcf_jax\.(\w+)\(", block)}
        for names in (match for block in blocks for match in re.findall(r"^from cwcf_jax import (.*)$", block, re.M)):
            shown |= set(names.split(", ")) - FLOORS.keys()
        self.assertContainsSubset({"load", "encode", "Index"}, shown)
        self.assertContainsSubset(shown, cwcf_jax.__all__)

    def test_rooms_and_names_are_imported_on_their_first_use(self):
        rooms = sorted(FLOORS.keys() - {"__main__"})
        _run(
            f"""
import sys, types
import cwcf_jax
assert [name for name in sys.modules if name.startswith("cwcf_jax.")] == ["cwcf_jax.version"]
for room in {rooms}:
    assert isinstance(getattr(cwcf_jax, room), types.ModuleType), room
assert not hasattr(cwcf_jax, "nothing") and not hasattr(cwcf_jax, "_nothing")
"""
        )

    def test_without_an_extra_the_error_names_it(self):
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
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    absltest.main()
