// The page of `gailfe annotate`. Addresses are relative: they stand behind the token.

import { Curves } from "./curves.js";

const $ = (id) => document.getElementById(id);
const WORDS = { good: "good", failed: "failed", failed_from: "failed from step" };
const STEPS_PER_SECOND = 30; // Where nobody knows how long a step lasts.

let session;
let labels = {};
let episode = 0;
let steps = 0;
let wanted = 0; // The step that is to be shown.
let playing = null; // { from, since } while it plays.
let pictures = true;
let busy = false; // A picture is on its way.
let opened = 0; // Counts the episodes that were opened: what arrives late for one is dropped.
let curves;

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: was gailfe annotate ended?");
  }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `error ${answer.status}`);
  return answer;
}

async function begin() {
  session = await (await ask("session")).json();
  labels = session.labels;
  $("source").textContent = session.source;
  $("out").textContent = session.out;
  document.title = `Annotate ${session.source}`;
  pictures = session.problem === null;
  $("picture").classList.toggle("gone", !pictures);
  curves = new Curves($("curves"), $("choice"));
  $("episodes").replaceChildren(...session.episodes.map((_, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.addEventListener("click", () => open(i));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  await open(undecided(-1) ?? 0);
}

// The next episode without a decision behind `from`, from the first one on after the last; null where there is none.
function undecided(from) {
  const count = session.episodes.length;
  for (let k = 1; k <= count; k++) if (!((from + k) % count in labels)) return (from + k) % count;
  return null;
}

async function open(number) {
  stop();
  const mine = ++opened;
  episode = number;
  steps = session.episodes[number].steps;
  wanted = 0;
  $("step").max = steps;
  $("about").textContent = "";
  render();
  show(0);
  try {
    const numbers = new Float32Array(await (await ask(`observed/${number}`)).arrayBuffer());
    if (mine !== opened) return;
    const names = session.rewarded ? [...session.names, "reward"] : session.names;
    const width = session.names.length;
    const columns = session.names.map((_, j) => Float32Array.from({ length: steps + 1 }, (_, t) => numbers[t * width + j]));
    if (session.rewarded) columns.push(numbers.slice((steps + 1) * width));
    if (!curves.names) curves.begin(names, columns);
    curves.show(columns, steps);
    curves.at(wanted);
    const about = await (await ask(`about/${number}`)).json();
    if (mine !== opened) return;
    $("about").textContent = about.words;
    $("about").className = about.warns ? "warns" : "";
  } catch (error) {
    wrong(error);
  }
}

function render() {
  const facts = session.episodes[episode];
  const label = labels[episode];
  $("title").textContent = `Episode ${episode + 1} of ${session.episodes.length}`;
  const earned = facts.return === null ? "" : `, return ${facts.return.toFixed(1)}`;
  $("facts").textContent = `${facts.steps} steps${earned}, ${facts.end}; in the file among the ` +
    (facts.part === "expert" ? "demonstrations" : "failures");
  $("label").textContent = label ? said(label) : "none yet";
  for (const kind of Object.keys(WORDS)) $(kind).setAttribute("aria-pressed", String(label?.[0] === kind));
  $("undo").disabled = !label;
  curves.failedFrom = label?.[0] === "failed" ? 0 : label?.[0] === "failed_from" ? label[1] : null;
  curves.draw();
  $("previous").disabled = episode === 0;
  $("next").disabled = episode === session.episodes.length - 1;
  const count = Object.keys(labels).length;
  $("progress").textContent = `${count} of ${session.episodes.length} episodes decided`;
  [...$("episodes").children].forEach((item, i) => {
    const button = item.firstChild;
    const state = Object.assign(document.createElement("span"), {
      textContent: labels[i] ? said(labels[i]) : "undecided",
      className: labels[i]?.[0] ?? "",
    });
    button.replaceChildren(`${i + 1}: ${session.episodes[i].steps} steps, `, state);
    if (i === episode) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
  });
}

const said = ([kind, step]) => (step === null ? WORDS[kind] : `${WORDS[kind]} ${step}`);

function show(step) {
  wanted = Math.max(0, Math.min(steps, Math.round(step)));
  const slider = $("step");
  slider.value = wanted;
  slider.setAttribute("aria-valuetext", `step ${wanted} of ${steps}`);
  $("at").textContent = `${wanted} / ${steps}`;
  if (curves.columns) curves.at(wanted);
  draw();
}

// Draws the step that is wanted now; while a picture is on its way, further steps wait for it and are skipped.
async function draw() {
  if (busy || !pictures) return;
  busy = true;
  try {
    let shown = null;
    while (pictures && shown !== `${episode}/${wanted}`) {
      shown = `${episode}/${wanted}`;
      const picture = await createImageBitmap(await (await ask(`picture/${shown}`)).blob());
      const canvas = $("picture");
      if (canvas.width !== picture.width) [canvas.width, canvas.height] = [picture.width, picture.height];
      canvas.getContext("2d").drawImage(picture, 0, 0);
      canvas.setAttribute("aria-label", `The robot in episode ${episode + 1}, step ${wanted}`);
      canvas.dataset.shown = shown;
    }
  } catch (error) {
    pictures = false;
    $("picture").classList.add("gone");
    const about = await ask(`about/${episode}`).then((answer) => answer.json()).catch(() => ({ words: error.message }));
    $("about").textContent = about.words;
  } finally {
    busy = false;
  }
}

function play() {
  if (playing) {
    stop();
    return;
  }
  if (wanted >= steps) show(0);
  playing = { from: wanted, since: performance.now() };
  $("play").firstChild.textContent = "Stop ";
  requestAnimationFrame(tick);
}

function stop() {
  if (playing) $("play").firstChild.textContent = "Play ";
  playing = null;
}

function tick(now) {
  if (!playing) return;
  const rate = session.seconds_per_step ? 1 / session.seconds_per_step : STEPS_PER_SECOND;
  const step = playing.from + ((now - playing.since) / 1000) * rate * Number($("speed").value);
  if (step >= steps) {
    show(steps);
    stop();
    return;
  }
  if (Math.floor(step) !== wanted) show(Math.floor(step));
  requestAnimationFrame(tick);
}

function move(by) {
  stop();
  show(wanted + by);
}

function faster(by) {
  const speed = $("speed");
  speed.selectedIndex = Math.max(0, Math.min(speed.options.length - 1, speed.selectedIndex + by));
  speedChanged();
  $("said").textContent = `Speed ${speed.value} times`;
}

function speedChanged() {
  if (playing) playing = { from: wanted, since: performance.now() };
}

async function decide(kind) {
  stop();
  const [number, step] = [episode, kind === "failed_from" ? wanted : null];
  $("wrong").textContent = "";
  $("said").textContent = "Saving";
  try {
    const answer = await ask("label", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ episode: number, label: kind, step }),
    });
    labels = (await answer.json()).labels;
  } catch (error) {
    $("said").textContent = "";
    wrong(error);
    return;
  }
  const what = labels[number] ? said(labels[number]) : "no decision";
  // To the next one, unless another was opened while this was saved.
  const next = kind && $("advance").checked && episode === number ? undecided(number) : null;
  const all = Object.keys(labels).length === session.episodes.length ? " All are decided." : "";
  const then = next === null ? all : ` Now episode ${next + 1}.`;
  $("said").textContent = `Saved: episode ${number + 1}, ${what}.${then}`;
  if (next === null) render(); else await open(next);
}

function wrong(error) {
  $("wrong").textContent = error.message;
}

const go = (by) => {
  const number = episode + by;
  if (number >= 0 && number < session.episodes.length) open(number);
};

const KEYS = {
  " ": play,
  ArrowLeft: (event) => move(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => move(event.shiftKey ? 10 : 1),
  Home: () => move(-Infinity),
  End: () => move(Infinity),
  "-": () => faster(-1),
  "+": () => faster(1),
  "=": () => faster(1),
  p: () => go(-1),
  n: () => go(1),
  g: () => decide("good"),
  f: () => decide("failed"),
  h: () => decide("failed_from"),
  u: () => labels[episode] && decide(null),
};

document.addEventListener("keydown", (event) => {
  if (!session || !$("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat && !event.key.startsWith("Arrow")) return;
  // What has the focus reads these keys itself.
  const reads = { INPUT: / |Arrow|Home|End/, SELECT: /./, BUTTON: / /, SUMMARY: / / }[event.target.tagName];
  if (reads?.test(event.key)) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});

$("play").addEventListener("click", play);
$("back").addEventListener("click", () => move(-1));
$("forward").addEventListener("click", () => move(1));
$("previous").addEventListener("click", () => go(-1));
$("next").addEventListener("click", () => go(1));
$("undo").addEventListener("click", () => decide(null));
for (const kind of Object.keys(WORDS)) $(kind).addEventListener("click", () => decide(kind));
$("step").addEventListener("input", () => { stop(); show(Number($("step").value)); });
$("speed").addEventListener("change", speedChanged);

begin().catch(wrong);
