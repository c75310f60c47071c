import dataclasses
import html.parser
import json
import pathlib

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cwcf_jax.evaluation import protocol
from experiments import report
from tests.experiments import drivers

HOSTILE = "</td></style><script>alert('x')</script><img src=http://a.example/x onerror=\"y\"> & é 建筑 \ud800"
VOID = ("meta", "img")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CONTENT = {
    "experiment": "table1a",
    "title": "Table 1a on oxford5k",
    "time": "2025-11-24T21:00:00+00:00",
    "command": "python -m experiments.table1a",
    "commit": "0123456789abcdef-dirty",
    "network": "vgg16_cam",
    "feature_layer": "conv5_1",
    "weights_sha256": "ab12",
    "protocol": dataclasses.asdict(protocol.PAPER) | {"resize": "none"},
    "data": [{"name": "oxford5k", "images": 5063, "queries": 55, "sha256": "cd34"}, {"name": "paris6k"}],
    "hardware": {"platform": "cpu", "cores": 2},
    "packages": {"jax": "0.10.2"},
    "timings_s": {"all": 12.3456},
    "left_out": ["jpg/broken.jpg: no picture"],
    "notes": ["a note"],
    "rows": [
        {"method": "Raw", "nc": None, "npca": None, "qe": 0, "rerank": 0, "map": 0.41, "per_query": {}, "paper": 0.396},
        {"method": "OnA", "nc": 64, "npca": 1, "qe": 10, "rerank": 100, "map": 0.75, "low": 0.7, "high": 0.8,
         "per_query": {"a": 0.75}, "paper": 0.78, "metrics": {"recall@10": 0.6543}},
        {"method": "SPoC", "map": 0.5, "unknown": [1]},
    ],
    "tables": [{"title": "ready", "columns": ["place", "name"], "rows": [[1, "vault"], [2, None], [3, 0.25]]}],
    "surplus": {"is": "ignored"},
}  # fmt: skip


class Page(html.parser.HTMLParser):
    """A `Page` parses a page: tags with attributes, and tables as text; it asserts that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def attributes_of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


class ReportTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def put(self, name="one", **changes):
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(CONTENT | changes))
        return folder

    def page(self):
        """Writes the page, checks what holds for every page, and returns the page and the problems."""
        problems = report.write(self.folder, self.folder / "page" / "report.html")
        text = (self.folder / "page" / "report.html").read_text()
        page = Page(text)
        names = {name for name, _ in page.tags}
        self.assertEmpty(names & {"script", "link", "iframe", "object", "base", "form", "svg"})
        for tag, attributes in page.tags:
            self.assertNoCommonElements(attributes, ("onerror", "onload", "onclick", "style", "srcset"), tag)
            self.assertStartsWith(attributes.get("href", "#run"), "#run")
            self.assertStartsWith(attributes.get("src", "data:image/"), "data:image/")
        self.assertNotIn("url(", text)
        self.assertTrue(all(image["alt"] for image in page.attributes_of("img")))
        section_ids = [section["id"] for section in page.attributes_of("section")]
        self.assertCountEqual(
            [link["href"] for link in page.attributes_of("a")], [f"#{section_id}" for section_id in section_ids]
        )
        self.assertLen(set(section_ids), len(section_ids))
        self.assertLen(page.attributes_of("caption"), len(page.tables))
        return page, problems

    def test_overview(self):
        self.put()
        page, problems = self.page()
        self.assertEqual(problems, [])
        head, line = page.tables[0]
        self.assertEqual(
            dict(zip(head, line, strict=True)),
            {
                "experiment": "Table 1a", "data": "oxford5k", "network": "vgg16_cam",
                "protocol": "paper + 1 changed", "best row": "OnA, N_C 64, N_pca 1, R 100, QE 10", "mAP": "0.7500",
                "95 %": "0.700 to 0.800", "paper": "0.780", "difference": "-0.030", "when": "2025-11-24 21:00",
                "commit": "0123456-dirty",
            },
        )  # fmt: skip

    def test_tables(self):
        self.put()
        compared, ready, everything = self.page()[0].tables[1:]
        self.assertEqual([line[0] for line in compared[1:]], ["Raw", "OnA"])
        self.assertEqual(compared[1][-4:], ["0.4100", "", "0.396", "+0.014"])
        self.assertEqual(compared[2][-4:], ["0.7500", "0.700 to 0.800", "0.780", "-0.030"])
        self.assertEqual(ready, [["place", "name"], ["1", "vault"], ["2", ""], ["3", "0.2500"]])
        self.assertEqual([line[0] for line in everything[1:]], ["Raw", "OnA", "SPoC"])
        self.assertEqual([line[-1] for line in everything], ["recall@10", "", "0.6543", ""])

    def test_numbers_stand_to_the_right(self):
        table = {
            "title": "t",
            "columns": ["name", "a", "b", "c"],
            "rows": [["x", 1, "-0.25", "2"], ["y", None, "10 %", "z"]],
        }
        self.put(rows=[], tables=[table])
        page, _ = self.page()
        kinds = [attributes.get("class") for tag, attributes in page.tags if tag in ("th", "td")][-8:]
        self.assertEqual(kinds, [None, "n", "n", None] * 2)
        self.assertEqual([heading["scope"] for heading in page.attributes_of("th")][-6:], ["col"] * 4 + ["row"] * 2)

    def test_conditions(self):
        self.put()
        self.put(
            "other",
            experiment="figure2",
            protocol={"name": "unknown", "resize": "none"},
            weights_sha256={"a": "12", "b": "34"},
        )
        text = self.page()[0].text
        for part in (
            "python -m experiments.table1a", "0123456789abcdef-dirty", "vgg16_cam ab12", "paper, but resize none",
            "name oxford5k, images 5063, queries 55, sha256 cd34; name paris6k", "platform cpu, cores 2", "jax 0.10.2",
            "all 12.346", "jpg/broken.jpg: no picture", "a 12, b 34", "unknown, but resize none", "a note",
        ):  # fmt: skip
            self.assertIn(part, text)
        self.assertNotIn("cam_normalization", text)

    def test_the_papers_order(self):
        for i, name in enumerate(("zebra", "protocols", "table2a", "figure5b", "table1a", "figure2")):
            self.put(f"run{i}", experiment=name)
        links = [line[0] for line in self.page()[0].tables[0][1:]]
        self.assertEqual(links, ["Figure 2", "Table 1a", "Figure 5b", "Table 2a", "Protocols", "zebra"])

    def test_newest_of_the_same(self):
        self.put("a", title="newest run", time="2025-11-24T22:00:00+00:00")
        self.put("b", title="old run")
        self.put("c", title="no time", time=None)
        self.put("d", title="other data", data=[{"name": "oxford5k", "sha256": "other"}])
        self.put("e", title="other protocol", protocol=dataclasses.asdict(protocol.PAPER))
        self.put("f", title="other network", network="googlenet")
        self.put("g", title="two networks", weights_sha256={"vgg16_cam": "ab12", "resnet50": "34"})
        page, _ = self.page()
        for title in ("newest run", "other data", "other protocol", "other network", "two networks"):
            self.assertIn(title, page.text)
        self.assertNotIn("old run", page.text)
        self.assertNotIn("no time", page.text)
        self.assertIn("not shown: 2", page.text)
        self.assertIn(str(self.folder / "b" / "results.json"), page.text)

    def test_caches_are_not_searched(self):
        self.put("deep/er")
        self.put("cache/one", experiment="figure2")
        self.put("deep/cache", experiment="figure3")
        self.assertLen(self.page()[0].attributes_of("section"), 1)

    def test_pictures(self):
        folder = self.put(pictures=[{"file": "a.png", "caption": 'it\'s "a" <b>'}, {"file": "sub/b.jpg"}])
        (folder / "sub").mkdir()
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "a.png")
        Image.fromarray(np.zeros((700, 2000, 3), np.uint8)).save(folder / "sub" / "b.jpg")
        page, problems = self.page()
        first, second = page.attributes_of("img")
        self.assertEqual((first["alt"], first["width"], first["height"]), ('it\'s "a" <b>', "30", "20"))
        self.assertStartsWith(first["src"], "data:image/png;base64,iVBORw0KGgo")
        self.assertEqual((second["alt"], second["class"]), ("sub/b.jpg", "wide"))
        self.assertStartsWith(second["src"], "data:image/jpeg;base64,/9j/")
        self.assertLen(page.attributes_of("figcaption"), 2)
        self.assertEqual(problems, [])

    def test_pictures_that_cannot_be_shown(self):
        files = (
            "missing.png",
            "text.png",
            "drawn.svg",
            "scan.tiff",
            "../secret.png",
            str(self.folder / "secret.png"),
            "a\0b",
            "",
        )
        folder = self.put(pictures=[{"file": file, "caption": f"caption {i}"} for i, file in enumerate(files)])
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(self.folder / "secret.png")
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "scan.tiff")
        (folder / "text.png").write_text("<script>")
        (folder / "drawn.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
        page, problems = self.page()
        self.assertEmpty(page.attributes_of("img"))
        self.assertLen(problems, len(files))
        for problem in problems:
            self.assertIn(problem, page.text)
        self.assertIn("Not shown: caption 4", page.text)
        self.assertIn("not in the folder of its results", problems[4])

    @parameterized.parameters(
        "{", "", "[]", "{}", '{"experiment": 3}', '{"experiment": "a", "rows": 3}', "[" * 100_000, "\xff",
        '{"experiment": "a", "rows": [{"method": "Raw"}]}',
        '{"experiment": "a", "rows": [{"method": "Raw", "map": "x"}]}',
        '{"experiment": "a", "rows": [{"method": "Raw", "map": 1' + "0" * 400 + "}]}",
        '{"experiment": "a", "tables": [{"columns": ["a"], "rows": [[1, 2]]}]}',
        '{"experiment": "a", "tables": [{"columns": [], "rows": [[]]}]}', '{"experiment": "a", "pictures": [{}]}',
        '{"experiment": "a", "protocol": {"name": []}}',
    )  # fmt: skip
    def test_no_results_file(self, text):
        self.put(title="the good one")
        path = self.folder / "bad" / "results.json"
        path.parent.mkdir()
        path.write_bytes(text.encode("latin-1"))
        page, problems = self.page()
        self.assertLen(problems, 1)
        self.assertStartsWith(problems[0], f"{path} is left out: not a results file (")
        self.assertIn(problems[0], page.text)
        self.assertIn("the good one", page.text)

    def test_nothing_but_bad_files(self):
        self.put(experiment=None)
        page, problems = self.page()
        self.assertLen(problems, 1)
        self.assertEmpty(page.tables)

    def test_text_is_text(self):
        def hostile(value):
            if isinstance(value, dict):
                return {key: hostile(entry) for key, entry in value.items()} | {HOSTILE: HOSTILE}
            if isinstance(value, list):
                return [hostile(entry) for entry in value]
            return HOSTILE if isinstance(value, str | None) else value

        content = hostile(CONTENT)
        for row, line in zip(CONTENT["rows"], content["rows"], strict=True):
            line |= {key: row.get(key) for key in ("paper", "low", "high")} | {"metrics": {HOSTILE: 0.5}}
        content["protocol"]["name"] = HOSTILE
        self.put(**content, pictures=[{"file": HOSTILE, "caption": HOSTILE}])
        page, problems = self.page()
        self.assertLen(problems, 1)
        self.assertGreater(page.text.count("<script>alert('x')</script>"), 30)
        self.assertEmpty(page.attributes_of("img"))

    def test_hostile_captions_stay_in_their_attribute(self):
        folder = self.put(pictures=[{"file": "a.png", "caption": HOSTILE}])
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(folder / "a.png")
        (image,) = self.page()[0].attributes_of("img")
        self.assertEqual(image["alt"], HOSTILE.replace("\ud800", "?"))
        self.assertCountEqual(image, ["src", "width", "height", "class", "alt"])

    @settings(deadline=None, max_examples=60)
    @given(st.fixed_dictionaries({}, optional={key: JSON for key in CONTENT if key != "experiment"}))
    def test_any_object_is_shown_or_refused(self, changes):
        path = self.folder / "results.json"
        path.write_text(json.dumps({"experiment": "figure4"} | changes))
        try:
            run = report.read(path)
        except ValueError:
            return
        Page(report.page([run], [run], run.problems))

    def test_no_results(self):
        for folder in (self.folder, self.folder / "nowhere"):
            with self.assertRaisesRegex(ValueError, f"no results.json below {folder}; python -m experiments.ablation"):
                report.write(folder, self.folder / "report.html")
        self.assertFalse((self.folder / "report.html").exists())

    def test_command(self):
        self.put()
        (self.folder / "bad").mkdir()
        (self.folder / "bad" / "results.json").write_text("{")
        done = drivers.run(f"--results={self.folder}", module="experiments.report")
        self.assertIn(f"report: {self.folder}/bad/results.json is left out: not a results file", done.stderr)
        self.assertEqual(done.stdout, f"written to {self.folder}/report.html\n")
        Page((self.folder / "report.html").read_text())
        done = drivers.run(f"--results={self.folder}/page", module="experiments.report", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertStartsWith(done.stderr, f"report: no results.json below {self.folder}/page; python -m")


if __name__ == "__main__":
    absltest.main()
