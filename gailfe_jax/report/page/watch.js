// Asks the server whether the run has come further, and shows the newer page.

(() => {
  const PAUSE = 2000;
  let stamp = embedded().stamp;
  let held = false; // While a button of the mouse is down, a zoom is being dragged.
  addEventListener("pointerdown", () => { held = true; }, true);
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => { held = false; }, true);

  function say(words, wrong) {
    const place = document.getElementById("live");
    if (place.textContent !== words) place.textContent = words;
    place.classList.toggle("wrong", wrong);
  }

  async function look() {
    try {
      const told = await (await fetch("state")).json();
      if (told.stamp !== stamp && !held) {
        const answer = await fetch("");
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (answer.ok && page.getElementById("data")) {
          Report.replace(page);
          stamp = embedded().stamp;
        }
      }
      say(told.said, Boolean(told.wrong));
    } catch {
      say("The server does not answer: was gailfe watch ended? What is shown is what it last said.", true);
    }
    setTimeout(look, PAUSE);
  }
  setTimeout(look, PAUSE);
})();
