// Elements from words. What the server says only ever becomes text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

// Paths of line drawings, 24 x 24.
const ICONS = {
  check: "M5 12.5l4.5 4.5L19 7",
  cross: "M6 6l12 12M18 6L6 18",
  crop: "M7 3v14h14M3 7h14v14",
  shuffle: "M4 7h3l9 10h4M4 17h3l2.5-2.8M13.5 9.8L16 7h4M18 5l2.5 2-2.5 2M18 15l2.5 2-2.5 2",
  upload: "M12 16V5M7.5 9.5L12 5l4.5 4.5M5 19h14",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2" +
    "M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M19.5 14.5A8 8 0 1 1 9.5 4.5a6.5 6.5 0 0 0 10 10z",
  info: "M12 11v6M12 7.5v.1M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  help: "M9.3 9.3a2.8 2.8 0 1 1 4 2.6c-.9.5-1.3 1-1.3 2M12 17v.1M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  all: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

/** An element with properties (`class`, attributes, `on...` listeners) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A line drawing. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button of words, with an icon before them where one is named. */
export function button(words, onclick, { picture = null, quiet = false, ...rest } = {}) {
  const content = picture ? [icon(picture), make("span", {}, words)] : [words];
  if (quiet) rest.class = `quiet ${rest.class ?? ""}`.trim();
  return make("button", { type: "button", onclick, ...rest }, ...content);
}

/** A button that is an icon alone. */
export const tool = (words, picture, onclick) =>
  make("button", { type: "button", class: "tool", "aria-label": words, title: words, onclick }, icon(picture));

/** The element of an id in index.html. */
export const part = (id) => document.getElementById(id);

/** Tell those who cannot see it. */
export function say(words) {
  part("said").textContent = words;
}

/** A similarity with two decimals, or one from ten on. */
export function score(value) {
  const text = value.toFixed(Math.abs(value) < 10 ? 2 : 1);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
}

/** A count with its noun. */
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** What is called what: the finest label, or the id where there is none. */
export const nameOf = (item) => item.labels[0] || item.id;
