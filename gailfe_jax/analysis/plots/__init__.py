"""Figures, with intervals over seeds where there are seeds. To add one, write its module and add its line here.

A figure is a function of its data (label to values), the file to write and a title. The file's suffix decides the
format: png, pdf or svg. Where there is nothing to draw, it raises `GailfeError` and writes no file. `style` holds what
all of them look like.
"""

from gailfe_jax.analysis.plots.bars import bar_intervals as bar_intervals
from gailfe_jax.analysis.plots.curves import learning_curve_panels as learning_curve_panels
from gailfe_jax.analysis.plots.curves import learning_curves as learning_curves
from gailfe_jax.analysis.plots.panels import log_panels as log_panels
from gailfe_jax.analysis.plots.reliability import reliability_diagram as reliability_diagram
