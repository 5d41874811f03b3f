// The charts of a report: bands and single seeds, hover, zoom, and what is shown.

const Report = (() => {
  let data;
  const COLOURS = 7;
  const FIRST_SHOWN = 7; // Lines in a chart at first: as many as there are colours.
  const DASHES = [[], [8, 5], [2, 4], [10, 4, 2, 4]];
  let charts = [];
  let scatters = [];
  // What is shown of each task, and where a chart is zoomed to: by names, so that they outlast a newer page.
  const shown = new Map();
  const zooms = new Map();

  const SERIES = (series) => `series ${series.label}`;
  const SEED = (series, seed) => `seed ${seed} of ${series.label}`;
  const REFERENCE = (reference) => `reference ${reference.label}`;

  // The controls change it.
  function stateOf(task) {
    if (!shown.has(task.name)) shown.set(task.name, { clock: false, single: false, share: false, off: new Set(), met: new Set() });
    const state = shown.get(task.name);
    task.series.forEach((series, i) => {
      if (i >= FIRST_SHOWN && !state.met.has(series.label)) state.off.add(SERIES(series));
      state.met.add(series.label);
    });
    return state;
  }

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

  class Chart {
    constructor(place) {
      this.place = place;
      this.task = Number(place.dataset.task);
      this.about = data.tasks[this.task];
      this.chart = this.about.charts[Number(place.dataset.chart)];
      this.called = `${this.about.name} ${this.chart.judged} ${this.chart.name}`;
      this.state = stateOf(this.about);
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
      const references = this.chart.judged ? this.about.references : [];
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
      const { off, single } = this.state;
      if (row.what === "reference") return !off.has(REFERENCE(row.reference));
      const series = this.about.series[row.line.series];
      if (off.has(SERIES(series))) return false;
      return row.what !== "seed" || (single && !off.has(SEED(series, series.seeds[row.seed])));
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
      return {
        width,
        height: this.chart.judged ? 340 : 230,
        legend: { show: false },
        cursor: {
          drag: { x: true, y: false, setScale: true },
          points: { show: false },
          bind: { dblclick: () => () => { this.reset(); return null; } },
        },
        scales: { x: { time: false }, y: { range: (_, low, high) => this.range(low, high) } },
        series: [{}, ...lines],
        bands,
        axes: [
          axis((value) => (this.state.clock ? duration(value) : count(value)), { space: 70 }),
          axis(number, { size: 62 }),
        ],
        hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)], draw: [(plot) => this.name(plot)] },
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

    // Writes beside the lines of what is compared with which is which.
    name(plot) {
      const { ctx, bbox } = plot;
      const ratio = window.devicePixelRatio || 1;
      const size = 12 * ratio;
      const lines = this.seriesRows.flatMap((row, i) => {
        const value = row.what === "reference" && this.visible(row) ? plot.data[i + 1][0] : null;
        return value === null || value === undefined ? [] : [{ text: row.reference.label, y: plot.valToPos(value, "y", true) }];
      }).sort((a, b) => b.y - a.y);
      ctx.save();
      ctx.font = `${size}px system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.fillStyle = css("--quiet");
      // The lowest one's words stand below its line, those of the others above theirs and above each other.
      let free = Infinity;
      lines.forEach(({ text, y }, i) => {
        if (y < bbox.top || y > bbox.top + bbox.height) return;
        const under = lines.length > 1 && i === 0;
        ctx.textBaseline = under ? "top" : "bottom";
        const at = under ? y + 3 * ratio : Math.min(y - 3 * ratio, free);
        free = under ? y - 3 * ratio : at - size;
        ctx.fillText(text, bbox.left + bbox.width - 4 * ratio, at);
      });
      ctx.restore();
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
      this.reset();
      if (zooms.has(this.called)) this.plot.setScale("x", zooms.get(this.called));
      this.sizes = new ResizeObserver(() => this.resize());
      this.sizes.observe(this.place);
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

    // Before its place is taken away; remembers where it is zoomed to.
    end() {
      if (!this.built) return;
      const { min, max } = this.plot.scales.x;
      if (this.zoomed()) zooms.set(this.called, { min, max });
      else zooms.delete(this.called);
      this.sizes.disconnect();
      this.plot.destroy();
    }

    // After a control has changed; `numbers` where the numbers themselves have.
    update(numbers) {
      if (!this.built) return;
      const zoomed = !numbers && this.zoomed();
      this.plot.batch(() => {
        this.seriesRows.forEach((row, i) => {
          if (this.plot.series[i + 1].show !== this.visible(row)) this.plot.setSeries(i + 1, { show: this.visible(row) });
        });
        if (numbers) this.plot.setData(this.data());
      });
      if (!zoomed) this.reset();
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
          words.push(`seed ${this.about.series[row.line.series].seeds[row.seed]} ${number(value)}`);
        } else {
          words.push(`${row.reference.label} ${number(value)}`);
        }
      });
      parts.push(words.join("; "));
      this.readout.replaceChildren(...parts);
    }

    label(row) {
      return this.about.series[row.line.series].label;
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

    // From where to where the lines go that are shown; all of them where none is.
    extent() {
      const x = this.plot.data[0];
      const ends = this.seriesRows.flatMap((row, i) => {
        if (row.what !== "mid" || !this.visible(row)) return [];
        const values = this.plot.data[i + 1];
        const there = x.filter((_, at) => values[at] !== undefined && values[at] !== null);
        return there.length ? [there[0], there[there.length - 1]] : [];
      });
      const [least, most] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [x[0], x[x.length - 1]];
      return least < most ? [least, most] : [x[0], x[x.length - 1]];
    }

    zoomed() {
      const { min, max } = this.plot.scales.x;
      return Boolean(this.whole) && (min !== this.whole[0] || max !== this.whole[1]);
    }

    zoom(by) {
      const { min, max } = this.plot.scales.x;
      const x = this.plot.data[0];
      if (!x.length) return;
      const [least, most] = this.extent();
      const middle = this.at === undefined ? (min + max) / 2 : Math.max(min, Math.min(max, x[this.at]));
      const half = ((max - min) * by) / 2;
      this.plot.setScale("x", { min: Math.max(least, middle - half), max: Math.min(most, middle + half) });
    }

    reset() {
      const x = this.plot.data[0];
      if (!x.length) return;
      const [min, max] = this.extent();
      // A single evaluation has uPlot's own room around it.
      this.whole = min < max ? [min, max] : null;
      if (this.whole) this.plot.setScale("x", { min, max });
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
    const state = stateOf(task);
    const refresh = (numbers) => charts.filter((chart) => chart.task === at).forEach((chart) => chart.update(numbers));
    const set = (legend, ...children) => make("fieldset", {}, make("legend", { textContent: legend }), ...children);
    // A box that keeps `name` out of what is shown while it is empty.
    const choose = (text, name, swatch) => tick(text, !state.off.has(name), (on) => {
      if (on) state.off.delete(name);
      else state.off.add(name);
      refresh(false);
    }, swatch);
    const clocks = task.charts[0].lines.filter((line) => line.seconds).length;
    if (!clocks) state.clock = false;
    const along = ["steps", "wall clock"].map((text, i) => {
      const button = make("input", {
        type: "radio", name: `axis-${at}`, checked: state.clock === (i === 1), disabled: i === 1 && !clocks,
      });
      button.addEventListener("change", () => { state.clock = i === 1; refresh(true); });
      return make("label", {}, button, make("span", { textContent: text }));
    });
    if (!clocks) along.push(make("span", { className: "quiet", textContent: "wall clock is not recorded" }));
    const show = [tick("single seeds", state.single, (on) => { state.single = on; refresh(false); })];
    if (task.charts[0].lines.some((line) => line.expert > 0)) {
      show.push(tick("as share of the expert's return", state.share, (on) => { state.share = on; refresh(true); }));
    }
    show.push(...task.references.map((reference) => choose(reference.label, REFERENCE(reference))));
    const swatch = (i) => make("span", {
      className: `swatch c${i % COLOURS} dash${Math.floor(i / COLOURS) % DASHES.length}`,
    });
    const methods = task.series.map((series, i) => choose(series.label, SERIES(series), swatch(i)));
    const seeds = make("details", {}, make("summary", { textContent: "Which seeds are drawn singly" }),
      ...task.series.map((series) => set(series.label, ...series.seeds.map((seed) => (
        choose(`seed ${seed}`, SEED(series, seed))
      )))));
    place.append(set("Along", ...along), set("Show", ...show), set("Methods", ...methods), seeds,
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

  // A chart is drawn when it comes near the window.
  const near = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      entry.target.chart.build();
    });
  }, { rootMargin: "400px" });

  // Draws what the page says, when it is new.
  function begin() {
    data = embedded();
    data.tasks.forEach((_, at) => {
      const place = document.getElementById(`controls-${at}`);
      if (place) controls(place, at);
    });
    charts = [...document.querySelectorAll(".chart")].map((place) => new Chart(place));
    charts.forEach((chart) => near.observe(chart.place));
    scatters = data.spaces.map((space, i) => new Scatter(i, space));
  }

  // Shows a newer page in the place of this one; controls, zoom, what is folded out, focus and place stay.
  function replace(page) {
    const name = (details) => `${details.closest("section")?.id} ${details.querySelector("summary").textContent}`;
    const all = (kind) => [...document.querySelectorAll(kind)];
    const open = new Set(all("details").filter((details) => details.open).map(name));
    const drawn = new Set(charts.filter((chart) => chart.built).map((chart) => chart.called));
    const [x, y] = [window.scrollX, window.scrollY];
    const reached = all("a, button, input, summary, [tabindex]");
    const at = reached.indexOf(document.activeElement);
    charts.forEach((chart) => chart.end());
    near.disconnect();
    for (const part of ["header", "main", "#data"]) document.querySelector(part).replaceWith(page.querySelector(part));
    begin();
    all("details").forEach((details) => { details.open ||= open.has(name(details)); });
    charts.filter((chart) => drawn.has(chart.called)).forEach((chart) => chart.build());
    window.scrollTo(x, y);
    const again = at < 0 ? undefined : all("a, button, input, summary, [tabindex]")[at];
    if (again && again.tagName === reached[at].tagName) again.focus({ preventScroll: true });
  }

  begin();
  new ResizeObserver(() => scatters.forEach((scatter) => scatter.draw())).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const printing = matchMedia("print");
  printing.addEventListener("change", () => print(printing.matches));
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  return { replace };
})();
