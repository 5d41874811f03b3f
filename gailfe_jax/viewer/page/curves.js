// Curves of a quantity, an episode each, with a line at the step that is shown.

class Curve {
  constructor(quantity, episodes, seek) {
    this.quantity = quantity;
    this.episodes = episodes;
    this.place = document.getElementById(`curve-${quantity.name}`);
    this.said = document.getElementById(`curve-${quantity.name}-said`);
    this.place.setAttribute("aria-hidden", "true"); // The line below says it in words.
    this.lines = episodes.map((episode) => episode.curves[quantity.name] ?? null);
    const longest = Math.max(...episodes.map((episode) => episode.steps));
    const x = Array.from({ length: longest }, (_, i) => i);
    this.plot = new uPlot(this.options(), [x, ...this.lines.map((line) => x.map((i) => line?.[i] ?? null))], this.place);
    this.line = make("div", { className: "now" });
    this.plot.over.append(this.line);
    const to = (event) => seek(this.plot.posToVal(event.clientX - this.plot.over.getBoundingClientRect().left, "x"));
    this.plot.over.addEventListener("pointerdown", to);
    this.plot.over.addEventListener("pointermove", (event) => { if (event.buttons) to(event); });
    new ResizeObserver(() => {
      if (this.place.clientWidth && this.plot.width !== this.width()) {
        this.plot.setSize({ width: this.width(), height: this.plot.height });
        this.show(this.step ?? 0);
      }
    }).observe(this.place);
  }

  width() {
    return Math.max(200, this.place.clientWidth);
  }

  options() {
    return {
      width: this.width(),
      height: 170,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      scales: { x: { time: false }, y: { range: (_, low, high) => this.range(low, high) } },
      series: [{}, ...this.episodes.map((_, i) => ({
        stroke: () => css(`--c${i}`), width: 1.6, dash: [[], [8, 5], [2, 4]][i % 3], points: { show: false },
      }))],
      axes: [axis((value) => `${value}`, { space: 60 }), axis(number, { size: 60 })],
    };
  }

  range(low, high) {
    if (this.quantity.share) return [0, 1];
    if (low === null || high === null) return [0, 1];
    const margin = 0.06 * (high - low || Math.abs(high) || 1);
    return [low - margin, high + margin];
  }

  show(step) {
    this.step = step;
    this.line.style.left = `${this.plot.valToPos(step, "x")}px`;
    this.said.textContent = this.lines.flatMap((line, i) => {
      if (!line) return [];
      // The last state has no step of its own.
      const value = line[Math.min(Math.round(step), line.length - 1)];
      return [`${this.episodes[i].label}: ${number(value)}`];
    }).join("; ");
  }
}
