// What the scripts of pages share.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const embedded = (page = document) => JSON.parse(page.getElementById("data").textContent);

function number(value) {
  if (value === null || value === undefined) return "none";
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : `${Number(value.toPrecision(3))}`;
}

// An axis of a chart, in the colours of the page.
const axis = (values, more = {}) => ({
  stroke: () => css("--quiet"),
  grid: { stroke: () => css("--grid"), width: 1 },
  ticks: { stroke: () => css("--grid"), width: 1 },
  font: "12px system-ui, sans-serif",
  values: (_, ticks) => ticks.map(values),
  ...more,
});
