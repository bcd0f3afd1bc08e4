"""The playback page in use: slider, play, hover, keyboard, on a wide screen and on a phone."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import use_few_dots
from tiers import in_campaign

import mlplab
from mlplab.commands.report import report_run
from mlplab.playback.revisit import revisit


@pytest.fixture(
    scope="module",
    params=["radial_6_6", in_campaign("cluster", "digits"), in_campaign("cluster", "sine_100")],
)
def folder(request, outputs):
    folder = outputs / "runs" / request.param / "a"
    with pytest.MonkeyPatch.context() as patch:
        use_few_dots(patch)
        report_run(folder, quiet=True)
    return folder


@pytest.fixture
def opened(page, folder):
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    assert page.faults == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def frame(page):
    return page.evaluate("playback.state.frame")


def pixels(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').toDataURL()")


def test_slider_play_and_keyboard(opened):
    last = opened.evaluate("playback.data.epochs.length - 1")
    opened.locator("#slider").fill("0")
    assert frame(opened) == 0
    assert opened.locator("#epoch").inner_text().startswith("epoch 0")
    before = pixels(opened, "#map")
    # slow, so that it does not end before the second click on a busy machine
    opened.locator("#speed").select_option("4")
    opened.locator("#play").click()
    opened.wait_for_function("playback.state.frame > 0")
    opened.locator("#play").click()
    assert pixels(opened, "#map") != before
    stopped = frame(opened)
    opened.wait_for_timeout(300)
    assert frame(opened) == stopped
    opened.locator("body").press("End")
    assert frame(opened) == last
    opened.locator("body").press("ArrowLeft")
    assert frame(opened) == last - 1
    opened.locator("body").press("Home")
    assert frame(opened) == 0
    opened.locator("body").press("b")
    assert frame(opened) == opened.evaluate("playback.data.chosen")
    opened.locator("body").press("End")
    opened.locator("body").press(" ")
    opened.wait_for_function(f"playback.state.frame < {last}")
    opened.locator("body").press(" ")


def test_points_and_discretize(opened):
    shown = pixels(opened, "#map")
    opened.locator("#split").uncheck()
    assert pixels(opened, "#map") != shown
    opened.locator("#split").check()
    assert pixels(opened, "#map") == shown
    if opened.evaluate("playback.data.plane.dimensions") == 2:
        opened.locator("body").press("d")
        assert pixels(opened, "#map") != shown


def test_hovering_shows_the_formula(opened, folder):
    opened.evaluate("playback.go(playback.data.chosen)")
    opened.locator('.unit[data-unit="1.0"]').hover()
    text = opened.locator("#tip").inner_text()
    study = revisit(folder)[1]
    weight, bias = study.weights(study.best_frame)[0]
    unit = opened.evaluate("playback.data.columns[1].names[0]")
    assert text.startswith(
        f"{unit} = {study.settings.layers[0].activation.__class__.__name__.lower()}("
    )
    number = int(unit.partition(".")[2]) - 1
    assert f"{abs(float(f'{bias[number]:.3g}')):g}" in text
    if len(weight) <= 2:
        for value in weight[:, number]:
            assert f"{abs(float(f'{value:.3g}')):g}" in text
    opened.locator("#map").hover(position={"x": 200, "y": 120})
    assert (
        "P(" in opened.locator("#tip").inner_text() or "y " in opened.locator("#tip").inner_text()
    )


def test_hovering_a_line_shows_its_weight(opened, folder):
    opened.evaluate("playback.go(playback.data.chosen)")
    x, y = opened.evaluate(
        "['x', 'y'].map((axis) => (positions[0][0][axis] + positions[1][0][axis]) / 2)"
    )
    opened.locator("#network").hover(position={"x": x, "y": y})
    text = opened.locator("#tip").inner_text()
    first, unit = opened.evaluate("playback.data.columns.slice(0, 2).map((c) => c.names[0])")
    weight = revisit(folder)[1].weights(revisit(folder)[1].best_frame)[0][0]
    if len(weight) > 2:
        assert text.startswith("weight from")  # which of the many lines is nearest, is by chance
    else:
        shown = float(f"{weight[0, int(unit.partition('.')[2]) - 1]:.3g}")
        assert text == f"weight from {first} to {unit}: {shown:g}"


def test_what_does_not_apply_is_not_offered(opened):
    task, dimensions = opened.evaluate("[playback.data.task, playback.data.plane.dimensions]")
    has_map = task == "classes" and dimensions == 2
    assert opened.locator("#steps-label").is_visible() == has_map
    assert ("blue" in opened.locator("#units-note").inner_text()) == (dimensions == 2)


def test_the_map_is_smooth(opened):
    """Between the centers of the cells the values are interpolated."""
    fine = opened.evaluate("Array.from(refined([0, 1, 2, 3], 2, 4))")
    fine = np.array(fine).reshape(8, 8)
    np.testing.assert_allclose(fine[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 1, 2, 3])
    assert np.abs(np.diff(fine, axis=1)).max() <= 0.25


def test_keyboard_focus_shows_it_too(opened):
    opened.locator('.unit[data-unit="1.0"]').focus()
    assert opened.locator("#tip").is_visible()
    assert "Unit" in opened.locator("#map-title").inner_text()


def test_the_maps_are_what_the_run_predicts(opened, folder):
    run, study = mlplab.load(folder), revisit(folder)[1]
    chosen = opened.evaluate("playback.data.chosen")
    last = opened.evaluate("playback.data.columns.length - 1")
    grid = study.plane.grid(opened.evaluate("playback.data.grid"))
    raw = run.preprocessing.feature_scaler.invert(grid)
    expected = run.predict_proba(raw) if study.classifies else run.predict(raw)
    span = 1.0 if study.classifies else expected.max() - expected.min()
    for output in range(expected.shape[1]):
        name = f"map.{last}.{output}"
        values = opened.evaluate(
            f"Array.from(playback.arrays.frame('{name}', {chosen}), (s) =>"
            f" playback.arrays.value('{name}', s))"
        )
        assert np.abs(np.array(values) - expected[:, output]).max() <= 0.01 * span


def test_the_canvas_shows_these_maps(opened, folder):
    """The colors of an output unit, cell by cell, against the probabilities."""
    run, study = mlplab.load(folder), revisit(folder)[1]
    if not study.classifies or study.plane.dimensions == 1:
        pytest.skip("for maps of classes")
    size, last = opened.evaluate("[playback.data.grid, playback.data.columns.length - 1]")
    pixel_values = opened.evaluate(
        f"""(() => {{ playback.go(playback.data.chosen);
            const picture = fieldPicture({size}, unitColors({last}, 0));
            return Array.from(picture.getContext("2d").getImageData(0, 0, {size}, {size}).data); }})()"""  # noqa: E501
    )
    shown = np.array(pixel_values).reshape(size, size, 4)[::-1, :, :3].reshape(-1, 3)
    probability = run.predict_proba(
        run.preprocessing.feature_scaler.invert(study.plane.grid(size))
    )[:, 0]
    color = np.array([int(study.colors[0][i : i + 2], 16) for i in (1, 3, 5)])
    np.testing.assert_allclose(shown, 255 + (color - 255) * probability[:, None], atol=2.6)


def test_nothing_overlaps_on_a_phone(opened):
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.wait_for_timeout(400)
    boxes = opened.evaluate(
        """[...document.querySelectorAll("h1, h2, #play, #slider, #epoch, #bar label:not([hidden]), .unit, #map, #spaces figure, #curves, pre, p")]
           .filter((e) => e.offsetParent !== null && !e.closest("details:not([open])"))
           .map((e) => { const b = e.getBoundingClientRect(); return [e.id || e.className || e.tagName, b.left, b.top, b.right, b.bottom]; })
           .filter((b) => b[3] > b[1] && b[4] > b[2])"""  # noqa: E501
    )
    assert len(boxes) > 12
    for box in boxes:
        assert box[1] >= -0.5, box
        assert box[3] <= 390.5, box
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            apart = (
                a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5 or a[4] <= b[2] + 0.5 or b[4] <= a[2] + 0.5
            )
            assert apart, (a, b)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_dark_and_light(opened):
    opened.emulate_media(color_scheme="dark")
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.emulate_media(color_scheme="light")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != dark
