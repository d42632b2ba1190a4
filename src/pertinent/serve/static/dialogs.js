// The panels over the page: keys, model and index, token.

import { make, part, tool } from "./dom.js";

const KEYS = [
  ["arrow keys", "move between pictures"],
  ["Enter", "search on with the picture"],
  ["R, N", "mark it as relevant, as not relevant"],
  ["S", "search again with the marks"],
  ["/", "find a label to filter by"],
  ["U", "choose a picture file"],
  ["Alt + \u2190", "back to what was before"],
  ["Esc", "close this"],
  ["?", "show this"],
];

const FINGERPRINT = /^[0-9a-f]{32,}$/;

/** Open a panel; resolves when it is closed. */
function open(title, ...content) {
  const dialog = part("dialog");
  const close = tool("Close", "cross", () => dialog.close());
  dialog.replaceChildren(make("header", {}, make("h2", { id: "dialog-title" }, title), close), ...content);
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", done, { once: true }));
}

/** A click beside the panel closes it. */
export function closable() {
  const dialog = part("dialog");
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

/** What one can do, and by which keys. */
export function showHelp() {
  const keys = KEYS.map(([key, words]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)));
  const ways = [
    "Drop, paste or choose a picture. The most similar ones of the collection come first.",
    "Click a result to search on with it. Back leads to what was before.",
    "Select a part of the picture to search with that alone.",
    "Mark results as relevant or not, and search again: the search moves towards what you mean.",
    "On the map, pictures that are alike lie near each other.",
  ];
  const list = make("ul", { class: "ways" }, ways.map((words) => make("li", {}, words)));
  return open("Help", list, make("h3", {}, "Keys"), make("dl", {}, keys));
}

/** Models, index, limits and where the time of the last search went. */
export function showInfo(info, explained) {
  const models = info.models.flatMap((model) => {
    const { name, index, ...facts } = model;
    return [make("h3", {}, `Model ${name}`), table(facts), make("h3", {}, "Its index"), table(index)];
  });
  const times = explained ? [make("h3", {}, "The last search"), bars(explained.timings_ms)] : [];
  const limits = [make("h3", {}, "Limits"), table(info.limits)];
  return open("Model and index", ...times, ...models, ...limits, make("p", { class: "note" }, `Pertinent ${info.version}`));
}

/** Ask for the token; resolves to it, or to null where the panel is closed without one. */
export async function askToken(wrong) {
  const field = make("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  let told = null;
  const form = make(
    "form",
    { class: "token" },
    make("p", {}, wrong ? "This token is not the right one." : "Whoever started the service has it."),
    make("label", { for: "token" }, "Token"),
    field,
    make("p", { class: "note" }, "It is kept until this tab is closed."),
    make("button", { type: "submit", class: "chief" }, "Go on"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    told = field.value.trim();
    part("dialog").close();
  });
  await open(wrong ? "Try another token" : "A token is needed", form);
  return told;
}

function table(facts) {
  const row = ([name, value]) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")), value);
  return make("dl", {}, flat(facts).map(row));
}

/** Pairs of name and description of facts, however deep. */
function flat(facts, before = "") {
  return Object.entries(facts).flatMap(([name, value]) => {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) return [];
    if (typeof value === "object" && !Array.isArray(value)) return flat(value, `${before}${name} `);
    return [[before + name, described(value)]];
  });
}

function described(value) {
  if (typeof value === "number") return make("dd", {}, value.toLocaleString("en"));
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  // Of a fingerprint, its beginning is enough to tell it from others.
  if (FINGERPRINT.test(text)) return make("dd", { title: text, class: "id" }, `${text.slice(0, 16)}\u2026`);
  return make("dd", {}, text);
}

function bars(timings) {
  const most = Math.max(...Object.values(timings), 0.001);
  const rows = Object.entries(timings).map(([name, value]) => {
    const bar = make("span", { class: "bar-fill", "aria-hidden": "true" });
    bar.style.width = `${(100 * value) / most}%`;
    const figure = make("dd", {}, make("span", { class: "bar-room" }, bar), `${value.toFixed(1)} ms`);
    return make("div", { class: "timing" }, make("dt", {}, name), figure);
  });
  return make("dl", {}, rows);
}
