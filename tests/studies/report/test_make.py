"""The report's page and pictures: made of real and of damaged runs, and read in a browser."""

from __future__ import annotations

import io
import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from rllib_moe import metrics as m
from rllib_moe.envs.description import expert_names
from rllib_moe.runtime.colors import DARK, LIGHT, expert_color
from rllib_moe.runtime.figures import fitted, styled
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.studies.report.curves import comparison_rows
from rllib_moe.studies.report.figures import alpha_entropy, draw_figures, small_panels
from rllib_moe.studies.report.make import ReportRequest
from rllib_moe.studies.report.page import render
from rllib_moe.studies.report.runs import Group, Run
from rllib_moe.training.health import window_at
from rllib_moe.validation.errors import ConfigError
from scripts.report import main
from tests.studies.report.report_runs import PUBLISHED, SCHEDULE, row, write_run


def run_of(name: str, rows: list[m.Row], schedule: PhaseSchedule = SCHEDULE, **evaluations: dict[str, Any]) -> Run:
    """A run of which no more is known than its rows, its schedule and its evaluations."""
    known: dict[str, Any] = {"rows": rows, "schedule": schedule, "evaluations": evaluations}
    return Run(path=PUBLISHED, name=name, config=None, command=None, omissions=(), **known)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the published run."""
    output = tmp_path_factory.mktemp("published")
    made = main([str(PUBLISHED), "--output", str(output)])
    assert made["page"] == str(output / "index.html")
    assert made["runs"] == {"nethack-2000": "done: 2002 episodes"}
    assert {path.name for path in output.iterdir()} == {"index.html", *made["pictures"]}
    return output


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two seeds and of another, shorter run that goes on; its file of evaluation is damaged."""
    place = tmp_path_factory.mktemp("compared")
    runs = [
        write_run(place / "a" / "mine", np.arange(24), seed=0),
        write_run(place / "b" / "mine", np.arange(24) + 4, seed=1),
        write_run(place / "<b>short</b>&", np.arange(12), gamma=0.5),
    ]
    (runs[2] / "evaluation.json").write_text("{")
    main([*map(str, runs), "--output", str(place / "report")])
    return place / "report"


def test_every_figure_is_a_picture_in_which_something_is_drawn(published: Path) -> None:
    pictures = {path.stem: path for path in published.glob("*.png")}
    assert pictures.keys() == {
        "score",
        "alpha_entropy",
        "usage",
        "shares",
        "games",
        "applied",
        "losses",
        "throughput",
        "scenes-evaluation-checkpoint",
    }
    for path in pictures.values():
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.std() > 5
        # Nothing is clipped: what is drawn keeps off all four edges.
        edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edges == 255).all(), path.name


def test_the_page_says_what_the_run_was(published: Path) -> None:
    page = (published / "index.html").read_text()
    told = re.sub("</?span[^>]*>", "", page)
    assert "--exp-name nethack-2000 --episodes 2000 --phase-boundaries 400,1200" in told
    for part in (
        "nethack (500 steps)",
        "PPO",
        "0:20:08",
        "90.0 ± 2.4",
        "1.034 (0.707)",
        "127.3 ± 2.7",  # the evaluation
        "mean of the last 100 episodes",
        "num_heads: 4",
        "58 %",
    ):
        assert part in page, part
    # Named as left out: this run was made before the metric was.
    assert m.NONFINITE_LOSS.key in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert len(re.findall(r'class="share".*?width:([\d.]+)%', page)) == 3
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_the_expected_band_of_a_run_that_branched_off_is_its_own_phases() -> None:
    """A run that began at episode 100 was never in warmup (phases begin at 0, 100 and 200)."""
    rows = [row(iteration) for iteration in range(11, 31)]
    run = run_of("branch", rows)
    assert [(span.name, span.first, span.last, span.position) for span in run.phases()] == [
        ("transition", 100, 200, 1),
        ("fine-tune", 200, 300, 2),
    ]
    drawing = alpha_entropy([Group("branch", (run,))])
    assert "hatched band" in drawing.caption
    axes = drawing.figure.axes[0]
    drawn = [band.get_paths()[0].vertices for band in axes.collections if band.get_hatch()]
    for band, first, end in zip(drawn, (100, 200), (200, 300), strict=True):
        for episode in (first, end - 1):
            expected = window_at(SCHEDULE, episode, 4)
            assert expected is not None
            edge = band[np.abs(band[:, 0] - episode) <= 1, 1]
            assert (edge.min(), edge.max()) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_a_schedule_that_expects_nothing_of_the_entropy_has_no_band_and_no_word_of_one() -> None:
    rows = [row(iteration) for iteration in range(1, 31)]
    run = run_of("plain", rows, PhaseSchedule.load("default"))
    drawing = alpha_entropy([Group("plain", (run,))])
    assert not any(band.get_hatch() for band in drawing.figure.axes[0].collections)
    assert "hatched band" not in drawing.caption


def test_the_legend_has_a_run_that_lacks_the_first_panel() -> None:
    groups = []
    for name, usage in (("old", math.nan), ("new", 0.5)):
        rows = [row(iteration, USAGE_ENTROPY=usage) for iteration in (1, 2)]
        groups.append(Group(name, (run_of(name, rows),)))
    figure = small_panels("usage", groups).figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["old", "new"]


def test_several_runs_are_compared_by_group(compared: Path) -> None:
    page = (compared / "index.html").read_text()
    table = page[page.index('id="comparison-table"') : page.index("</table>", page.index('id="comparison-table"'))]
    rows = [re.findall(r"<td.*?>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)][1:]
    assert [row[1] for row in rows] == ["2", "1"]
    assert rows[0][0] == "a/mine (seeds 0, 1)"
    # At episode 120 the last 100 episodes of a/mine have the scores 2 to 11, mean 6.5, those of b/mine four more. The
    # interval of two values 4 apart is 2 * 12.706 (Student's t at one degree of freedom).
    assert rows[0][2] == "8.5 ± 25.4"
    assert rows[1][2] == "6.5"
    assert "Logged as <code>moe/usage_entropy</code>, <code>moe/mutual_information</code>" in page
    # Every figure is there once, over all runs.
    titles = re.findall(r"<figure.*?<h2>(.*?)</h2>", page, re.DOTALL)
    assert len(titles) == len(set(titles)) == len(list(compared.glob("*.png"))) == 8
    assert "<dd>0123456789</dd>" in page
    assert "<dd>Z80 (2 cores)</dd>" in page


def test_names_of_runs_are_text_and_not_markup(compared: Path) -> None:
    page = (compared / "index.html").read_text()
    assert "<b>short" not in page
    assert "&lt;b&gt;short" in page
    assert "evaluation.json: damaged" in page
    assert "going on: 120 of 1000 episodes so far" in page


def test_an_expert_that_is_not_used_leaves_the_others_their_names_and_colors() -> None:
    shares = dict(zip(map(m.expert_share, range(4)), (0.0, 0.0, 0.25, 0.75), strict=True))
    rows = [row(1) | {metric.key: share for metric, share in shares.items()}]
    page = render([run_of("two", rows)], [], [], {"two": []}, ["report"])
    bars = re.findall(r'<i style="width:([\d.]+)%;background:(.*?)" title="(.*?)"', page)
    names = expert_names(4)
    assert bars == [("25.0", expert_color(2), names[2]), ("75.0", expert_color(3), names[3])]


@pytest.mark.slow
def test_a_run_of_one_iteration_without_a_finished_episode(tmp_path: Path) -> None:
    path = write_run(tmp_path / "young", [1.0])
    progress = path / "progress.csv"
    columns = progress.read_text().splitlines()[0].split(",")
    cells = progress.read_text().splitlines()[1].split(",")
    for metric, value in ((m.EPISODES, "0"), (m.EPISODES_TOTAL, "0"), (m.SCORE_MEAN, "nan"), (m.SCORE_STD, "nan")):
        cells[columns.index(metric.key)] = value
    progress.write_text(",".join(columns) + "\n" + ",".join(cells) + "\n")

    made = main([str(path)])

    assert "figure score: no episode with score/mean" in made["omissions"]["young"]
    assert "shares.png" in made["pictures"]
    assert made["page"] == str(path / "report" / "index.html")


def test_a_request_without_runs_says_what_they_are() -> None:
    with pytest.raises(ConfigError, match=r"runs: missing; .* \(run directories, such as results/full_"):
        ReportRequest.from_dict({})


def test_what_is_refused_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        main([str(tmp_path / "none"), "--output", str(tmp_path / "report")])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output: cannot write to .* is no directory"):
        main([str(PUBLISHED), "--output", str(tmp_path / "file")])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("scheme", "surface"), [("light", LIGHT), ("dark", DARK)])
def test_the_page_reads_in_light_and_dark(
    scheme: str, surface: object, published: Path, browser: webdriver.Chrome
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.set_window_size(1100, 900)
    browser.get((published / "index.html").as_uri())
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.find_element(By.TAG_NAME, "h1").text == "Training report: nethack-2000"
    assert len(browser.find_elements(By.CSS_SELECTOR, "figure svg")) == 9
    button = browser.find_element(By.CSS_SELECTOR, ".code .copy")
    assert (button.is_displayed(), button.accessible_name) == (True, "copy")
    # The colors of the surface reach the pixels: the page's corner, and the axes' text in the figures.
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    background = tuple(int(surface.background[place : place + 2], 16) for place in (1, 3, 5))  # type: ignore[attr-defined]
    assert picture.getpixel((3, 3)) == background
    ink = browser.execute_script(
        "return getComputedStyle(document.querySelector('figure svg [style*=\"--text\"]')).fill"
    )
    text = tuple(int(surface.text[place : place + 2], 16) for place in (1, 3, 5))  # type: ignore[attr-defined]
    assert ink == f"rgb{text}"
    # Nothing sticks out to the side.
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_a_routing_loss_of_ones_own_has_a_panel() -> None:
    rows = [row(iteration) | {"loss/sharpness": 0.5} for iteration in (1, 2)]
    drawing = small_panels("losses", [Group("mine", (run_of("mine", rows),))])
    assert "loss/sharpness" in [metric.key for metric in drawing.metrics]
    assert len(drawing.metrics) == len(drawing.figure.axes)


@pytest.mark.parametrize("width", [600, 800, 1100])
def test_no_flag_is_broken_where_a_line_of_a_command_ends(
    width: int, published: Path, browser: webdriver.Chrome
) -> None:
    browser.set_window_size(width, 900)
    browser.get((published / "index.html").as_uri())
    lines = browser.execute_script(
        "return [...document.querySelectorAll('pre .word')].map(word => word.getClientRects().length)"
    )
    assert set(lines) == {1}
    told = browser.execute_script("return document.querySelector('pre').textContent")
    assert " --" in told
    assert "<" not in told


def test_words_of_tables_are_aligned_alike_in_every_row(compared: Path, browser: webdriver.Chrome) -> None:
    browser.get((compared / "index.html").as_uri())
    aligned = browser.execute_script(
        "return [...document.querySelectorAll('.phases tbody tr')].map(row => "
        "getComputedStyle(row.cells[row.cells.length - 11]).textAlign)"
    )
    assert len(aligned) > 3
    assert set(aligned) == {"left"}


def test_wide_tables_are_reached_and_named_by_keyboard(compared: Path, browser: webdriver.Chrome) -> None:
    browser.get((compared / "index.html").as_uri())
    tables = browser.find_elements(By.CSS_SELECTOR, ".scroll[tabindex='0']")
    assert [table.accessible_name for table in tables] == ["Runs", "Comparison", "Phases played"]


def test_the_table_of_phases_says_whose_the_shares_are() -> None:
    plain = run_of("plain", [row(1)])
    named = replace(plain, name="named", starts=[{"role_names": ["fight", "eat", "look", "rest"]}])
    alone = render([named], [], [], {"named": []}, ["report"])
    assert "shares are those of fight, eat, look, rest, in this order" in alone
    rows = comparison_rows([Group("plain", (plain,)), Group("named", (named,))])
    assert "in this order" not in render([plain, named], rows, [], {"plain": [], "named": []}, ["report"])


@pytest.mark.parametrize("key", ["score", "shares"])
def test_long_names_of_runs_stay_within_the_figure(key: str) -> None:
    long = "a-variant-whose-name-tells-of-each-of-its-settings-and-of-more-than-that-lr0.0005-k4-beta"
    runs = [replace(run_of(f"{long}-{place}", [row(1), row(2)]), path=Path(str(place))) for place in range(3)]
    groups = [Group(run.name, (run,)) for run in runs]
    with styled():
        drawings, _ = draw_figures(groups)
        (figure,) = (drawing.figure for drawing in drawings if drawing.key == key)
        figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x0 >= 0
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.width
    titles = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert len(titles) == (3 if key == "shares" else 0)
    assert all(title.x1 < following.x0 for title, following in itertools.pairwise(titles))
    assert all(axes.bbox.width > 0.2 * figure.bbox.width for axes in figure.axes)


def test_a_long_name_loses_its_middle() -> None:
    assert fitted("short", 8) == fitted("short", 8, 2) == "short"
    assert fitted("abcdefghijkl", 8) == "abcd…jkl"
    assert fitted("abcdefghijkl", 8, 2) == "abcdefgh\nijkl"
    assert fitted("abcdefghijklmnopqrs", 8, 2) == "abcdefgh\n…mnopqrs"


def test_an_evaluation_tells_how_sure_a_measure_is_and_over_how_many_episodes() -> None:
    numbers = {"policy": "random", "episodes": 6, "score_mean": 1.0, "by_scene": {}, "env_steps": 60}
    own = {"gold_mean": 2.5, "depth_mean": 1.5, "old_mean": 3.0}
    measures = {"gold_mean": {"episodes": 4, "se": 0.25}, "depth_mean": {"episodes": 6, "se": 0.5}}
    run = run_of("run", [row(1)], evaluation=numbers | own | {"measures": measures})
    page = render([run], [], [], {"run": []}, ["report"])
    assert "<td>2.50 ± 0.25 (4 episodes)</td><td>1.50 ± 0.50</td><td>3.00</td>" in page
