// The player: time, speed, keys, and what is drawn when.

(async () => {
  const data = embedded();
  const $ = (id) => document.getElementById(id);
  const canvases = [...document.querySelectorAll(".view")];
  const readouts = [...document.querySelectorAll(".panel .readout")];
  const longest = Math.max(...data.episodes.map((episode) => episode.steps));
  const slider = $("step");
  let step = 0; // Between steps, too, while it plays.
  let playing = false;
  let before; // When the last picture was drawn.
  let asked = false;

  const returns = data.episodes.map((episode) => {
    let sum = 0;
    return episode.curves.reward ? [0, ...episode.curves.reward.map((value) => (sum += value ?? 0))] : null;
  });

  const curves = data.quantities.map((quantity) => new Curve(quantity, data.episodes, (to) => {
    stop();
    seek(to);
  }));
  const stage = await open();

  async function open() {
    if (typeof DecompressionStream === "undefined") {
      return without("This browser cannot unpack the poses (DecompressionStream is missing); a newer one can.");
    }
    const meshes = await Promise.all(data.scene.meshes.map(unpackMesh));
    const motions = await Promise.all(data.episodes.map((episode) => Motion.of(episode.poses, episode.steps)));
    const found = new Stage(data.scene, meshes);
    if (motions.every((motion, i) => found.world(motion, canvases[i]))) return found;
    return without(
      "This browser draws no pictures in three dimensions: WebGL 2 is missing or switched off. The curves work without.",
    );
  }

  function without(words) {
    $("trouble").textContent = words;
    canvases.forEach((canvas) => { canvas.hidden = true; });
    $("views").hidden = true;
    return null;
  }

  // Soon, and once for all that has changed.
  function draw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame((now) => {
      asked = false;
      if (playing) {
        const passed = Math.min(0.25, (now - (before ?? now)) / 1000);
        before = now;
        step = Math.min(longest, step + (passed * Number($("speed").value)) / data.seconds);
        if (step >= longest) stop();
        else draw();
      }
      show();
    });
  }

  function show() {
    slider.value = Math.floor(step);
    const shown = Math.floor(step);
    $("at").textContent = `${shown} / ${longest} (${(shown * data.seconds).toFixed(2)} s)`;
    data.episodes.forEach((episode, i) => {
      const own = Math.min(step, episode.steps);
      if (stage) stage.draw(stage.worlds[i], own);
      const at = Math.floor(own);
      const words = [own < step ? `ended at step ${episode.steps}` : `step ${at}`];
      if (returns[i]) words.push(`return so far ${number(returns[i][at])}`);
      for (const { name, title } of data.quantities) {
        const value = episode.curves[name]?.[Math.min(at, episode.steps - 1)];
        if (name !== "reward" && value !== undefined) words.push(`${title.split(" ").pop().toLowerCase()} ${number(value)}`);
      }
      readouts[i].textContent = words.join(" · ");
    });
    curves.forEach((curve) => curve.show(shown));
  }

  function seek(to) {
    step = Math.max(0, Math.min(longest, Math.round(to)));
    draw();
  }

  function play() {
    if (step >= longest) step = 0;
    playing = true;
    before = undefined;
    $("play").textContent = "Stop";
    draw();
  }

  function stop() {
    playing = false;
    $("play").textContent = "Play";
  }

  const toggle = () => (playing ? (stop(), seek(Math.floor(step))) : play());
  const by = (steps) => { stop(); seek(Math.floor(step) + steps); };
  $("play").addEventListener("click", toggle);
  $("back").addEventListener("click", () => by(-1));
  $("on").addEventListener("click", () => by(1));
  slider.addEventListener("input", () => { stop(); seek(Number(slider.value)); });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = event.target.tagName;
    const act = {
      " ": name === "BUTTON" || name === "SELECT" ? null : toggle,
      ArrowLeft: name === "SELECT" ? null : () => by(event.shiftKey ? -10 : -1),
      ArrowRight: name === "SELECT" ? null : () => by(event.shiftKey ? 10 : 1),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  if (stage) {
    $("nearer").addEventListener("click", () => { stage.zoom(0.8); draw(); });
    $("farther").addEventListener("click", () => { stage.zoom(1.25); draw(); });
    $("reset").addEventListener("click", () => { stage.reset(); draw(); });
    canvases.forEach((canvas) => {
      canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
      canvas.addEventListener("pointermove", (event) => {
        if (!event.buttons) return;
        stage.turn(-event.movementX * 0.008, event.movementY * 0.006);
        draw();
      });
      canvas.addEventListener("wheel", (event) => {
        if (!event.ctrlKey) return; // The page scrolls; with Ctrl, or two fingers, the picture zooms.
        event.preventDefault();
        stage.zoom(event.deltaY > 0 ? 1.08 : 0.93);
        draw();
      }, { passive: false });
      new ResizeObserver(draw).observe(canvas);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { stage.dress(); draw(); });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    curves.forEach((curve) => curve.plot.redraw(false, true));
  });
  document.documentElement.dataset.ready = "1";
  show();
})();
