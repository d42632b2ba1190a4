"""The search page, in a real browser over a real server, on a desktop and on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from serve_parts import TOKEN, png, until

pytest.importorskip("playwright.sync_api", reason="the page is tested with Playwright, which is not installed")

from page_parts import EVIL, SIZES, Watched, columns, find_chromium, ids, make_collection, server
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

DEPTH = 48  # results of one page
expect.set_options(timeout=30_000)
PASTE = """([bytes, type]) => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([new Uint8Array(bytes)], "mine.png", { type: "image/png" }));
  document.body.dispatchEvent(new (type === "paste" ? ClipboardEvent : DragEvent)(type, {
    bubbles: true, cancelable: true, clipboardData, dataTransfer: clipboardData,
  }));
}"""

# Read at once, since more results may come in between.
COMPARED = """() => {
  const all = (from, words) => [...from.querySelectorAll(words)];
  const told = (hit) => [hit.dataset.id, ...all(hit, ".shift > :not(.unseen)").map((one) => one.textContent)];
  const sides = all(document, ".side").map((side) => all(side, ".hit").map(told));
  return [sides, document.querySelector(".agreement").textContent];
}"""


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_collection(folder)
    return folder


@pytest.fixture(scope="module")
def origin(collection: Path) -> Iterator[str]:
    with server(collection) as place:
        yield place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("there is no chromium, chromium-browser or google-chrome on PATH")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]) as it:
        yield it


Opener = Callable[..., Watched]


@pytest.fixture
def opener(browser: Browser, origin: str) -> Iterator[Opener]:
    """Open a page of a size in a context of its own; words are options of the context, and `at` another server."""
    watched = []

    def begin(size: str = "desk", at: str = origin, **options: Any) -> Watched:
        context = browser.new_context(**SIZES[size], **options)
        context.set_default_timeout(60_000)
        one = Watched(context.new_page(), at)
        watched.append(one)
        return one

    yield begin
    for one in watched:
        one.check()
        one.page.context.close()


@pytest.fixture(params=SIZES)
def watched(request: pytest.FixtureRequest, opener: Opener) -> Watched:
    """A page on a desktop, and on a phone."""
    return opener(request.param)


@pytest.fixture(scope="module")
def picture(collection: Path) -> bytes:
    """The bytes of a picture of the collection."""
    return next((collection / "pictures").rglob("*.png")).read_bytes()


def address(name: str, **words: Any) -> str:
    said = [f"id={quote(name, safe='')}", *(f"{key}={quote(value, safe='')}" for key, value in words.items())]
    return f"#{'&'.join(said)}"


def some_id(page: Page) -> str:
    """An item whose label is a plain one."""
    return next(name for name in ids(page) if "<" not in name)


def open_filters(page: Page) -> None:
    if not page.locator("#find").is_visible():
        page.locator("#filters summary").click()


# --- to begin with, on and back


def test_one_can_begin_with_a_picture_of_the_collection(watched: Watched):
    page = watched.open()
    expect(page.get_by_role("heading", name="Search by picture")).to_be_visible()
    before = ids(page)
    assert len(before) == len(set(before)) == DEPTH
    page.get_by_role("button", name="Other ones").click()
    watched.wait()
    assert ids(page) != before
    page.get_by_role("button", name="Take one at random").click()
    expect(page.get_by_role("heading", name="best first")).to_be_visible()


def test_click_through_and_back(watched: Watched):
    page = watched.open()
    started = ids(page)
    page.locator(".tile").nth(3).click()
    expect(page.get_by_role("heading", name="best first")).to_be_visible()
    expect(page.locator("#query .id")).to_have_text(started[3])
    found = ids(page)
    assert started[3] not in found
    page.locator(".tile").nth(2).click()
    expect(page.locator("#query .id")).to_have_text(found[2])
    page.go_back()
    expect(page.locator("#query .id")).to_have_text(started[3])
    assert ids(page) == found
    page.go_back()
    expect(page.get_by_role("heading", name="Or start from one of these")).to_be_visible()
    assert ids(page) == started
    assert len(watched.asked("/v1/search/id")) == 2, "going back asks for nothing"


def test_a_link_leads_to_an_item_and_frames_tell_how_bad_a_mistake_is(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    expect(page.locator("#query .id")).to_have_text(name)
    assert page.locator(".legend .of").inner_text() == f"of the first {DEPTH}"
    told = page.locator(".legend .judged").all_inner_texts()
    assert ["".join(re.findall("same|unrelated", one)) for one in told] == ["same", "same", "unrelated"]
    assert sum(int(one.split()[-1]) for one in told) == DEPTH
    for hit in page.locator(".hit").all()[:12]:
        spoken = hit.locator(".tile").get_attribute("aria-label")
        pips = hit.locator(".mark").inner_text()
        assert ("unrelated" in spoken) == (pips == "○○")
        assert re.search(r"score −?\d+\.\d\d$", spoken)
    links = page.locator(".tile").first.get_attribute("href")
    assert links == address(ids(page)[0]).replace("%20", "+")


def test_labels_of_the_collection_are_text(watched: Watched):
    page = watched.open(f"#label={quote(EVIL)}")
    expect(page.locator(".word").first).to_have_text(EVIL)
    expect(page.locator(".chip")).to_have_text(EVIL)
    assert page.locator("img[src=x]").count() == 0
    page.locator(".tile").first.click()
    expect(page.locator("#query h2")).to_have_text(EVIL)


# --- pictures of the user's


def own_picture(watched: Watched, name: str) -> None:
    page = watched.page
    expect(page.locator("#query h2")).to_have_text(name)
    watched.wait()
    assert len(ids(page)) == DEPTH
    assert page.locator(".judged").count() == 0, "nobody knows the labels of this picture"
    shown = page.locator(".stage img")
    expect(shown).to_have_js_property("complete", True)
    assert shown.evaluate("image => image.naturalWidth") > 0
    assert len(watched.asked("/v1/search/image")) == 1


def test_choose_a_picture(watched: Watched, picture: bytes):
    page = watched.open()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a picture").click()
    chosen.value.set_files({"name": "sign.png", "mimeType": "image/png", "buffer": picture})
    own_picture(watched, "sign.png")


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_paste_and_drop_a_picture(watched: Watched, picture: bytes, way: str):
    page = watched.open()
    page.evaluate(PASTE, [list(picture), way])
    own_picture(watched, "mine.png")


def test_a_picture_dragged_over_the_page_is_awaited(opener: Opener, picture: bytes):
    page = opener().open()
    page.evaluate(PASTE, [list(picture), "dragenter"])
    expect(page.get_by_text("Drop the picture to search with it")).to_be_visible()
    page.evaluate(PASTE, [list(picture), "dragleave"])
    expect(page.locator("#drop")).to_be_hidden()


def test_a_file_that_is_no_picture(watched: Watched):
    page = watched.open()
    page.locator("#file").set_input_files({"name": "notes.png", "mimeType": "image/png", "buffer": b"only words"})
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Send JPEG, PNG, WebP or another common format")
    expect(page.locator(".stage.missing")).to_be_visible()
    watched.expect_errors("415")
    page.go_back()
    expect(page.get_by_role("heading", name="Or start from one of these")).to_be_visible()


def test_a_picture_is_gone_when_the_page_is_loaded_again(opener: Opener, picture: bytes):
    watched = opener()
    page = watched.open()
    page.evaluate(PASTE, [list(picture), "paste"])
    own_picture(watched, "mine.png")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Drop it, paste it or choose it again")


# --- a part of the picture


def part_of(page: Page) -> list[float]:
    expect(page).to_have_url(re.compile("region="))
    return [float(edge) for edge in re.search(r"region=([\d.%C]+)", page.url)[1].split("%2C")]


def test_draw_a_part_with_the_mouse(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    page = watched.open(address(name))
    whole = ids(page)
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    assert part_of(page) == pytest.approx([0.25, 0.25, 0.75, 0.5], abs=0.01)
    watched.wait()
    # In pixels of the picture, which is one of 32 x 32.
    file = page.request.get(f"{watched.origin}/v1/items/{quote(name, safe='')}/image").body()
    asked = {"image": {"name": "a", "mimeType": "image/png", "buffer": file}, "region": "8,8,24,16", "k": str(DEPTH)}
    answer = page.request.post(f"{watched.origin}/v1/search/image", multipart=asked).json()
    assert ids(page) == [hit["id"] for hit in answer["hits"]] != whole
    assert page.locator(".judged").count(), "it is still known whose part it is"
    corner = page.locator(".handle.se").bounding_box()
    page.mouse.move(corner["x"] + 11, corner["y"] + 11)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"], box["y"] + box["height"], steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("%2C1%2C1"))
    watched.wait()
    page.get_by_role("button", name="Whole picture").click()
    expect(page).not_to_have_url(re.compile("region="))
    watched.wait()
    assert ids(page) == whole


def test_select_a_part_with_keys(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    page.get_by_role("button", name="Select a part").click()
    expect(page.locator(".box")).to_be_focused()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    assert part_of(page) == pytest.approx([0.22, 0.24, 0.8, 0.84])
    watched.wait()
    assert len(watched.asked("/v1/search/image")) == 1
    page.go_back()
    expect(page.locator(".box")).to_be_hidden()
    page.get_by_role("button", name="Select a part").click()
    page.keyboard.press("Escape")
    expect(page.locator(".box")).to_be_hidden()


def test_draw_a_part_with_a_finger(opener: Opener):
    watched = opener("phone")
    name = some_id(watched.open())
    page = watched.open(address(name))
    page.get_by_role("button", name="Select a part").tap()
    box = page.locator(".stage").bounding_box()
    finger = page.context.new_cdp_session(page)
    for kind, part in (("touchStart", 0.1), ("touchMove", 0.3), ("touchMove", 0.5), ("touchEnd", None)):
        at = {"x": box["x"] + box["width"] * (part or 0), "y": box["y"] + box["height"] * (part or 0)}
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if part is None else [at]})
    assert part_of(page) == pytest.approx([0.1, 0.1, 0.5, 0.5], abs=0.02)
    watched.wait()
    assert len(watched.asked("/v1/search/image")) == 1


# --- marks


def test_mark_and_search_again(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    found = ids(page)
    first, second = page.locator(".hit").nth(0), page.locator(".hit").nth(1)
    first.hover()
    first.get_by_role("button", name="Not relevant").click()
    second.hover()
    second.get_by_role("button", name="Relevant", exact=False).first.click()
    expect(first.get_by_role("button", name="Not relevant")).to_have_attribute("aria-pressed", "true")
    bar = page.get_by_role("region", name="Marked results")
    expect(bar).to_contain_text("1 relevant")
    bar.get_by_role("button", name="Search again").click()
    expect(bar).to_contain_text("Refined by")
    watched.wait()
    sent = json.loads(watched.asked("/v1/search/refine")[0].post_data)
    assert (sent["id"], sent["relevant"], sent["irrelevant"]) == (name, [found[1]], [found[0]])
    expect(page.locator(f'.hit[data-id="{found[1]}"]')).to_have_class(re.compile(r"\bliked\b"))
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    watched.wait()
    assert ids(page) == found


def test_marks_of_a_picture_of_the_users(opener: Opener, picture: bytes):
    watched = opener()
    page = watched.open()
    page.evaluate(PASTE, [list(picture), "paste"])
    own_picture(watched, "mine.png")
    page.locator(".tile").nth(4).focus()
    page.keyboard.press("r")
    page.keyboard.press("s")
    expect(page.get_by_role("region", name="Marked results")).to_contain_text("Refined by")
    watched.wait()
    assert len(json.loads(watched.asked("/v1/search/refine")[0].post_data)["vector"]) == 16
    assert len(watched.asked("/v1/search/image")) == 1, "the picture is embedded once"


# --- filters


def test_filter_by_label(watched: Watched):
    page = watched.open()
    name = some_id(page)
    script = page.locator("fieldset").first.locator(".name").first.text_content()
    page = watched.open(address(name))
    open_filters(page)
    page.get_by_label("Find a label").fill(script[:4].lower())
    page.locator("#levels .option").filter(has_text=script).click()
    expect(page.locator(".chip")).to_have_text(script)
    watched.wait()
    titles = page.locator(".tile").evaluate_all("tiles => tiles.map((tile) => tile.title)")
    assert len(titles) > 3
    assert all(script in title for title in titles)
    page.get_by_role("button", name=f"Remove the filter {script}").click()
    expect(page.locator(".chip")).to_have_count(0)


def test_filters_that_leave_nothing(watched: Watched):
    page = watched.open()
    scripts = page.locator("fieldset").first.locator(".name").all_text_contents()[:2]
    page = watched.open("#" + "&".join(f"label={quote(script)}" for script in scripts))
    expect(page.get_by_role("heading", name="Nothing fits all of these filters")).to_be_visible()
    page.get_by_role("button", name="Remove all filters").click()
    expect(page.locator(".hit")).to_have_count(DEPTH)


def test_a_label_that_is_not_there(opener: Opener):
    watched = opener()
    page = watched.open("#label=Klingon")
    expect(page.get_by_role("alert")).to_contain_text("Klingon")
    watched.expect_errors("422")


def test_browse_all_of_a_label(watched: Watched):
    page = watched.open()
    open_filters(page)
    box = page.locator("fieldset").first.locator(".option").first
    script, number = box.locator(".name").inner_text(), int(box.locator(".count").inner_text())
    box.click()
    expect(page.get_by_role("heading", name=f"{number} pictures")).to_be_visible()
    assert len(ids(page)) == min(number, DEPTH)
    expect(page.locator("#levels input:checked")).to_have_count(1)
    assert f"label={quote(script)}" in page.url.replace("+", "%20")


def test_filter_by_metadata(opener: Opener, picture: bytes):
    watched = opener()
    page = watched.open()
    form = {"id": "added", "metadata": '{"year": 2021, "place": "Ulm"}'}
    file = {"name": "a.png", "mimeType": "image/png", "buffer": picture}
    added = page.request.post(f"{watched.origin}/v1/items", multipart={"image": file, **form})
    assert added.status == 201
    try:
        page = watched.open(address(some_id(page)))
        page.evaluate(PASTE, [list(picture), "paste"])
        expect(page.locator('.hit[data-id="added"]')).to_be_visible()
        page.get_by_label("Metadata key").fill("year")
        page.get_by_label("Metadata value").fill("2021")
        page.get_by_role("button", name="Add").click()
        expect(page.locator(".chip")).to_have_text("year = 2021")
        watched.wait()
        assert ids(page) == ["added"]
        assert json.loads(watched.asked("/v1/search/vector")[-1].post_data)["metadata"] == {"year": 2021}
    finally:
        assert page.request.delete(f"{watched.origin}/v1/items/added").status == 204


# --- scrolling


def test_scrolling_brings_all(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    total = int(re.search(r"([\d,]+) pictures", page.locator(".title h2").inner_text())[1].replace(",", ""))
    assert total > 2 * DEPTH
    while (there := page.locator(".hit").count()) < total:
        page.locator(".tail").scroll_into_view_if_needed()
        expect(page.locator(".hit").nth(there)).to_be_attached()
    expect(page.locator(".tail")).to_have_text("That is all.")
    found = ids(page)
    assert len(set(found)) == len(found) == total
    page.locator(".tile").nth(total - 2).click()
    expect(page.locator("#query .id")).to_have_text(found[-2])
    page.go_back()
    expect(page.locator(".hit")).to_have_count(total)
    expect(page.locator(f'.hit[data-id="{found[-2]}"]')).to_be_in_viewport()


def test_the_map_in_between_loses_no_place(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    page = watched.open(address(name))
    # Not by a click, before which the browser may scroll.
    page.evaluate("scrollTo(0, 900); location.hash += '&view=map'")
    expect(page.get_by_label("Map of the collection")).to_be_visible(timeout=60_000)
    page.go_back()
    expect(page.locator(".hit").first).to_be_attached()
    expect(page.locator("html")).to_have_js_property("scrollTop", 900)


# --- two models


def test_two_models_side_by_side(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    page.get_by_role("link", name="Compare").click()
    sides = page.locator(".side")
    expect(sides).to_have_count(2)
    expect(sides.nth(1).get_by_label("Second model")).to_have_value("second")
    shown, told = page.evaluate(COMPARED)
    first, second = [[name for name, *_ in side] for side in shown]
    for side, there in ((shown[0], second), (shown[1], first)):
        for rank, (one, number, mark) in enumerate(side):
            far = there.index(one) - rank if one in there else None
            assert number == str(rank + 1)
            assert mark == ("only here" if far is None else "=" if far == 0 else f"{'▼▲'[far > 0]} {abs(far)}")
    same = sum(one == other for one, other in zip(first, second, strict=True))
    assert f"Of the first {len(first)} results, both find {len({*first} & {*second})}, and {same} of them" in told
    sides.nth(0).get_by_label("First model").select_option("second")
    sides.nth(1).get_by_label("Second model").select_option("second")
    expect(page.locator(".agreement")).to_have_text(re.compile(r"first (\d+) results, both find \1, and \1 of them"))
    sides.nth(0).locator(".tile").nth(1).click()
    expect(sides).to_have_count(2)
    assert "view=compare" in page.url


def test_choose_another_model(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    page = watched.open(address(name))
    before = ids(page)
    page.get_by_role("combobox", name="Model").select_option("second")
    expect(page).to_have_url(re.compile("model=second"))
    watched.wait()
    assert json.loads(watched.asked("/v1/search/id")[-1].post_data)["model"] == "second"
    assert ids(page) != before


# --- map


def test_map(watched: Watched):
    page = watched.open()
    page.get_by_role("link", name="Map").click()
    canvas = page.get_by_label("Map of the collection")
    expect(canvas).to_be_visible(timeout=60_000)
    expect(page.get_by_text("those alike lie near each other.")).not_to_contain_text("ringed")
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "+", "+", "ArrowLeft", "-"):
        page.keyboard.press(key)
    card = page.locator(".card")
    expect(card).to_be_visible()
    expect(card.locator("img")).to_have_js_property("complete", True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="best first")).to_be_visible()
    page.get_by_role("link", name="Map").click()
    expect(page.get_by_text("The last results are ringed.")).to_be_visible()
    expect(page.locator(".kinds li")).to_have_count(7)


def test_point_at_the_map_with_the_mouse(opener: Opener):
    watched = opener()
    page = watched.open("#view=map")
    canvas = page.get_by_label("Map of the collection")
    expect(canvas).to_be_visible(timeout=60_000)
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1] + 20, steps=3)
    page.mouse.up()
    card = page.locator(".card")
    for step in range(400):
        if card.is_visible():
            break
        page.mouse.move(middle[0] - 200 + 20 * (step % 20), middle[1] - 200 + 20 * (step // 20))
    expect(canvas).to_have_class("pointing")
    name = card.locator("b").inner_text()
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#query h2")).to_have_text(name)


def test_a_map_that_is_not_ready_yet(opener: Opener):
    watched = opener()
    waits = iter([True, False])

    def answer(route: Route) -> None:
        if next(waits):
            route.fulfill(status=202, json={"points": [], "state": "computing", "of": 1234})
        else:
            point = {"id": "a", "x": 0, "y": 0, "label": "", "labels": []}
            route.fulfill(json={"points": [point], "state": "ready", "of": 1234})

    watched.page.route("**/v1/map*", answer)
    page = watched.open("#view=map")
    expect(page.get_by_text("1,234 pictures are laid out")).to_be_visible()
    expect(page.get_by_text("1 picture of 1,234, drawn by chance")).to_be_visible()


# --- keys, colours, panels


def test_keys(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    page = watched.open(address(name))
    found, row = ids(page), columns(page)
    assert row > 3
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the results")).to_be_focused()
    page.keyboard.press("Enter")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 1 + row), ("ArrowUp", 1), ("End", DEPTH - 1), ("Home", 0)):
        page.keyboard.press(key)
        expect(page.locator(".tile").nth(place)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("n")
    expect(page.locator(".hit").nth(1)).to_have_class(re.compile(r"\bunliked\b"))
    page.keyboard.press("n")
    expect(page.get_by_role("region", name="Marked results")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#query .id")).to_have_text(found[1])
    expect(page.locator(".tile").first).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Find a label")).to_be_focused()
    page.keyboard.type("/?r")
    expect(page.get_by_label("Find a label")).to_have_value("/?r")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def paper(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_light_and_dark(opener: Opener):
    light, dark = "rgb(252, 252, 250)", "rgb(21, 23, 26)"
    watched = opener(color_scheme="dark")
    page = watched.open()
    assert paper(page) == dark
    page.get_by_role("button", name="Colours: as the system").click()
    assert paper(page) == light
    page.reload()
    watched.wait()
    assert paper(page) == light, "the choice is kept"
    page.get_by_role("button", name="Colours: light").click()
    page.get_by_role("button", name="Colours: dark").click()
    page.emulate_media(color_scheme="light")
    assert paper(page) == light
    page.emulate_media(color_scheme="dark")
    assert paper(page) == dark


def test_model_and_index_and_times(watched: Watched):
    name = some_id(watched.open())
    page = watched.open(address(name))
    page.get_by_role("button", name="Model and index").click()
    panel = page.get_by_role("dialog", name="Model and index")
    for words in ("Model first", "Model second", "test_resnet", "exact", "search", " ms"):
        expect(panel).to_contain_text(words)
    panel.get_by_role("button", name="Close").click()
    expect(panel).to_be_hidden()


def test_everything_that_can_be_pressed_has_a_name_and_nothing_sticks_out(watched: Watched):
    name = some_id(watched.open())
    for state in ("", address(name), address(name, view="compare"), "#view=map"):
        page = watched.open(state)
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("button, a, select, input")]
                .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length || one.hidden))
                .map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide <= room, state
        named = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
        assert len(named) == len(set(named))


# --- tokens and troubles


def test_the_token_is_asked_for(opener: Opener, collection: Path):
    with server(collection, PERTINENT_SERVE_TOKEN=TOKEN) as place:
        watched = opener(at=place)
        page = watched.page
        page.goto(place)
        expect(page.get_by_role("dialog", name="A token is needed")).to_be_visible()
        page.get_by_role("textbox", name="Token").fill("not the right one")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Try another token")).to_be_visible()
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.get_by_role("button", name="Go on").click()
        watched.wait()
        first = page.locator(".pic img").first
        expect(first).to_have_attribute("src", re.compile(f"^blob:{place}/"))
        expect(first).to_have_js_property("naturalWidth", 32)
        page.locator(".tile").first.click()
        expect(page.get_by_role("heading", name="best first")).to_be_visible()
        page.reload()
        watched.wait()
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert TOKEN not in page.url
        assert not any(TOKEN in request.url for request in watched.requests)
        page.evaluate("sessionStorage.clear()")
        page.reload()
        expect(page.get_by_role("dialog", name="A token is needed")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert")).to_contain_text("This collection needs a token")
        watched.errors = [error for error in watched.errors if "401" not in error]


def test_an_item_that_is_not_there(watched: Watched):
    page = watched.open("#id=no%2Fsuch.png")
    expect(page.get_by_role("alert")).to_contain_text("no/such.png")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    watched.errors = [error for error in watched.errors if "404" not in error]


@pytest.mark.parametrize("asked", [".tile", "role=button[name='Take one at random']"])
def test_a_service_that_is_gone(opener: Opener, asked: str):
    watched = opener()
    page = watched.open()
    page.context.set_offline(True)
    page.locator(asked).first.click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="best first")).to_be_visible()
    watched.errors = [error for error in watched.errors if "INTERNET_DISCONNECTED" not in error]


def test_a_service_that_has_too_much_to_do_is_asked_again(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    calm = iter([False, True])

    def answer(route: Route) -> None:
        if next(calm):
            route.continue_()
        else:
            body = {"error": "as much is under way as fits", "hint": "come back in a second"}
            route.fulfill(status=503, json=body, headers={"Retry-After": "1"})

    watched.page.route("**/v1/search/id", answer)
    page = watched.open(address(name))
    expect(page.get_by_role("heading", name="best first")).to_be_visible()
    watched.expect_errors("503")


def picture_of(name: str) -> Callable[[str], bool]:
    """Tells the address of an item's picture, however it is quoted."""
    return lambda url: unquote(urlsplit(url).path) == f"/v1/items/{name}/image"


def seen(page: Page) -> int:
    """Wait until every picture of the list has come; their number."""
    images = page.locator(".hit .pic img")
    images.evaluate_all("images => images.forEach((image) => { image.loading = 'eager'; })")
    until(lambda: images.evaluate_all("images => images.every((image) => image.complete && image.naturalWidth > 0)"))
    expect(page.locator(".missing")).to_have_count(0)
    return images.count()


def test_pictures_come_where_requests_are_limited(collection: Path, opener: Opener):
    with server(collection, PERTINENT_SERVE_RATE="1", PERTINENT_SERVE_BURST="5") as place:
        watched = opener(at=place)
        page = watched.open()
        assert seen(page) == DEPTH
        page.locator(".tile").nth(3).click()
        expect(page.get_by_role("heading", name="best first")).to_be_visible()
        assert seen(page) == DEPTH
        watched.errors = [error for error in watched.errors if "429" not in error]  # those are asked for again


@pytest.mark.parametrize("what", ["result", "query"])
def test_a_picture_that_there_was_no_time_for_is_asked_for_again(opener: Opener, what: str):
    watched = opener()
    page = watched.open()
    name = some_id(page)
    most, state = (1, address(name)) if what == "query" else (5, "")
    refused: set[str] = set()

    def answer(route: Route) -> None:
        if len(refused) == most or route.request.url in refused:
            route.continue_()
        else:
            refused.add(route.request.url)
            body = {"error": "as much is under way as fits", "hint": "come back in a second"}
            route.fulfill(status=503, json=body, headers={"Retry-After": "1"})

    page.route(re.compile(r"/image\?w=") if what == "result" else picture_of(name), answer)
    page = watched.open(state)
    assert seen(page) == DEPTH
    if what == "query":
        until(lambda: page.locator(".stage img").evaluate("image => image.complete && image.naturalWidth > 0"))
        expect(page.get_by_role("button", name="Select a part")).to_be_visible()
    assert len(refused) == most
    watched.expect_errors(*["503"] * most)


def test_a_picture_that_is_gone_is_said_to_be(opener: Opener):
    watched = opener()
    name = some_id(watched.open())
    gone = {"error": "the picture of this item is not where it was", "hint": "embed the collection anew"}
    watched.page.route(picture_of(name), lambda route: route.fulfill(status=404, json=gone))
    page = watched.open(address(name))
    expect(page.locator(".stage.missing")).to_be_visible()
    expect(page.get_by_role("button", name="Select a part")).to_have_count(0)
    watched.expect_errors("404", "404")


def test_an_item_at_random_is_one_of_the_model_and_the_filters(opener: Opener):
    watched = opener()
    page = watched.open()
    script = page.locator("fieldset").first.locator(".name").first.text_content()
    page = watched.open(f"#label={quote(script)}&model=second&where=%7B%7D")
    page.get_by_role("button", name="Take one at random").click()
    expect(page.get_by_role("heading", name="best first")).to_be_visible()
    asked = [request.url for request in watched.asked("/v1/items") if "random=1" in request.url]
    assert [sorted(parse_qsl(urlsplit(url).query)) for url in asked if url.endswith("random=1")] == [
        [("label", script), ("model", "second"), ("random", "1")]
    ]
    expect(page.locator("#query .coarse").first).to_contain_text(script)


def test_an_item_at_random_where_nothing_fits(opener: Opener):
    watched = opener()
    page = watched.open()
    scripts = page.locator("fieldset").first.locator(".name").all_text_contents()[:2]
    page = watched.open("#" + "&".join(f"label={quote(script)}" for script in scripts))
    page.get_by_role("button", name="Take one at random").click()
    expect(page.get_by_role("heading", name="Nothing fits all of these filters")).to_be_visible()


def test_a_picture_of_noise_of_another_form(opener: Opener):
    watched = opener()
    page = watched.open()
    page.evaluate(PASTE, [list(png(90, 20)), "paste"])
    own_picture(watched, "mine.png")
    box = page.locator(".stage").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(4.5, rel=0.02), "the part is drawn on the picture itself"
