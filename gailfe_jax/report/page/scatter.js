// Pairs of the policy and of the expert in the plane of two principal components, by what the discriminator takes them for.
"use strict";

class Scatter {
  constructor(index, space) {
    this.space = space;
    this.said = document.getElementById(`space-${index}-said`);
    this.canvases = ["expert", "policy"].map((kind) => document.getElementById(`space-${index}-${kind}`));
    this.canvases.forEach((canvas, kind) => {
      canvas.addEventListener("mousemove", (event) => this.say(canvas, kind, event));
      canvas.addEventListener("mouseleave", () => { this.said.textContent = ""; });
    });
    const span = (values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const margin = 0.04 * (high - low || 1);
      return [low - margin, high + margin];
    };
    this.spans = [span(space.x), span(space.y)];
    this.draw();
  }

  place(canvas, i) {
    const [[left, right], [bottom, top]] = this.spans;
    return [
      ((this.space.x[i] - left) / (right - left)) * canvas.width,
      (1 - (this.space.y[i] - bottom) / (top - bottom)) * canvas.height,
    ];
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const [expert, policy, either] = ["--expert", "--policy", "--either"].map((name) => style.getPropertyValue(name));
    this.canvases.forEach((canvas, kind) => {
      const ratio = window.devicePixelRatio || 1;
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      [canvas.width, canvas.height] = [width, Math.round((width * 3) / 4)];
      const pen = canvas.getContext("2d");
      this.space.x.forEach((_, i) => {
        if (this.space.policy[i] !== kind) return;
        const p = this.space.probability[i];
        // 0.5 is grey; sure is full.
        pen.fillStyle = mix(either, p > 0.5 ? expert : policy, Math.min(1, Math.abs(p - 0.5) * 2.2));
        pen.beginPath();
        const [x, y] = this.place(canvas, i);
        pen.arc(x, y, 2.6 * ratio, 0, 7);
        pen.fill();
      });
    });
  }

  say(canvas, kind, event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [
      ((event.clientX - box.left) / box.width) * canvas.width,
      ((event.clientY - box.top) / box.height) * canvas.height,
    ];
    let [best, least] = [-1, Infinity];
    this.space.x.forEach((_, i) => {
      if (this.space.policy[i] !== kind) return;
      const [a, b] = this.place(canvas, i);
      const far = (a - x) ** 2 + (b - y) ** 2;
      if (far < least) [best, least] = [i, far];
    });
    if (best < 0) return;
    const whose = kind === 0 ? "Demonstrated pair" : "Policy's pair";
    this.said.textContent = `${whose} at (${this.space.x[best]}, ${this.space.y[best]}): ` +
      `${Math.round(100 * this.space.probability[best])}% the expert's`;
  }
}

function mix(from, to, share) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.trim().slice(at, at + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(",")})`;
}
