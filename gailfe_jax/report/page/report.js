// The charts of a report: bands and single seeds, hover, zoom, and what is shown.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = 7;
  const FIRST_SHOWN = 7; // Lines in a chart at first: as many as there are colours.
  const DASHES = [[], [8, 5], [2, 4], [10, 4, 2, 4]];
  const charts = [];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  // What is shown of each task; the controls change it.
  const shown = data.tasks.map((task) => ({
    clock: false,
    single: false,
    share: false,
    series: task.series.map((_, i) => i < FIRST_SHOWN),
    seeds: task.series.map((series) => series.seeds.map(() => true)),
    references: task.references.map(() => true),
  }));

  function count(value) {
    for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(4))}${letter}`;
    }
    return `${Number(value.toPrecision(4))}`;
  }

  function duration(seconds) {
    if (seconds < 120) return `${Math.round(seconds)} s`;
    return seconds < 7200 ? `${Number((seconds / 60).toPrecision(3))} min` : `${Number((seconds / 3600).toPrecision(3))} h`;
  }

  function number(value) {
    if (value === null || value === undefined) return "none";
    return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : `${Number(value.toPrecision(3))}`;
  }

  class Chart {
    constructor(place) {
      this.place = place;
      this.task = Number(place.dataset.task);
      this.chart = data.tasks[this.task].charts[Number(place.dataset.chart)];
      this.state = shown[this.task];
      this.built = false;
      place.chart = this;
    }

    // The series that uPlot draws behind its x: `{ line, what, seed, value(line) }` each.
    rows() {
      const rows = [];
      this.chart.lines.forEach((line, at) => {
        for (const what of ["low", "high", "mid"]) rows.push({ at, line, what });
        line.seeds.forEach((_, seed) => rows.push({ at, line, what: "seed", seed }));
      });
      const references = this.chart.judged ? data.tasks[this.task].references : [];
      references.forEach((reference, at) => rows.push({ at, reference, what: "reference" }));
      return rows;
    }

    // Shares of the expert's return, where they are asked for and it is known.
    scaled(line, values) {
      if (!(this.chart.judged && this.state.share)) return values;
      return values.map((value) => (value === null || !(line.expert > 0) ? null : value / line.expert));
    }

    data() {
      const clock = this.state.clock;
      const drawn = this.chart.lines.filter((line) => !clock || line.seconds);
      const axis = (line) => (clock ? line.seconds : line.steps);
      const x = [...new Set(drawn.flatMap(axis))].sort((a, b) => a - b);
      const spot = new Map(x.map((value, i) => [value, i]));
      const columns = this.seriesRows.map((row) => {
        // `undefined` where this line has no evaluation; uPlot draws on across it, and not across null.
        const column = new Array(x.length).fill(undefined);
        if (row.what === "reference") {
          const expert = drawn.length ? drawn[0].expert : null;
          const value = this.state.share ? (expert > 0 ? row.reference.value / expert : null) : row.reference.value;
          return x.map(() => value);
        }
        if (!drawn.includes(row.line)) return x.map(() => null);
        const values = this.scaled(row.line, row.what === "seed" ? row.line.seeds[row.seed] : row.line[row.what]);
        axis(row.line).forEach((value, i) => { column[spot.get(value)] = values[i]; });
        return column;
      });
      return [x, ...columns];
    }

    visible(row) {
      if (row.what === "reference") return this.state.references[row.at];
      if (!this.state.series[row.line.series]) return false;
      return row.what !== "seed" || (this.state.single && this.state.seeds[row.line.series][row.seed]);
    }

    options(width) {
      const lines = this.seriesRows.map((row) => {
        const line = row.line ? row.line.series : 0;
        const colour = () => css(row.what === "reference" ? "--quiet" : `--c${line % COLOURS}`);
        const dash = row.what === "reference" ? [4, 3 + 4 * row.at] : DASHES[Math.floor(line / COLOURS) % DASHES.length];
        return {
          show: this.visible(row),
          stroke: row.what === "low" || row.what === "high" ? () => "transparent" : colour,
          width: { mid: 2.2, seed: 1, reference: 1.3 }[row.what] ?? 0,
          dash: row.what === "seed" ? [] : dash,
          alpha: row.what === "seed" ? 0.55 : 1,
          points: { show: row.what === "mid" && row.line.steps.length < 2, size: 7 },
          label: row.what,
        };
      });
      const bands = [];
      this.seriesRows.forEach((row, i) => {
        if (row.what !== "low") return;
        const line = row.line.series;
        bands.push({ series: [i + 2, i + 1], fill: () => `${css(`--c${line % COLOURS}`)}33` });
      });
      const axis = (values, more = {}) => ({
        stroke: () => css("--quiet"),
        grid: { stroke: () => css("--grid"), width: 1 },
        ticks: { stroke: () => css("--grid"), width: 1 },
        font: "12px system-ui, sans-serif",
        values: (_, ticks) => ticks.map(values),
        ...more,
      });
      return {
        width,
        height: this.chart.judged ? 340 : 230,
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: true }, points: { show: false } },
        scales: { x: { time: false }, y: { range: (_, low, high) => this.range(low, high) } },
        series: [{}, ...lines],
        bands,
        axes: [
          axis((value) => (this.state.clock ? duration(value) : count(value)), { space: 70 }),
          axis(number, { size: 62 }),
        ],
        hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
      };
    }

    // Zero is in the picture where all numbers are on one side of it and it says something.
    range(low, high) {
      if (this.chart.share) return [0, 1];
      if (low === null || high === null) return [0, 1];
      const margin = 0.06 * (high - low || Math.abs(high) || 1);
      const top = high + margin;
      if (this.chart.judged && low >= 0) return [0, top];
      return [low - margin, top];
    }

    build() {
      if (this.built) return;
      this.built = true;
      this.seriesRows = this.rows();
      this.plotPlace = make("div", { className: "plot" });
      this.plotPlace.setAttribute("aria-hidden", "true");
      this.readout = make("p", { className: "readout" });
      this.status = make("p", { className: "hidden" });
      this.status.setAttribute("role", "status");
      const tool = (text, label, act) => {
        const button = make("button", { type: "button", textContent: text });
        button.setAttribute("aria-label", `${label}: ${this.chart.title}`);
        button.addEventListener("click", act);
        return button;
      };
      const tools = make("div", { className: "tools" },
        tool("+", "Zoom in", () => this.zoom(0.5)),
        tool("−", "Zoom out", () => this.zoom(2)),
        tool("All", "Show all", () => this.reset()));
      this.place.tabIndex = 0;
      this.place.setAttribute("role", "group");
      this.place.setAttribute("aria-label",
        `Chart: ${this.place.dataset.title}. Left and right move along it, plus and minus zoom, zero shows all.`);
      this.place.append(this.plotPlace, this.readout, this.status, tools);
      this.place.addEventListener("keydown", (event) => this.key(event));
      this.plot = new uPlot(this.options(this.width()), this.data(), this.plotPlace);
      new ResizeObserver(() => this.resize()).observe(this.place);
      this.read(null);
    }

    width() {
      return Math.max(200, this.place.clientWidth);
    }

    resize() {
      if (this.place.clientWidth && this.plot.width !== this.width()) {
        this.plot.setSize({ width: this.width(), height: this.plot.height });
      }
    }

    // After a control has changed; `numbers` where the numbers themselves have.
    update(numbers) {
      if (!this.built) return;
      this.plot.batch(() => {
        this.seriesRows.forEach((row, i) => {
          if (this.plot.series[i + 1].show !== this.visible(row)) this.plot.setSeries(i + 1, { show: this.visible(row) });
        });
        if (numbers) this.plot.setData(this.data());
      });
      this.read(null);
    }

    read(index) {
      const x = this.plot ? this.plot.data[0] : [];
      const at = index === null || index === undefined ? x.length - 1 : index;
      if (at < 0 || !x.length) {
        this.readout.textContent = this.state.clock ? "Wall clock is not known for any of these." : "";
        return;
      }
      const where = this.state.clock ? duration(x[at]) : `${count(x[at])} steps`;
      const parts = [make("b", { textContent: `${index === null || index === undefined ? "Last, " : ""}${where}: ` })];
      const words = [];
      this.seriesRows.forEach((row, i) => {
        if (!this.visible(row) || row.what === "low" || row.what === "high") return;
        const value = this.value(i + 1, at);
        if (value === undefined) return;
        if (row.what === "mid") {
          const [low, high] = [this.value(i - 1, at), this.value(i, at)];
          words.push(`${this.label(row)} ${number(value)} [${number(low)}, ${number(high)}]`);
        } else if (row.what === "seed") {
          words.push(`seed ${data.tasks[this.task].series[row.line.series].seeds[row.seed]} ${number(value)}`);
        } else {
          words.push(`${row.reference.label} ${number(value)}`);
        }
      });
      parts.push(words.join("; "));
      this.readout.replaceChildren(...parts);
    }

    label(row) {
      return data.tasks[this.task].series[row.line.series].label;
    }

    // Of the nearest evaluation of this line.
    value(column, at) {
      const values = this.plot.data[column];
      for (let away = 0; away < values.length; away++) {
        for (const i of [at - away, at + away]) if (values[i] !== undefined && i >= 0 && i < values.length) return values[i];
      }
      return undefined;
    }

    move(to) {
      const x = this.plot.data[0];
      this.at = Math.max(0, Math.min(x.length - 1, to));
      this.plot.setCursor({ left: this.plot.valToPos(x[this.at], "x"), top: 0 }, false);
      this.read(this.at);
      this.status.textContent = this.readout.textContent;
    }

    zoom(by) {
      const { min, max } = this.plot.scales.x;
      const x = this.plot.data[0];
      if (!x.length) return;
      const middle = this.at === undefined ? (min + max) / 2 : Math.max(min, Math.min(max, x[this.at]));
      const half = ((max - min) * by) / 2;
      this.plot.setScale("x", { min: Math.max(x[0], middle - half), max: Math.min(x[x.length - 1], middle + half) });
    }

    reset() {
      const x = this.plot.data[0];
      if (x.length) this.plot.setScale("x", { min: x[0], max: x[x.length - 1] });
    }

    key(event) {
      if (event.target !== this.place || event.ctrlKey || event.metaKey || event.altKey) return;
      const last = this.plot.data[0].length - 1;
      const now = this.at ?? last;
      const act = {
        ArrowLeft: () => this.move(now - 1),
        ArrowRight: () => this.move(now + 1),
        Home: () => this.move(0),
        End: () => this.move(last),
        "+": () => this.zoom(0.5),
        "=": () => this.zoom(0.5),
        "-": () => this.zoom(2),
        0: () => this.reset(),
        Escape: () => this.reset(),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    }
  }

  function tick(text, checked, act, swatch) {
    const box = make("input", { type: "checkbox", checked });
    box.addEventListener("change", () => act(box.checked));
    return make("label", {}, box, ...(swatch ? [swatch] : []), make("span", { textContent: text }));
  }

  function controls(place, at) {
    const task = data.tasks[at];
    const state = shown[at];
    const refresh = (numbers) => charts.filter((chart) => chart.task === at).forEach((chart) => chart.update(numbers));
    const set = (legend, ...children) => make("fieldset", {}, make("legend", { textContent: legend }), ...children);
    const clocks = task.charts[0].lines.filter((line) => line.seconds).length;
    const axis = ["steps", "wall clock"].map((text, i) => {
      const button = make("input", { type: "radio", name: `axis-${at}`, checked: i === 0, disabled: i === 1 && !clocks });
      button.addEventListener("change", () => { state.clock = i === 1; refresh(true); });
      return make("label", {}, button, make("span", { textContent: text }));
    });
    if (!clocks) axis.push(make("span", { className: "quiet", textContent: "wall clock is not recorded" }));
    const show = [tick("single seeds", false, (on) => { state.single = on; refresh(false); })];
    if (task.charts[0].lines.some((line) => line.expert > 0)) {
      show.push(tick("as share of the expert's return", false, (on) => { state.share = on; refresh(true); }));
    }
    task.references.forEach((reference, i) => {
      show.push(tick(reference.label, true, (on) => { state.references[i] = on; refresh(false); }));
    });
    const swatch = (i) => make("span", {
      className: `swatch c${i % COLOURS} dash${Math.floor(i / COLOURS) % DASHES.length}`,
    });
    const methods = task.series.map((series, i) => (
      tick(series.label, state.series[i], (on) => { state.series[i] = on; refresh(false); }, swatch(i))
    ));
    const seeds = make("details", {}, make("summary", { textContent: "Which seeds are drawn singly" }),
      ...task.series.map((series, i) => set(series.label, ...series.seeds.map((seed, k) => (
        tick(`seed ${seed}`, true, (on) => { state.seeds[i][k] = on; refresh(false); })
      )))));
    place.append(set("Along", ...axis), set("Show", ...show), set("Methods", ...methods), seeds,
      make("p", { className: "quiet", textContent: "Dragging across a chart zooms, a double click shows all again." }));
  }

  function redraw() {
    charts.filter((chart) => chart.built).forEach((chart) => chart.plot.redraw(false, true));
    scatters.forEach((scatter) => scatter.draw());
  }

  function print(on) {
    if (document.documentElement.classList.contains("printing") === on) return;
    document.documentElement.classList.toggle("printing", on);
    // What is folded away is not printed.
    if (on) charts.filter((chart) => chart.place.offsetParent).forEach((chart) => chart.build());
    redraw();
  }

  data.tasks.forEach((task, at) => {
    const place = document.getElementById(`controls-${at}`);
    if (place) controls(place, at);
  });
  // A chart is drawn when it comes near the window.
  const near = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      entry.target.chart.build();
    });
  }, { rootMargin: "400px" });
  document.querySelectorAll(".chart").forEach((place) => {
    charts.push(new Chart(place));
    near.observe(place);
  });
  const scatters = data.spaces.map((space, i) => new Scatter(i, space));
  new ResizeObserver(() => scatters.forEach((scatter) => scatter.draw())).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const printing = matchMedia("print");
  printing.addEventListener("change", () => print(printing.matches));
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();
