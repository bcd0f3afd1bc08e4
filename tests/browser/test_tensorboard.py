"""Each TensorBoard dashboard of the runs loads without an error."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request

import pytest
from harness import FULL
from tiers import in_campaign

# Errors of TensorBoard itself in a browser without a GPU or a network.
TENSORBOARD_ERRORS = (
    "WebGL",
    "GPU stall",
    "Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
    "fonts.g",
    "favicon",
    "google-analytics",
    "Lit is in dev mode",
)
IMAGE_TAGS = ("decision", "units", "hidden")


def page_faults(page):
    return [fault for fault in page.faults if not any(text in fault for text in TENSORBOARD_ERRORS)]


def fetch(address, path, **query):
    with urllib.request.urlopen(
        f"{address}/data/{path}?{urllib.parse.urlencode(query)}", timeout=30
    ) as response:
        return json.loads(response.read())


def fetch_json(address, path, body):
    """Post a JSON body to TensorBoard and return its response."""
    request = urllib.request.Request(
        f"{address}/data/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


def is_shown(page, locator):
    """Wait at most 30 seconds for an element."""
    for _ in range(60):
        if locator.count():
            return True
        page.wait_for_timeout(500)
    return False


def opens(page, address, tab, text):
    """Check that the dashboard shows this text and the page has no errors. A page that was opened
    before TensorBoard had read all files does not show them by itself, so it is opened again.
    """
    page.goto(f"{address}/#{tab}")
    # The projector is nested in two frames.
    inside = page.frame_locator("iframe").frame_locator("iframe") if tab == "projector" else page
    shown = inside.get_by_text(re.compile(text))
    for _ in range(5):
        page.reload()
        if is_shown(page, shown):
            break
    assert shown.count(), f"{tab} does not show {text}"
    page.wait_for_timeout(500)
    assert page_faults(page) == []


@pytest.mark.parametrize(
    ("tab", "text"),
    [
        in_campaign("cluster", "scalars", "gradient_norm"),
        ("images", "decision"),
        ("distributions", "activations"),
        in_campaign("cluster", "histograms", "weights"),
        in_campaign("cluster", "graphs", "output_layer|layer_1|Graph"),
        ("projector", "Dimension"),
        in_campaign("cluster", "hparams", "TABLE VIEW|Hyperparameters"),
        in_campaign("cluster", "text", "configuration"),
        in_campaign("cluster", "custom_scalars", "train and validation"),
        in_campaign("cluster", "pr_curves", "precision_recall|precision"),
    ],
)
def test_a_dashboard_loads(page, tensorboard, tab, text):
    opens(page, tensorboard, tab, text)


@pytest.mark.campaign("cluster", small=True)
@pytest.mark.parametrize(
    ("tab", "text"),
    [
        ("scalars", "gradient_norm"),
        ("hparams", "TABLE VIEW|Hyperparameters"),
        *([("images", "decision"), ("distributions", "activations")] if FULL else []),
        *([("projector", "Dimension")] if FULL else []),
    ],
)
def test_a_dashboard_loads_with_a_sweep_of_sixty(page, sweep_tensorboard, tab, text):
    opens(page, sweep_tensorboard, tab, text)


def test_all_of_sixty_jobs_have_curves_and_hyperparameters(sweep_tensorboard):
    tags = fetch(sweep_tensorboard, "plugin/scalars/tags")
    assert len([name for name in tags if "val/loss" in tags[name]]) == 60
    experiment = fetch_json(sweep_tensorboard, "plugin/hparams/experiment", {})
    columns = [{"hparam": info["name"]} for info in experiment["hparamInfos"]]
    assert {"optimizer.lr", "seed"} <= {column["hparam"] for column in columns}
    groups = fetch_json(
        sweep_tensorboard,
        "plugin/hparams/session_groups",
        {
            "experimentName": "",
            "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": columns,
            "startIndex": 0,
            "sliceSize": 100,
        },
    )
    assert groups["totalSize"] == 60
    assert {group["hparams"]["optimizer.lr"] for group in groups["sessionGroups"]} == {
        0.003,
        0.01,
        0.03,
    }


def test_the_slider_moves_the_boundary(tensorboard):
    tags = fetch(tensorboard, "plugin/images/tags")
    run = next(name for name in tags if "radial_6_6" in name)
    assert set(tags[run]) >= {"decision"}
    images = fetch(tensorboard, "plugin/images/images", run=run, tag="decision", sample=0)
    steps = [image["step"] for image in images]
    assert len(steps) >= 3
    assert steps[0] != steps[-1]
    pictures = {
        urllib.request.urlopen(
            f"{tensorboard}/data/plugin/images/individualImage?{image['query']}"
        ).read()
        for image in images
    }
    assert len(pictures) == len(images)


def test_the_slider_is_there(page, tensorboard):
    page.goto(f"{tensorboard}/#images&regexInput=radial_6_6")
    page.reload()
    page.get_by_text("decision").first.wait_for(state="attached", timeout=150_000)
    slider = page.locator("tf-image-loader paper-slider, tf-image-loader [role=slider]")
    slider.first.wait_for(state="attached", timeout=150_000)


def test_distributions_of_every_kind_are_there(tensorboard):
    tags = fetch(tensorboard, "plugin/distributions/tags")
    values = set(next(tags[name] for name in tags if "radial_6_6" in name))
    for layer in (1, 2, 3):
        assert {
            f"weights/layer_{layer}",
            f"biases/layer_{layer}",
            f"gradients/layer_{layer}/weights",
        } <= values
    assert {"activations/layer_1", "activations/layer_2"} <= values


def test_the_graph_is_that_of_the_network(tensorboard):
    run = next(name for name in fetch(tensorboard, "plugin/graphs/info") if "radial_6_6" in name)
    query = urllib.parse.urlencode({"run": run, "conceptual": "false"})
    graph = (
        urllib.request.urlopen(f"{tensorboard}/data/plugin/graphs/graph?{query}").read().decode()
    )
    for name in (
        "input",
        "layer_1/affine",
        "layer_1/activation",
        "layer_2/weight",
        "output_layer/bias",
        "loss",
    ):
        assert f'name: "{name}"' in graph


def test_the_projector_has_the_vectors_of_each_layer_and_small_pictures(tensorboard):
    run = next(name for name in fetch(tensorboard, "plugin/projector/runs") if "digits" in name)
    embeddings = fetch(tensorboard, "plugin/projector/info", run=run)["embeddings"]
    assert [entry["tensorName"] for entry in embeddings] == ["input", "layer_1", "output"]
    assert embeddings[0]["sprite"]["singleImageDim"] == [8, 8]
    query = urllib.parse.urlencode({"run": run, "name": "layer_1"})
    labels = (
        urllib.request.urlopen(f"{tensorboard}/data/plugin/projector/metadata?{query}")
        .read()
        .decode()
        .splitlines()
    )
    assert labels[0].split("\t") == ["class", "predicted", "right"]
    tensor = urllib.request.urlopen(f"{tensorboard}/data/plugin/projector/tensor?{query}").read()
    assert len(tensor) == 4 * 16 * (len(labels) - 1)


def test_train_and_validation_are_in_one_chart(tensorboard):
    layout = fetch(tensorboard, "plugin/custom_scalars/layout")
    charts = next(
        category for category in layout["category"] if category["title"] == "train and validation"
    )["chart"]
    loss = next(chart for chart in charts if chart["title"] == "loss")
    assert set(loss["multiline"]["tag"]) == {"^train/loss$", "^val/loss$"}


def test_recall_curves_agree_with_scikit_learn(tensorboard, outputs):
    import numpy as np
    from sklearn.metrics import precision_score, recall_score

    import mlplab
    from mlplab.data.preparation.examples import prepare

    run = mlplab.load(outputs / "runs" / "radial_6_6" / "a")
    test = prepare(run.settings.dataset, run.settings.seed, True).test
    called = run.predict_proba(run.preprocessing.feature_scaler.invert(test.x))[:, 1] >= 63 / 126
    name = next(tag for tag in fetch(tensorboard, "plugin/pr_curves/tags") if "radial_6_6" in tag)
    curves = fetch(
        tensorboard, "plugin/pr_curves/pr_curves", run=name, tag="test/precision_recall/blue"
    )[name]
    at = int(np.abs(np.array(curves[-1]["thresholds"]) - 0.5).argmin())
    values = sorted(
        zip(curves[-1]["precision"], curves[-1]["recall"], strict=True), key=lambda pair: pair[1]
    )
    expected = (precision_score(test.y == 1, called), recall_score(test.y == 1, called))
    assert any(np.allclose(pair, expected, atol=1e-5) for pair in values), (at, expected)
