// Narrow the search to labels and metadata.

import { button, count, icon, make, part } from "./dom.js";
import { current, go } from "./state.js";

const SHOWN = 8;
const FOUND = 40;
const seen = new Map(); // metadata key -> values of results so far

let levels = [];

/** Lay out the filters for a collection's labels. */
export function prepareFilters(labels) {
  levels = labels.levels.toReversed(); // coarse ones are few, and narrow the most
  const words = "Find a label";
  const find = make("input", { type: "search", id: "find", placeholder: words, "aria-label": words, autocomplete: "off" });
  const lists = make("div", { class: "levels", id: "levels" });
  find.addEventListener("input", () => showLevels());
  const body = make("div", { class: "filters-body" });
  if (levels.length) body.append(make("div", { class: "find" }, find, make("kbd", {}, "/")), lists);
  body.append(metadataForm());
  const folded = make("details", { id: "filters-fold" }, make("summary", {}, make("h2", {}, "Filters")), body);
  folded.open = matchMedia("(min-width: 861px)").matches;
  part("filters").replaceChildren(folded);
  showLevels();
}

/** Show which labels a state is narrowed to. */
export function showFilters() {
  showLevels();
}

/** Bring the find box to the user. */
export function focusFilters() {
  part("filters-fold").open = true;
  (part("find") ?? part("key")).focus();
}

/** Remember which metadata there is, to offer it. */
export function learn(hits) {
  for (const { metadata } of hits) {
    for (const [key, value] of Object.entries(metadata ?? {})) {
      if (!seen.has(key)) seen.set(key, new Set());
      if (seen.get(key).size < 200) seen.get(key).add(value);
    }
  }
  part("key-seen")?.replaceChildren(...[...seen.keys()].map((key) => make("option", { value: key })));
  part("metadata").hidden = seen.size === 0 && Object.keys(current().where).length === 0;
}

/** What the search is narrowed to, each with a way to widen it. */
export function chips(state) {
  const chip = (words, spoken, change) => {
    const deed = { "aria-label": `Remove the filter ${spoken}`, onclick: () => go(change) };
    return make("li", {}, make("button", { type: "button", class: "chip", ...deed }, words, icon("cross")));
  };
  const without = (label) => ({ labels: state.labels.filter((one) => one !== label) });
  const labels = state.labels.map((label) => chip(label, label, without(label)));
  const metadata = Object.entries(state.where).map(([key, value]) => {
    const { [key]: _, ...where } = state.where;
    return chip(`${key} = ${value}`, key, { where });
  });
  const all = [...labels, ...metadata];
  return all.length ? make("ul", { class: "chips", "aria-label": "Filters in use" }, all) : null;
}

function showLevels() {
  const place = part("levels");
  if (!place) return;
  const wanted = part("find").value.trim().toLowerCase();
  const { labels: chosen } = current();
  const shown = levels.map(({ level, labels }) => {
    const fitting = labels.filter(({ name }) => name.toLowerCase().includes(wanted));
    const first = fitting.filter(({ name }) => chosen.includes(name));
    const room = wanted ? FOUND : place.dataset[key(level)] ? labels.length : SHOWN;
    const others = fitting.filter(({ name }) => !chosen.includes(name)).slice(0, room);
    const rest = fitting.length - first.length - others.length;
    if (!fitting.length) return null;
    const more = rest > 0 && !wanted && button(`${rest.toLocaleString("en")} more`, () => unfold(level), { quiet: true });
    return make(
      "fieldset",
      {},
      make("legend", {}, level, make("span", { class: "count" }, labels.length.toLocaleString("en"))),
      [...first, ...others].map((label) => option(label, chosen)),
      more || (rest > 0 && make("p", { class: "note" }, `and ${rest.toLocaleString("en")} more; type on`)),
    );
  });
  const lists = shown.filter((one) => one !== null);
  place.replaceChildren(...(lists.length ? lists : [make("p", { class: "note" }, `No label has \u201c${wanted}\u201d in it.`)]));
}

const key = (level) => `open${level.replace(/[^a-z]/gi, "").toLowerCase()}`;

function unfold(level) {
  part("levels").dataset[key(level)] = "true";
  showLevels();
}

function option({ name, count: number }, chosen) {
  const box = make("input", { type: "checkbox", checked: chosen.includes(name) });
  box.addEventListener("change", () => {
    const { labels } = current();
    go({ labels: box.checked ? [...labels, name] : labels.filter((one) => one !== name) });
    // The list is laid out anew; the box must not lose the focus.
    const again = [...part("levels").querySelectorAll("input")].find((one) => one.dataset.name === name);
    again?.focus();
  });
  box.dataset.name = name;
  const carrying = make("span", { class: "count", title: count(number, "item") }, number.toLocaleString("en"));
  return make("label", { class: "option" }, box, make("span", { class: "name" }, name), carrying);
}

function metadataForm() {
  const field = (id, words) =>
    make("input", { id, list: `${id}-seen`, placeholder: id, "aria-label": words, autocomplete: "off", required: true });
  const name = field("key", "Metadata key");
  const value = field("value", "Metadata value");
  const values = make("datalist", { id: "value-seen" });
  name.addEventListener("input", () => {
    values.replaceChildren(...[...(seen.get(name.value) ?? [])].map((one) => make("option", { value: String(one) })));
  });
  const submit = make("button", { type: "submit" }, "Add");
  const form = make(
    "form",
    { id: "metadata", class: "metadata", hidden: true, "aria-label": "Metadata filter" },
    make("p", { class: "legend-like" }, "metadata"),
    make("div", { class: "pair" }, name, make("span", { "aria-hidden": "true" }, "="), value, submit),
    make("datalist", { id: "key-seen" }),
    values,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go({ where: { ...current().where, [name.value]: typed(name.value, value.value) } });
    form.reset();
  });
  return form;
}

/** A value as the collection has it: a text that reads like one of its numbers is that number. */
function typed(key, text) {
  return [...(seen.get(key) ?? [])].find((value) => String(value) === text) ?? text;
}
