// What stands where there are no results: an error, nothing found, or still loading.

import { button, make, part, say } from "./dom.js";

/** An error with what to do, and a way to try again. */
export function trouble(error, again) {
  const known = error.hint !== undefined;
  if (!known) console.error(error);
  const words = known ? error.message : "Something in this page went wrong.";
  const hint = known ? error.hint : "Load the page again.";
  say(`${words} ${hint}`);
  const told = [make("h2", {}, sentence(words)), make("p", {}, sentence(hint))];
  return make("div", { class: "notice trouble", role: "alert" }, told, again && button("Try again", again));
}

/** Nothing is there, and why. */
export function nothing(title, words, ...deeds) {
  return make("div", { class: "notice" }, make("h2", {}, title), make("p", {}, words), ...deeds);
}

/** Grey places where pictures will be. */
export function skeleton(number) {
  const frame = () => make("span", { class: "frame" }, make("span", { class: "pic" }));
  const place = () => make("li", { class: "hit" }, frame(), make("span", { class: "bone" }));
  return make("ol", { class: "hits bones", "aria-hidden": "true" }, Array.from({ length: number }, place));
}

/** Show that an answer is awaited, or is there. */
export function busy(waiting) {
  document.body.classList.toggle("busy", waiting);
  part("main").setAttribute("aria-busy", String(waiting));
}

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
