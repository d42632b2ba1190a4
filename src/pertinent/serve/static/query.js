// What is searched with: the picture, its part, its labels; or how to begin.

import { button, make, part } from "./dom.js";
import { placeOf, show, sized } from "./pictures.js";
import { selectable } from "./region.js";
import { showTrouble } from "./results.js";
import { draw, itemOf } from "./search.js";
import { blank, current, go, reload, searchWith } from "./state.js";
import { upload } from "./uploads.js";

const PICTURE = 320;
let shown = null;

/** Show the query of a state. */
export function showQuery(state) {
  const key = JSON.stringify([state.id, state.upload, state.region]);
  if (key === shown) return;
  shown = key;
  const place = part("query");
  place.classList.toggle("asked", state.id !== null || state.upload !== null);
  if (state.id !== null) place.replaceChildren(...ofItem(state));
  else if (state.upload !== null) place.replaceChildren(...ofUpload(state));
  else place.replaceChildren(...start());
}

function start() {
  const zone = make(
    "div",
    { class: "zone" },
    make("p", { class: "zone-words" }, "Drop a picture here, or paste one"),
    button("Choose a picture", choose, { picture: "upload", class: "chief" }),
    button("Take one at random", random, { picture: "shuffle", quiet: true }),
  );
  return [make("h1", {}, "Search by picture"), zone];
}

function ofItem(state) {
  const facts = make("div", { class: "facts" }, make("p", { class: "id" }, state.id));
  tell(state.id, facts);
  const image = make("img", { alt: `The query: ${state.id}`, draggable: "false" });
  show(image, sized(placeOf(state.id), PICTURE));
  return card(state, image, facts);
}

async function tell(id, facts) {
  try {
    const item = await itemOf(id);
    const [first, ...others] = item.labels;
    const names = Object.keys(item.levels);
    const rows = [
      ...item.labels.map((label, number) => [names[number] ?? "label", label]),
      ...Object.entries(item.metadata),
    ];
    facts.replaceChildren(
      make("h2", {}, first ?? "Item"),
      others.length ? make("p", { class: "coarse" }, others.join(" \u00b7 ")) : "",
      make("p", { class: "id" }, item.id),
      details(rows),
    );
  } catch {
    // The results say what is wrong with this item.
  }
}

function details(rows) {
  const list = rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));
  return make("details", {}, make("summary", {}, "All that is known"), make("dl", {}, list));
}

function ofUpload(state) {
  const own = upload(state.upload);
  const image = make("img", { alt: "The query: your picture", draggable: "false" });
  if (own) image.src = own.url;
  const name = make("h2", {}, own ? own.name : "A picture that is gone");
  return card(state, image, make("div", { class: "facts" }, name, make("p", { class: "coarse" }, "your picture")));
}

function card(state, image, facts) {
  const stage = make("div", { class: "stage" }, image);
  const take = (region) => go({ region, like: [], unlike: [] }, state.region !== null);
  const selection = selectable(stage, state.region, take);
  const whole = state.region && button("Whole picture", () => take(null), { quiet: true });
  const select = button(state.region ? "Change the part" : "Select a part", begin, { picture: "crop", quiet: true });
  function begin() {
    selection.start();
    select.replaceWith(button("Search with this part", selection.take, { picture: "crop", class: "chief" }));
  }
  image.addEventListener("load", () => stage.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight));
  image.addEventListener("error", () => {
    stage.classList.add("missing"); // a type that browsers do not show
    select.remove();
  });
  return [
    make("h1", { class: "unseen" }, "Search results"),
    make("div", { class: "canvas" }, stage),
    facts,
    make("div", { class: "deeds" }, select, whole, button("New search", () => go(blank(current())), { quiet: true })),
  ];
}

function choose() {
  part("file").click();
}

async function random() {
  try {
    const item = await draw(current());
    if (item) go(searchWith(current(), item.id));
    else reload(); // which says that nothing fits
  } catch (error) {
    showTrouble(error, random);
  }
}
