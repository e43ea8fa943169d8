import base64
import dataclasses
import gzip
import itertools
import json
import re
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from rllib_moe.evaluation.replay.page import page


@pytest.fixture(params=["nethack", "regimes"])
def recording(request):
    return request.getfixturevalue(f"{request.param}_recording")


@pytest.fixture
def opened(browser, recording, tmp_path):
    """The page in a browser, its scripts started."""
    file = tmp_path / "replay.html"
    file.write_text(page(recording, "a <title>", [("name", "<b>")]), encoding="utf-8")
    browser.set_window_size(1440, 1000)
    browser.get_log("browser")
    browser.get(file.as_uri())
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "step").text)
    yield browser
    assert browser.get_log("browser") == []


def open_page(browser, recording, tmp_path):
    file = tmp_path / "replay.html"
    file.write_text(page(recording, "title", []), encoding="utf-8")
    browser.get(file.as_uri())
    WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "step").text)


def step_of(browser):
    return int(browser.execute_script("return document.body.dataset.step"))


def press(browser, *keys):
    for key in keys:
        browser.find_element(By.TAG_NAME, "body").send_keys(key)


def picture(browser, canvas):
    return browser.execute_script(f"return document.getElementById('{canvas}').toDataURL()")


def test_steps_by_button_key_slider_and_click(opened, recording):
    last = recording.steps - 1
    canvas = "screen" if recording.screens else "graph"
    assert step_of(opened) == 0
    assert opened.find_element(By.TAG_NAME, "h1").text == "a <title>"
    before = picture(opened, canvas)
    opened.find_element(By.ID, "forward").click()
    assert step_of(opened) == 1
    assert picture(opened, canvas) != before
    press(opened, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert step_of(opened) == 2
    press(opened, Keys.END)
    assert step_of(opened) == last
    press(opened, Keys.ARROW_RIGHT)
    assert step_of(opened) == last
    press(opened, Keys.SHIFT + Keys.ARROW_LEFT)
    assert step_of(opened) == last - 10
    press(opened, Keys.HOME)
    assert step_of(opened) == 0
    opened.find_element(By.ID, "last").click()
    opened.find_element(By.ID, "back").click()
    assert step_of(opened) == last - 1
    opened.execute_script(
        "const s = document.getElementById('slider'); s.value = 7; s.dispatchEvent(new Event('input'))"
    )
    assert (step_of(opened), opened.find_element(By.ID, "step").text) == (7, f"step 7 of {last}")
    opened.find_element(By.ID, "track").click()  # its middle
    assert abs(step_of(opened) - last / 2) <= last / 10


def test_plays_and_pauses(opened, recording):
    opened.execute_script("document.getElementById('speed').value = 4")  # slow: it must not come to the end by itself
    press(opened, Keys.SPACE)
    WebDriverWait(opened, 20, poll_frequency=0.05).until(lambda _: step_of(opened) >= 2)
    press(opened, Keys.SPACE)
    stopped = step_of(opened)
    time.sleep(0.3)
    assert step_of(opened) == stopped
    assert 2 <= stopped < recording.steps - 1
    opened.execute_script("document.getElementById('speed').value = 32")
    opened.find_element(By.ID, "play").click()
    WebDriverWait(opened, 30).until(lambda _: step_of(opened) == recording.steps - 1)
    assert opened.find_element(By.ID, "play").text == "▶ play"


def test_shows_what_was_recorded(opened, recording):
    step = 5
    opened.execute_script(f"document.getElementById('slider').value = {step}")
    opened.execute_script("document.getElementById('slider').dispatchEvent(new Event('input'))")
    fills = opened.execute_script("return [...document.querySelectorAll('#experts .fill')].map((e) => e.style.width)")
    assert [float(width.rstrip("%")) / 100 for width in fills] == pytest.approx(recording.gate[step], abs=1e-4)
    taken = opened.execute_script("return [...document.querySelectorAll('.action.taken .name')].map((e) => e.title)")
    assert taken == [recording.description.action_names[recording.action[step]]]
    flags = opened.execute_script("return [...document.querySelectorAll('.flag.on')].map((e) => e.textContent)")
    assert flags == [recording.scene_names[each].replace("_", " ") for each in recording.scene[step]]
    canvas = "screen" if recording.nodes[step]["cells"] else "graph"
    looked = picture(opened, canvas)
    opened.find_element(By.ID, "show-attention").click()
    assert picture(opened, canvas) != looked
    opened.find_element(By.ID, "show-attention").click()
    opened.execute_script("head.value = 1; head.dispatchEvent(new Event('change'))")
    assert picture(opened, canvas) != looked


def test_labels_cover_neither_the_hero_nor_each_other(opened):
    hero, labels = (100, 100), [(110, 100, "door 29 %"), (90, 118, "frontier 29 %"), (100, 82, "gold 9 %")]
    boxes = opened.execute_script(
        "const boxes = [], pen = {measureText: (text) => ({width: 7 * text.length}), fillText() {},"
        " fillRect: (...box) => boxes.push(box)};"
        "const screen = Object.create(Screen.prototype);"
        "Object.assign(screen, {pen, cellWidth: 10, cellHeight: 18, width: 300, bottom: 200});"
        "screen.drawLabels(arguments[0].map(([x, y, text]) => [[x, y], text]), arguments[1]);"
        "return boxes",
        labels,
        hero,
    )
    assert len(boxes) == len(labels)
    boxes.append((hero[0] - 5, hero[1] - 9, 10, 18))
    for (x, y, width, height), (left, top, wide, tall) in itertools.combinations(boxes, 2):
        assert x + width <= left or left + wide <= x or y + height <= top or top + tall <= y


def test_nothing_moves_while_it_plays_and_a_message_stands_once(browser, recording, tmp_path):
    """A line that comes and goes with the message would move the buttons from under the pointer."""
    messages = ["", "a message that no screen shows", *recording.message[2:]]
    for shown, is_unseen in ((recording, True), (dataclasses.replace(recording, message=messages), False)):
        open_page(browser, shown, tmp_path)
        assert browser.execute_script("return message.classList.contains('unseen')") == is_unseen
        tops = set()
        for _ in range(4):
            tops.add(browser.find_element(By.ID, "play").rect["y"])
            browser.find_element(By.ID, "forward").click()
        assert len(tops) == 1


@pytest.mark.parametrize("width", [600, 1280])
def test_the_names_of_all_experts_are_read_whole(width, browser, recording, tmp_path):
    names = ("survival", "combat", "exploration", "general")[: recording.num_experts]
    browser.set_window_size(width, 900)
    open_page(
        browser, dataclasses.replace(recording, description=recording.description._with(role_names=names)), tmp_path
    )
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.action.head b')]"
        ".map((e) => [e.textContent, e.getBoundingClientRect().toJSON()])"
    )
    assert tuple(name for name, _ in boxes) == names
    panel = browser.find_element(By.ID, "actions").rect
    for _, box in boxes:
        assert panel["x"] <= box["left"]
        assert box["right"] <= panel["x"] + panel["width"]
    for (_, one), (_, other) in itertools.combinations(boxes, 2):
        assert (
            one["right"] <= other["left"]
            or other["right"] <= one["left"]
            or one["bottom"] <= other["top"]
            or (other["bottom"] <= one["top"])
        )


def test_a_window_of_no_width_is_no_error(opened):
    size = {"width": 1, "height": 1, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.execute_script("window.dispatchEvent(new Event('resize'))")
    assert opened.execute_script("return innerWidth") == 1
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_numbers_are_short_and_tell_small_ones_apart(opened):
    values = [0, 3, -12, 1234.5, 0.0154, 0.0175, 18.84, 8.949]
    texts = opened.execute_script("return arguments[0].map(short)", values)
    assert texts == ["0", "3", "-12", "1235", "0.0154", "0.0175", "18.8", "8.95"]
    assert opened.execute_script("return [-0.0001, -0.002, 0.5].map(fixed)") == ["0.000", "-0.002", "0.500"]


def test_edges_bear_the_names_of_their_types(opened, recording):
    names = {"nethack": {"of the hero", "near", "touching"}, "regimes": {"tie", "decoy"}}
    shown = {each.text for each in opened.find_elements(By.CLASS_NAME, "edge-type")}
    assert shown
    assert shown <= names["nethack" if recording.screens else "regimes"]


def test_pictures_have_names_for_those_who_hear_the_page(opened, recording):
    for canvas in ("screen" if recording.screens else "graph", "track"):
        assert opened.find_element(By.ID, canvas).accessible_name
    press(opened, Keys.ARROW_RIGHT)
    assert opened.find_element(By.ID, "slider").get_attribute("aria-valuetext").startswith("step 1 of")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_small_text_has_a_contrast_of_four_and_a_half(theme, opened):
    """Minimum of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#contrast-minimum), for what is faint as well."""
    opened.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    contrasts = opened.execute_script("""
      const pen = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
      const luminance = (color, opacity, ground) => {
        pen.globalAlpha = 1; pen.fillStyle = ground; pen.fillRect(0, 0, 1, 1);
        pen.globalAlpha = opacity; pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = [...pen.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const contrast = (color, opacity) => {
        const [one, other] = [luminance(color, opacity, css("--panel")), luminance(css("--panel"), 1, css("--panel"))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      };
      const found = {"value of the timeline": contrast(css("--accent-text"), 1)};
      for (const each of [".flag:not(.on)", ".action.illegal", ".action.head b", ".node .far", "#numbers .meaning"]) {
        const shown = document.querySelector(each);
        if (shown) found[each] = contrast(getComputedStyle(shown).color, Number(getComputedStyle(shown).opacity));
      }
      return found;
    """)
    assert len(contrasts) >= 5
    assert min(contrasts.values()) >= 4.5, contrasts


def test_light_and_dark(opened):
    button = opened.find_element(By.ID, "theme")
    grounds = {}
    for theme in ("light", "dark"):
        button.click()
        assert button.text == f"theme: {theme}"
        grounds[theme] = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}


def test_needs_nothing_but_itself(recording):
    text = page(recording, "title", [])
    assert not re.search(r"https?://|src=|@import|url\(", text)
    packed = re.search(r'id="recording">([^<]*)<', text)[1]
    data = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert page(recording, "title", []) == text
    assert base64.b64decode(packed)[4:8] == bytes(4)  # no time of day
    assert data["gate"] == recording.gate
    assert data["message"] == recording.message
    # 5 MB for 500 steps, of which the scripts and styles are a fixed part.
    assert len(packed) < 5e6 / 500 * recording.steps
    assert len(text) - len(packed) < 100_000
