// Curves of an episode's observations, with a cursor at the step that is shown.

const SHOWN = 6;

export class Curves {
  constructor(place, choice) {
    this.place = place;
    this.choice = choice;
    this.figures = [];
    this.step = 0;
    this.failedFrom = null; // The first step of what is marked as a failure.
    new ResizeObserver(() => this.draw()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Once: the names, and which curves are drawn at first, by how much they change in this episode.
  begin(names, columns) {
    const order = names.map((_, i) => i).sort((a, b) => spread(columns[b]) - spread(columns[a]));
    this.chosen = new Set(order.slice(0, SHOWN).concat(names.map((_, i) => i).filter((i) => names[i] === "reward")));
    this.names = names;
    this.choice.replaceChildren(...names.map((name, i) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: this.chosen.has(i) });
      box.addEventListener("change", () => {
        if (box.checked) this.chosen.add(i); else this.chosen.delete(i);
        this.build();
      });
      const label = document.createElement("label");
      label.append(box, ` ${name}`);
      return label;
    }));
  }

  // `columns`: a Float32Array for each name, one number a step.
  show(columns, steps) {
    this.columns = columns;
    this.steps = steps;
    this.build();
  }

  build() {
    this.figures = [...this.chosen].sort((a, b) => a - b).map((i) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const value = Object.assign(document.createElement("span"), { className: "value" });
      const name = Object.assign(document.createElement("span"), { textContent: this.names[i] });
      caption.append(name, value);
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      figure.append(caption, canvas);
      return { i, figure, value, canvas };
    });
    this.place.replaceChildren(...this.figures.map(({ figure }) => figure));
    this.draw();
  }

  at(step) {
    this.step = step;
    this.draw();
  }

  draw() {
    if (!this.columns) return;
    const style = getComputedStyle(document.documentElement);
    const [line, edge, cursor, failed] = ["--accent", "--edge", "--text", "--failed"]
      .map((name) => style.getPropertyValue(name));
    for (const { i, value, canvas } of this.figures) {
      const numbers = this.columns[i];
      const now = numbers[Math.min(this.step, numbers.length - 1)];
      value.textContent = Number.isFinite(now) ? now.toPrecision(3) : String(now);
      const ratio = devicePixelRatio || 1;
      const width = Math.round(canvas.clientWidth * ratio);
      const height = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      const [low, high] = range(numbers);
      const x = (step) => 1 + (step / Math.max(this.steps, 1)) * (width - 2);
      const y = (number) => 2 + (1 - (number - low) / (high - low || 1)) * (height - 4);
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, width, height);
      if (this.failedFrom !== null) {
        pen.globalAlpha = 0.2;
        pen.fillStyle = failed;
        pen.fillRect(x(this.failedFrom), 0, width, height);
        pen.globalAlpha = 1;
      }
      pen.strokeStyle = edge;
      pen.lineWidth = 1;
      if (low < 0 && high > 0) stroke(pen, [[0, y(0)], [width, y(0)]]);
      pen.strokeStyle = line;
      pen.lineWidth = 1.5 * ratio;
      stroke(pen, Array.from(numbers, (number, step) => [x(step), y(number)]));
      pen.strokeStyle = cursor;
      pen.lineWidth = ratio;
      stroke(pen, [[x(this.step), 0], [x(this.step), height]]);
    }
  }
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.stroke();
}

function range(numbers) {
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < low) low = number;
    if (number > high) high = number;
  }
  return low <= high ? [low, high] : [0, 1];
}

function spread(numbers) {
  const [low, high] = range(numbers);
  return (high - low) / (Math.max(Math.abs(low), Math.abs(high)) || 1);
}
