"""These tests use the page of ``cwcf serve`` in a browser."""

import json
import math
import pathlib
import subprocess
import tempfile

from absl.testing import absltest
from PIL import Image

from tests.support import browser, indexes, packages, shared, thin

ODD_NAME = "<img src=x onerror=alert(1)>.png"
PICTURES = 25


class PageTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = cls.enterClassContext(browser.open_browser())
        cls.expect = staticmethod(packages.package("playwright.sync_api").expect)
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        indexes.draw(cls.root / ODD_NAME, 100)
        indexes.make(cls.root, range(PICTURES - 1))
        command = thin.program("serve", "--port=0", f"--index={cls.root}")
        cls.server = subprocess.Popen(command, cwd=shared.ROOT, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.server.stdout.close)
        cls.addClassCleanup(cls.server.wait)
        cls.addClassCleanup(cls.server.terminate)
        cls.address = cls.server.stdout.readline().split(" at ")[1].split()[0]

    def setUp(self):
        super().setUp()
        self.problems = []
        self.page = self.open()

    def open(self, **options):
        page = self.browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.addCleanup(page.close)
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(dialog.message), dialog.dismiss()))
        page.goto(self.address)
        self.expect(page.locator("#about")).to_contain_text(f"{PICTURES} pictures")
        return page

    def tearDown(self):
        self.assertEmpty(self.problems)
        super().tearDown()

    def wait_for_results(self, page=None):
        page = page or self.page
        self.expect(page.locator("#status")).to_contain_text("pictures,", timeout=60_000)
        self.expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true", timeout=60_000)

    def upload(self, file="3.png", page=None):
        (page or self.page).set_input_files("#file", str(self.root / file))
        self.wait_for_results(page)

    def request_after(self, change, route="search"):
        """Makes a change on the page; returns the request that the page sends."""
        with self.page.expect_request(f"**/api/{route}", timeout=60_000) as request:
            change()
        self.wait_for_results()
        return json.loads(request.value.post_data)

    def drag(self, left, top, right, bottom):
        area = self.page.locator("#query-image").bounding_box()
        corners = [
            (area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in ((left, top), (right, bottom))
        ]
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        self.page.mouse.move(*corners[1], steps=4)
        self.page.mouse.up()

    def upload_and_size(self):
        self.upload()
        with Image.open(self.root / "3.png") as image:
            return image.size

    def paths(self):
        return self.page.locator("#hits .path").all_text_contents()

    def test_upload_results_and_more(self):
        self.expect(self.page.locator("#status")).to_have_text("Choose a picture to begin.")
        self.upload()
        self.assertEqual(self.paths()[0], "3.png")
        self.assertLen(self.paths(), 20)
        self.page.get_by_role("button", name="More").click()
        self.expect(self.page.locator("#hits li")).to_have_count(PICTURES)
        self.expect(self.page.get_by_role("button", name="More")).to_be_hidden()
        self.expect(self.page.get_by_role("button", name="Why rank 21?")).to_be_focused()
        self.assertLen(set(self.paths()), PICTURES)
        picture = self.page.get_by_role("img", name="Rank 1: 3.png")
        self.assertGreater(picture.evaluate("image => image.naturalWidth"), 10)

    def test_a_box_drawn_with_the_mouse(self):
        width, height = self.upload_and_size()
        sent = self.request_after(lambda: self.drag(0.2, 0.75, 0.8, 0.25))
        for actual, expected, side in zip(sent["box"], (0.2, 0.25, 0.8, 0.75), (width, height) * 2, strict=True):
            self.assertAlmostEqual(actual / side, expected, delta=0.02)
        self.page.get_by_text("The box in pixels").click()
        shown = [int(self.page.locator(f"#{name}").input_value()) for name in ("x1", "y1", "x2", "y2")]
        self.assertEqual(shown, sent["box"])
        sent = self.request_after(lambda: (self.page.locator("#x1").fill("1"), self.page.locator("#x1").press("Enter")))
        self.assertEqual(sent["box"][0], 1)
        sent = self.request_after(lambda: self.page.get_by_role("button", name="Whole picture").click())
        self.assertIsNone(sent["box"])

    def test_a_box_drawn_with_the_keyboard(self):
        width, height = self.upload_and_size()
        stage = self.page.get_by_role("group", name="The query picture")
        stage.focus()
        first = self.request_after(lambda: stage.press("Enter"))["box"]
        expected = [math.floor(side * part + 0.5) for part in (0.25, 0.75) for side in (width, height)]
        self.assertEqual(first, expected)
        self.expect(self.page.locator("#box")).to_be_visible()
        moved = self.request_after(lambda: stage.press("ArrowRight"))["box"]
        self.assertGreater(moved[0], first[0])
        self.assertEqual(moved[1::2], first[1::2])
        larger = self.request_after(lambda: stage.press("Shift+ArrowDown"))["box"]
        self.assertEqual(larger[:3], moved[:3])
        self.assertGreater(larger[3], moved[3])
        self.assertIsNone(self.request_after(lambda: stage.press("Escape"))["box"])
        self.expect(self.page.locator("#box")).to_be_hidden()

    def test_a_box_drawn_by_touch_on_a_phone(self):
        self.page = self.open(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        self.upload()
        self.page.locator("#query-image").scroll_into_view_if_needed()
        area = self.page.locator("#query-image").bounding_box()
        session = self.page.context.new_cdp_session(self.page)

        def touch(kind, *points):
            touches = [{"x": area["x"] + x * area["width"], "y": area["y"] + y * area["height"]} for x, y in points]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        def draw():
            touch("touchStart", (0.3, 0.3))
            touch("touchMove", (0.5, 0.5))
            touch("touchMove", (0.9, 0.6))
            touch("touchEnd")

        box = self.request_after(draw)["box"]
        self.assertLess(box[0], box[2])
        self.assertLess(box[1], box[3])
        self.assertLessEqual(self.page.evaluate("() => document.documentElement.scrollWidth"), 360)

    def test_search_steps_and_classes(self):
        self.upload()
        sent = self.request_after(lambda: self.page.get_by_label("Re-rank by regions").select_option("20"))
        self.assertEqual(sent["rerank"], 20)
        self.expect(self.page.locator(".region").first).to_be_visible()
        sent = self.request_after(lambda: self.page.get_by_label("Expand the query with").select_option("3"))
        self.assertEqual(sent["expand"], 3)
        sent = self.request_after(lambda: self.page.get_by_label("Pictures are described by").select_option("ona"))
        self.assertEqual(sent["aggregation"], "ona")
        thorough = self.page.get_by_label("Thorough search")
        sent = self.request_after(thorough.check)
        self.assertTrue(sent["thorough"])
        self.assertNoCommonElements(sent, ("aggregation", "rerank", "expand"))
        self.expect(self.page.get_by_label("Re-rank by regions")).to_be_disabled()
        self.assertEqual(self.request_after(thorough.uncheck)["rerank"], 20)
        chip = self.page.locator("#chips input").first
        name = chip.input_value()
        self.assertEqual(self.request_after(chip.check)["classes"], [name])
        field = self.page.get_by_label("add a class")
        sent = self.request_after(lambda: (field.fill("7"), field.press("Enter")))
        self.assertEqual(sent["classes"], [name, "7"])
        self.page.get_by_label("Show where the classes are").check()
        self.assertGreater(self.visible_pixels("heat"), 0)

    def visible_pixels(self, canvas):
        """Returns the number of pixels of a canvas that are not transparent."""
        return self.page.locator(f"#{canvas}").evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
            ".filter((value, i) => i % 4 == 3 && value).length"
        )

    def test_explanation_and_next_query(self):
        self.upload()
        button = self.page.get_by_role("button", name="Why rank 2?")
        path = self.paths()[1]
        with self.page.expect_response("**/api/explain") as answer:
            button.click()
        dialog = self.page.get_by_role("dialog", name=f"Why {path}")
        self.expect(dialog).to_be_visible()
        self.expect(dialog.locator("tbody tr")).to_have_count(len(answer.value.json()["pairs"]) + 1)
        self.expect(dialog).to_contain_text(f"scores {answer.value.json()['score']:.3f}")
        self.assertGreater(self.visible_pixels("why-heat"), 0)
        self.page.keyboard.press("Escape")
        self.expect(dialog).to_be_hidden()
        self.expect(button).to_be_focused()
        sent = self.request_after(self.page.get_by_role("button", name="Search with rank 2", exact=True).click)
        self.assertEqual((sent["path"], sent["box"], sent["classes"]), (path, None, []))
        self.assertEqual(self.paths()[0], path)

    def test_a_name_with_markup(self):
        self.upload(ODD_NAME)
        self.assertEqual(self.paths()[0], ODD_NAME)
        self.page.get_by_role("button", name="Why rank 1?").click()
        self.expect(self.page.get_by_role("dialog")).to_contain_text(ODD_NAME)

    def test_errors(self):
        text_file = self.root / "letter.jpg.txt"
        text_file.write_text("no picture")
        self.addCleanup(text_file.unlink)
        self.page.set_input_files("#file", str(text_file))
        self.expect(self.page.get_by_role("alert")).to_contain_text("no picture that can be read")
        self.upload()
        self.expect(self.page.locator("#problem")).to_be_hidden()
        field = self.page.get_by_label("add a class")
        field.fill("unicorn")
        field.press("Enter")
        self.expect(self.page.get_by_role("alert")).to_contain_text("'unicorn' is not a class")
        self.request_after(self.page.get_by_role("checkbox", name="unicorn").uncheck)
        self.expect(self.page.locator("#problem")).to_be_hidden()
        self.page.route("**/api/search", lambda route: route.abort())
        self.page.get_by_label("Re-rank by regions").select_option("20")
        self.expect(self.page.get_by_role("alert")).to_contain_text("does not answer")

    def test_an_upload_that_is_no_longer_stored_is_sent_again(self):
        self.upload()
        requests = []

        def refuse_first(route):
            requests.append(route.request.url)
            route.fulfill(status=404, json={"detail": "gone"}) if len(requests) == 1 else route.continue_()

        self.page.route("**/api/search", refuse_first)
        with self.page.expect_request("**/api/uploads"):
            self.page.get_by_label("Re-rank by regions").select_option("20")
        self.wait_for_results()
        self.expect(self.page.locator("#problem")).to_be_hidden()
        self.assertLen(requests, 2)

    def test_a_dropped_file(self):
        content = list((self.root / "5.png").read_bytes())
        transfer = self.page.evaluate_handle(
            "bytes => { const t = new DataTransfer();"
            " t.items.add(new File([new Uint8Array(bytes)], '5.png', {type: 'image/png'})); return t; }",
            content,
        )
        self.page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
        self.wait_for_results()
        self.assertEqual(self.paths()[0], "5.png")


if __name__ == "__main__":
    absltest.main()
