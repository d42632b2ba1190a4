// How bad a mistake is: words, pips that need no colour, and the report's scale of colours.

import { make } from "./dom.js";

// From unrelated over near to right, for light and for dark pages.
const LIGHT = [[176, 36, 28], [184, 128, 0], [11, 110, 128]];
const DARK = [[255, 118, 96], [232, 186, 84], [84, 190, 205]];
const MOST_PIPS = 4;

let steps = []; // from unrelated on

/** Make the scale for a collection's labels, as `GET /v1/labels` tells them. */
export function prepareSeverity({ kind, levels }) {
  const words = wordsOf(kind, levels.map(({ level }) => level));
  const most = words.length - 1;
  steps = words.map((word, level) => ({ level, word, mark: mark(level, most) }));
  for (const { level } of steps) {
    const [light, dark] = [LIGHT, DARK].map((stops) => colour(stops, level / most));
    document.documentElement.style.setProperty(`--s${level}`, `light-dark(${light}, ${dark})`);
  }
}

function wordsOf(kind, levels) {
  if (kind === "tags") return ["no tag in common", "some tags in common", "all tags in common"];
  if (kind !== "classes" && kind !== "tree") return [];
  return ["unrelated", ...levels.toReversed().map((level) => `same ${level}`)];
}

/** The step of a severity from 0, right, to 1, unrelated; null where it is unknown. */
export function stepOf(severity) {
  if (severity === null || severity === undefined || !steps.length) return null;
  const most = steps.length - 1;
  const level = Math.round((1 - severity) * most);
  // Only what is wholly right or wholly wrong is called so.
  const least = severity < 1 ? 1 : 0;
  return steps[severity > 0 ? Math.min(Math.max(level, least), most - 1) : most];
}

/** Give an element the look of a step. */
export function dress(element, step) {
  if (step === null) return;
  element.classList.add("judged", ...(step.level === 0 ? ["unrelated"] : []));
  element.style.setProperty("--tone", `var(--s${step.level})`);
}

/** Pips of a step: filled for what is shared. */
export const pips = (step) => make("span", { class: "mark", "aria-hidden": "true" }, step.mark);

/** How many of some hits are of each step, best first; empty where nothing is known. */
function tally(hits) {
  const found = hits.map((hit) => stepOf(hit.severity)).filter((step) => step !== null);
  if (!found.length) return [];
  return steps.toReversed().map((step) => ({ step, number: found.filter((one) => one === step).length }));
}

/** What the frames mean, and how many of some hits are of each kind; null where nothing is known. */
export function legend(hits) {
  const entries = tally(hits).map(({ step, number }) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    const found = make("b", {}, number.toLocaleString("en"));
    const entry = make("li", {}, swatch, pips(step), make("span", {}, step.word), found);
    dress(entry, step);
    return entry;
  });
  if (!entries.length) return null;
  const first = make("li", { class: "of" }, `of the first ${hits.length.toLocaleString("en")}`);
  return make("ul", { class: "legend", "aria-label": "What the frames mean" }, first, entries);
}

function mark(level, most) {
  return most > MOST_PIPS ? `${level}/${most}` : "\u25cf".repeat(level) + "\u25cb".repeat(most - level);
}

function colour(stops, position) {
  const left = Math.min(Math.floor(position * 2), 1);
  const part = position * 2 - left;
  const mixed = stops[left].map((from, channel) => Math.round(from + part * (stops[left + 1][channel] - from)));
  return `rgb(${mixed.join(" ")})`;
}
