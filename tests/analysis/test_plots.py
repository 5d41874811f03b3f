from __future__ import annotations

import inspect

import imageio.v3 as imageio
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from gailfe_jax.analysis import plots as plotting
from gailfe_jax.analysis.plots import style
from gailfe_jax.analysis.statistics import bootstrap_band, iqm
from gailfe_jax.errors import GailfeError

STEPS = np.arange(1, 5) * 250_000
CURVES = {"GAIL": (STEPS, np.arange(12.0).reshape(3, 4)), "GAILFE": (STEPS, 5 + np.arange(20.0).reshape(5, 4))}


PLOTS = [plot for _, plot in inspect.getmembers(plotting, inspect.isfunction)]


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_refuses_to_draw_nothing(plot, tmp_path):
    data, path, *others = inspect.signature(plot).parameters.values()
    assert path.name == "path" and "title" in {other.name for other in others}
    words = {other.name: "x" for other in others if other.default is other.empty}
    with pytest.raises(GailfeError, match=r"^\w+: got no.*; expected at least one") as error:
        plot({}, tmp_path / "a.png", **words)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []
    assert data.default is data.empty


def picture(path):
    """`[h, w]` the darkest colour channel of each pixel."""
    return imageio.imread(path)[..., :3].min(axis=-1)


@pytest.fixture
def figures(monkeypatch):
    """Figures that are saved."""
    found = []
    save = style.save
    monkeypatch.setattr(style, "save", lambda figure, path: (found.append(figure), save(figure, path)))
    return found


@pytest.fixture
def drawn(figures):
    """Axes of the figures that are saved."""
    return lambda: [axes for figure in figures for axes in figure.axes if axes.get_visible()]


def lines(axes: Axes):
    return [line for line in axes.get_lines() if line.get_linewidth() > 1.5]


def test_learning_curve_draws_iqm_and_band(tmp_path, drawn):
    path = tmp_path / "figures" / "curve.png"
    plotting.learning_curves(CURVES, path, title="Hopper", expert_return=30.0, per_seed=True)
    assert (picture(path) < 200).mean() > 0.005
    (axes,) = drawn()
    for line, (steps, values) in zip(lines(axes), CURVES.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), steps)
        np.testing.assert_allclose(line.get_ydata(), iqm(values, axis=0))
    band = bootstrap_band(CURVES["GAIL"][1])
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (band.low.min(), band.high.max())
    assert len([line for line in axes.get_lines() if line.get_linewidth() < 1]) == 3 + 5
    assert [line.get_ydata()[0] for line in axes.get_lines() if len(line.get_ydata()) == 2] == [30.0]


def test_one_seed_and_gaps_can_be_drawn(tmp_path, drawn):
    values = np.array([[1.0, np.nan, 3.0, 4.0]])
    plotting.learning_curves({"GAIL": (STEPS, values)}, tmp_path / "one.png", title="t")
    np.testing.assert_array_equal(lines(drawn()[0])[0].get_ydata(), values[0])


def test_panels_keep_a_methods_colour(tmp_path, drawn):
    panels = {"Hopper": CURVES, "HalfCheetah": {"GAILFE": CURVES["GAILFE"]}, "Walker2d": CURVES, "Ant": CURVES}
    plotting.learning_curve_panels(panels, tmp_path / "p.png", expert_returns={"Hopper": 30.0}, columns=2)
    hopper, cheetah = drawn()[:2]
    assert len(drawn()) == 4
    assert to_hex(lines(hopper)[1].get_color()) == to_hex(lines(cheetah)[0].get_color())
    assert to_hex(lines(hopper)[0].get_color()) != to_hex(lines(cheetah)[0].get_color())


def test_a_picture_says_how_many_seeds_there_are_and_what_its_band_is(tmp_path, drawn, figures):
    plotting.learning_curves(
        CURVES, tmp_path / "a.png", title="t", per_seed=True, shown_return=20.0, expert_return=30.0
    )
    (legend,) = figures[0].legends
    assert legend.get_title().get_text() == (
        "line: IQM of 3 to 5 seeds, band: its 95% bootstrap interval, thin lines: each seed"
    )
    assert [text.get_text() for text in legend.get_texts()] == ["GAIL", "GAILFE", "expert", "demonstrations"]
    assert [line.get_ydata()[0] for line in drawn()[0].get_lines() if len(line.get_ydata()) == 2] == [30.0, 20.0]
    plotting.learning_curves({"GAIL": (STEPS, np.ones((1, 4)))}, tmp_path / "b.png", title="t")
    assert figures[1].legends[0].get_title().get_text() == "one seed"


def test_values_begin_at_zero_unless_they_lie_below(tmp_path, drawn):
    high = {"GAIL": (STEPS, np.full((2, 4), 9_000.0) + np.arange(4))}
    low = {"GAIL": (STEPS, -np.ones((2, 4)))}
    plotting.learning_curve_panels({"high": high, "low": low}, tmp_path / "a.png")
    assert [axes.get_ylim()[0] == 0 for axes in drawn()] == [True, False]


def test_a_panel_holds_six_curves(tmp_path, drawn):
    panels = {task: {f"{i}": (STEPS, np.ones((2, 4))) for i in range(8)} for task in ("Hopper", "Ant")}
    plotting.learning_curve_panels(panels, tmp_path / "a.png", columns=3)
    assert [axes.get_title() for axes in drawn()] == [f"{task} ({i} of 2)" for task in panels for i in (1, 2)]
    assert [len(lines(axes)) for axes in drawn()] == [6, 2, 6, 2]
    for axes in drawn():
        looks = {(to_hex(line.get_color()), line.get_linestyle()) for line in lines(axes)}
        assert len({colour for colour, _ in looks}) == len(lines(axes))


def test_a_vector_file_lies_beside_a_picture(tmp_path):
    plotting.learning_curves(CURVES, tmp_path / "a.png", title="t")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


def test_bar_intervals_marks_the_iqm_of_each_method(tmp_path, drawn):
    scores = {"GAIL": [1.0, 2.0, 3.0, 4.0], "GAILFE": np.arange(10.0).reshape(5, 2)}
    plotting.bar_intervals(scores, tmp_path / "bars.png", title="Hopper", reference=9.0)
    (axes,) = drawn()
    dots = [collection.get_offsets()[0, 0] for collection in axes.collections if len(collection.get_offsets()) == 1]
    assert dots == [2.5, iqm(scores["GAILFE"])]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["GAIL (n=4)", "GAILFE (n=5)"]
    assert axes.get_xlim()[0] == 0
    plotting.bar_intervals({"GAIL": [-1.0, 2.0]}, tmp_path / "low.png", title="Hopper")
    assert drawn()[1].get_xlim()[0] < -1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (500, "500"), (250_000, "250k"), (1_000_000, "1M"), (1_500_000, "1.5M"), (2_000_000_000, "2B")],
)
def test_steps_are_said_briefly(value, text):
    assert style.count(value) == text


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_vector_formats_repeat_byte_for_byte(tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        plotting.learning_curves(CURVES, path, title="t")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths  # no draft is left


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda path: plotting.learning_curves({}, path / "a.png", title="t"), "panels"),
        (lambda path: plotting.learning_curves({"x": (STEPS, STEPS)}, path / "a.png", title="t"), "x"),
        (lambda path: plotting.bar_intervals({}, path / "a.png", title="t"), "scores"),
        (lambda path: plotting.learning_curves(CURVES, path / "a.what", title="t"), ".*a.what"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, call, field):
    with pytest.raises(GailfeError, match=rf"^{field}.*expected") as error:
        call(tmp_path)
    assert "\n" not in str(error.value)


def test_log_panels_share_an_axis_and_mark_the_knee(tmp_path, drawn):
    panels = {"steps/s": {"ours": ([1, 8, 64], [10.0, 70.0, 90.0])}, "MiB": {"process": ([1, 8, 64], [1.0, 2.0, 9.0])}}
    plotting.log_panels(panels, tmp_path / "p.png", title="t", xlabel="environments", mark=16.0)
    for axes, (ylabel, curves) in zip(drawn(), panels.items(), strict=True):
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", ylabel)
        curve, mark = axes.get_lines()
        np.testing.assert_array_equal(curve.get_xydata().T, next(iter(curves.values())))
        assert list(mark.get_xdata()) == [16.0, 16.0] and mark.get_label() == "knee"
    with pytest.raises(GailfeError, match="panels: got no curves"):
        plotting.log_panels({"steps/s": {}}, tmp_path / "p.png", title="t", xlabel="x")
