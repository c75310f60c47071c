"""This test holds the language of the tree: docstrings begin with sentences, and names that were replaced stay away."""

import ast
import functools
import pathlib
import re

from absl.testing import absltest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("cwcf_jax", "experiments", "benchmarks")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FORMER = _words("""
Actor Ahead Asked Buildings Described Entry Extraction Found Gathering Held Here MapRows Opened Options Part Places
Pooled Prepared Recipe Record Rows Runs Searching Settings Source StepSettings Taken Workers ANSWER ENOUGH FEW
LOSSES PATIENCE einsum_of_parts keep_valid looked_at own_row_first seal settings_for share_out
""")
"""The names that those of docs/glossary.md replaced."""

GENERIC = _words("""
asked found given held here one place taken there
""")
"""Words that say nothing about a thing: no identifier is one of these."""

VERBS = _words("""
adds appends applies builds calls checks closes collects compares compiles computes converts copies counts creates
crops cuts decodes defines deflates deletes describes detects distributes divides does downloads draws drops
encodes ends evaluates executes expands explains fills finds fits folds forbids formats frees hides holds
implements imports increments inverts joins kills labels lets limits loads makes maps marks measures merges moves
multiplies normalises notes opens pads paints parses pickles plots pools prepares prints projects puts quantises
raises ranks re-ranks reads records reduces refuses releases removes renders renumbers repeats replaces reserves
resizes restarts returns rounds runs saves says scales scores searches sends serves sets shifts simulates sorts
splits stacks starts stops stores subtracts tells times trains translates transposes turns updates verifies waits
whitens writes yields
""")
"""The verbs that docstrings of functions begin with, in the third person. Add a verb that is missing."""

NOUNS = _words("""
counts labels lists maps marks names notes pools records rounds runs scores sets times
""")
"""Words that are nouns, too: in modules and classes they are verbs only after "This module" or a name."""

FINITE = (VERBS - NOUNS) | _words("""
aggregates answers are arranges can chooses concatenates contains enables estimates has have is lists means must
names protects raised specifies stands was were
""")
"""The verbs of the first sentences of modules and classes."""


@functools.cache
def _trees() -> dict[str, ast.Module]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def _identifiers(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=str(name)) | ast.Attribute(attr=str(name)) | ast.arg(arg=str(name)):
                names.add(name)
            case ast.FunctionDef(name=str(name)) | ast.ClassDef(name=str(name)) | ast.keyword(arg=str(name)):
                names.add(name)
    return names


def _first_sentences(tree: ast.Module):
    """Yields each documented module, class and function with the first sentence of its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield node, re.split(r"(?<=[.:?!])\s", " ".join(text.split()), maxsplit=1)[0]


def _is_sentence(node: ast.AST, sentence: str) -> bool:
    words = re.findall(r"[a-z-]+", sentence.lower())
    if isinstance(node, ast.FunctionDef):
        complete = words[0] in VERBS
    else:
        verb = re.match(r"(?:This \w+|An? `\w+`) ([a-z-]+)", sentence)
        complete = not FINITE.isdisjoint(words) or (verb is not None and verb[1] in NOUNS)
    return complete and not sentence[0].islower() and sentence[-1] in ".:"


class LanguageTest(absltest.TestCase):
    def test_docstrings_begin_with_a_sentence(self):
        faults = [
            f"{path}:{getattr(node, 'lineno', 1)}: {sentence}"
            for path, tree in _trees().items()
            for node, sentence in _first_sentences(tree)
            if not _is_sentence(node, sentence)
        ]
        self.assertEmpty(faults, "\n".join(faults))

    def test_the_check_knows_a_fragment(self):
        function, module = ast.parse("def f(): ...").body[0], ast.parse("")
        for node, sentence, complete in (
            (function, "Returns the rows of the shard.", True),
            (function, "The rows of the shard.", False),
            (function, "returns the rows of the shard.", False),
            (function, "Returns the rows of the shard", False),
            (module, "This module reads shards.", True),
            (module, "A Ray cluster, as its programs see it.", False),
            (module, "The maps of a store.", False),
            (module, "A `WeightLayout` maps arrays to parameters.", True),
        ):
            self.assertEqual(_is_sentence(node, sentence), complete, sentence)

    def test_replaced_and_generic_names_stay_away(self):
        for path, tree in _trees().items():
            self.assertEmpty((FORMER | GENERIC) & _identifiers(tree), path)


if __name__ == "__main__":
    absltest.main()
