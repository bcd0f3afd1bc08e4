"""What a reader needs to read a picture: all points, axes, scales, and no text over text."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from studies import study_of
from test_gallery import dataset_of, random_classes

from mlplab.data import Scaler
from mlplab.data.preparation.registry import DATASETS
from mlplab.pictures.gallery import pictures
from mlplab.pictures.gallery.decision import decision
from mlplab.pictures.gallery.health import smoothed
from mlplab.pictures.gallery.hidden import hidden
from mlplab.pictures.gallery.scores import residuals
from mlplab.pictures.gallery.units import units
from mlplab.pictures.plane import fit_plane
from mlplab.pictures.style import MARKERS, figure, headline, in_lines, logarithmic, style


@pytest.fixture(autouse=True)
def in_style():
    with style():
        yield


@pytest.fixture(scope="module")
def sine():
    return study_of(dataset="sine", hidden=(4, 4))


@pytest.fixture(scope="module")
def one_feature():
    return study_of(dataset=dataset_of(random_classes(2, features=1)))


@pytest.fixture(scope="module")
def iris():
    return study_of(dataset="iris", hidden=(3,))


def caption(fig):
    return fig.texts[-1].get_text().replace("\n", " ")


def test_a_fitted_curve_is_drawn_with_all_points_and_the_true_function(sine):
    (axes,) = decision(sine, sine.best_frame).axes
    drawn = {artist.get_label(): artist for artist in (*axes.lines, *axes.collections)}
    assert {"true function", "train points", "network", "test points"} <= set(drawn)
    x, y = drawn["true function"].get_data()
    np.testing.assert_allclose(y, np.sin(2 * np.pi * x))
    assert len(drawn["train points"].get_offsets()) == len(sine.points("train"))
    assert drawn["test points"].get_zorder() > drawn["network"].get_zorder()


def test_only_a_known_function_is_drawn():
    table = DATASETS["sine"]().make(np.random.default_rng(0))
    study = study_of(dataset=dataset_of(table))
    (axes,) = decision(study, study.best_frame).axes
    assert "true function" not in {line.get_label() for line in axes.lines}


def test_probabilities_over_one_feature_are_drawn_with_all_points(one_feature):
    fig = decision(one_feature, one_feature.best_frame)
    num_points = sum(
        len(collection.get_offsets())
        for collection in fig.axes[0].collections
        if len(collection.get_facecolors()) or collection.get_alpha()  # rings are not points
    )
    assert num_points == len(one_feature.points("train")) + len(one_feature.points("test"))
    assert "train points" in caption(fig)


def test_a_plane_says_that_points_are_not_on_it(iris, one_feature):
    assert "not those of the points" in caption(decision(iris, iris.best_frame))
    assert "plane" not in caption(decision(one_feature, one_feature.best_frame))


def test_units_are_explained_as_they_are_drawn(sine, iris):
    curves, maps = units(sine, sine.best_frame), units(iris, iris.best_frame)
    assert "white" not in caption(curves)
    assert "line at zero" in caption(curves)
    assert "outputs: probability" in caption(maps)
    titles = [text.get_text() for text in curves.axes[0].texts if "layer 1" in text.get_text()]
    low, high = map(float, titles[0].splitlines()[-1].split(" to "))
    assert -1 <= low <= 0 <= high <= 1  # of tanh


def test_all_points_are_within_the_axes(sine, iris):
    for study in (sine, iris):
        left, right, bottom, top = study.plane.extent
        for split in study.splits:
            positions = study.positions(study.points(split))
            assert left < positions[:, 0].min() <= positions[:, 0].max() < right
            if study.plane.dimensions == 2:
                assert bottom < positions[:, 1].min() <= positions[:, 1].max() < top


def test_a_far_point_does_not_make_a_plane_small(sine):
    x, far = np.linspace(-1, 1, 9)[:, None], np.array([[1e9]])
    plane = fit_plane(x, Scaler(np.zeros(1), np.ones(1)), ("x",), others_NR=far)
    assert plane.high[0] < 3


def test_names_of_columns_are_whole_beside_units(iris):
    texts = {text.get_text() for text in units(iris, iris.best_frame).axes[0].texts}
    assert {"sepal length\n(cm)", "petal width\n(cm)"} <= texts
    assert in_lines("a_name_of_30_characters_in_all", 12, 3) == (
        "a_name_of_30\n_characters_\nin_all",
        True,
    )
    text, is_whole = in_lines(50 * "long ", 12, 3)
    assert text.endswith("…")
    assert not is_whole
    assert max(map(len, text.splitlines())) <= 12


SLIDE = (13.33, 7.5)  # inches


@pytest.mark.parametrize("name", ["sine", "iris"])
def test_text_is_large_enough_on_a_slide(name, request):
    study = request.getfixturevalue(name)
    for picture in pictures():
        if (fig := picture.draw(study, study.best_frame)) is not None:
            scale = min(SLIDE[0] / fig.get_figwidth(), SLIDE[1] / fig.get_figheight())
            texts = [text for text in fig.findobj(Text) if text.get_text().strip()]
            assert scale * min(text.get_fontsize() for text in texts) > 10.5, picture.name


def test_a_long_title_is_in_lines_within_the_figure():
    fig = headline(figure(5, 4), "a title of many words " * 6)
    box = fig.texts[0].get_window_extent(fig.canvas.get_renderer())
    assert box.x0 > 0
    assert box.x1 < fig.bbox.x1
    assert "\n" in fig.texts[0].get_text()


def test_hidden_spaces_have_named_axes_and_scores(iris, sine):
    fig = hidden(iris, iris.best_frame)
    assert fig.axes[0].get_xlabel() == "1st principal component"
    assert [fig.axes[1].get_xlabel(), fig.axes[1].get_zlabel()] == ["unit 1", "unit 3"]
    assert "on the test points" in caption(fig)
    panels = hidden(sine, sine.best_frame).axes
    assert panels[0].get_ylabel() == "y"
    assert "of the variance" in panels[1].get_title()


def test_counts_of_residuals_are_integers(sine):
    histogram = residuals(sine, sine.best_frame).axes[2]
    ticks = histogram.get_yticks()
    assert len(ticks) > 1
    np.testing.assert_array_equal(ticks, ticks.round())


@pytest.mark.parametrize("factor", [2.5, 6, 25, 60, 300, 1e5])
@pytest.mark.parametrize("low", [0.0013, 0.07, 1.1])
def test_a_logarithmic_axis_has_several_labels(low, factor):
    axes = figure(4, 3).subplots()
    axes.plot([low, low * factor])
    logarithmic(axes)
    bottom, top = axes.get_ylim()
    assert 2 <= sum(bottom <= tick <= top for tick in axes.get_yticks()) <= 9


def area(marker):
    style = MarkerStyle(marker)
    x, y = style.get_path().transformed(style.get_transform()).to_polygons()[0].T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_markers_of_all_classes_are_visible():
    assert len(set(MARKERS)) == len(MARKERS) >= 10
    assert min(map(area, MARKERS)) > 0.5 * area("o")


def test_smoothing_keeps_the_level_and_gaps():
    noisy = np.exp(np.random.default_rng(0).normal(size=1000))
    noisy[500] = np.nan
    smooth = smoothed(noisy)
    assert np.isnan(smooth).nonzero()[0].tolist() == [500]
    assert np.nanstd(np.log(smooth)) < 0.3
    np.testing.assert_allclose(smoothed(np.full(100, 0.25)), 0.25)
    np.testing.assert_array_equal(smoothed(noisy[:40]), noisy[:40])


def boxes(fig, canvas):
    """The boxes of the caption, of titles and of the labels of axes, and those of legends."""
    texts = [fig.texts[-1], *(text for axes in fig.axes for text in _labels(axes))]
    shown = [text for text in texts if isinstance(text, Text) and text.get_text()]
    legends = [legend for axes in fig.axes if (legend := axes.get_legend())]
    return [(text.get_text(), text.get_window_extent(canvas)) for text in shown], [
        legend.get_window_extent(canvas) for legend in legends
    ]


def _labels(axes):
    return [axes.xaxis.label, axes.yaxis.label, axes.title]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sine", "one_feature", "iris"])
def test_no_text_is_cut_or_covers_another(name, request):
    study = request.getfixturevalue(name)
    for picture in pictures():
        fig = picture.draw(study, study.best_frame)
        if fig is None:
            continue
        renderer = fig.canvas.get_renderer()
        fig.draw_without_rendering()
        texts, legends = boxes(fig, renderer)
        for i, (text, box) in enumerate(texts):
            covered = [other for other, at in texts[i + 1 :] if box.overlaps(at)]
            assert not covered, (picture.name, text, covered)
        for box in [*legends, *(box for _, box in texts)]:
            assert box.x0 >= -1, picture.name
            assert box.x1 <= fig.bbox.x1 + 1, picture.name
