// A list of found pictures: tiles that are links, reached by arrow keys, and grow as one scrolls.

import { icon, make, nameOf, score } from "./dom.js";
import { markOf, toggle } from "./marks.js";
import { show, sized } from "./pictures.js";
import { dress, pips, stepOf } from "./severity.js";
import { address, current, searchWith } from "./state.js";

const THUMBNAIL = 176;
const STEPS = { ArrowLeft: () => -1, ArrowRight: () => 1, ArrowUp: (columns) => -columns, ArrowDown: (columns) => columns };

/** An empty list; `marking` lets the user mark what is relevant. */
export function grid(label, { marking }) {
  const list = make("ol", { class: "hits", "aria-label": label, "aria-describedby": marking ? "keys" : null });
  list.dataset.marking = marking;
  list.addEventListener("keydown", (event) => onKey(list, event));
  list.addEventListener("focusin", (event) => event.target.matches(".tile") && enter(list, event.target));
  return list;
}

/** Add hits to a list. */
export function append(list, hits) {
  const marking = list.dataset.marking === "true";
  const first = list.children.length;
  list.append(...hits.map((hit, number) => tile(hit, first + number + 1, marking)));
  if (first === 0 && hits.length) list.querySelector(".tile").tabIndex = 0;
}

/** Show the mark of an item in a list. */
export function paint(list, id, mark) {
  for (const item of list.children) if (item.dataset.id === id) showMark(item, mark);
}

/** Put the focus on an item, where it is there. */
export function focusOn(list, id) {
  const item = [...list.children].find((one) => one.dataset.id === id);
  item?.querySelector(".tile").focus({ preventScroll: true });
}

function tile(hit, rank, marking) {
  const step = stepOf(hit.severity);
  const ranked = hit.score !== undefined;
  const words = hit.labels.length ? hit.labels : [hit.id];
  const spoken = [ranked ? `${rank}. ${words.join(", ")}` : words.join(", ")];
  if (step) spoken.push(step.word);
  if (ranked) spoken.push(`score ${score(hit.score)}`);
  const image = make("img", { alt: "", width: THUMBNAIL, height: THUMBNAIL, decoding: "async", draggable: "false" });
  const frame = make("span", { class: "frame" }, make("span", { class: "pic" }, image));
  const link = make(
    "a",
    {
      class: "tile",
      href: address(searchWith(current(), hit.id)),
      tabindex: "-1",
      "aria-label": spoken.join("; "),
      title: `${spoken.join("\n")}\n${hit.id}`,
    },
    frame,
    make("span", { class: "word" }, nameOf(hit)),
  );
  const said = ranked && make("span", { class: "score" }, score(hit.score));
  const figure = make("span", { class: "under" }, step && pips(step), said);
  const foot = make("div", { class: "foot" }, figure, marking && markers(hit.id));
  const item = make("li", { class: "hit" }, link, ranked && foot);
  item.dataset.id = hit.id;
  dress(item, step);
  show(image, sized(hit.image, THUMBNAIL));
  if (marking) showMark(item, markOf(hit.id));
  return item;
}

function markers(id) {
  const one = (mark, picture, words) => {
    const deed = { title: words, "aria-label": words, tabindex: "-1", onclick: () => toggle(id, mark) };
    return make("button", { type: "button", class: `marker ${mark}`, ...deed }, icon(picture));
  };
  return make("span", { class: "markers" }, one("like", "check", "Relevant (R)"), one("unlike", "cross", "Not relevant (N)"));
}

function showMark(item, mark) {
  item.classList.toggle("liked", mark === "like");
  item.classList.toggle("unliked", mark === "unlike");
  for (const marker of item.querySelectorAll(".marker")) {
    marker.ariaPressed = String(mark !== undefined && marker.classList.contains(mark));
  }
}

function enter(list, link) {
  for (const other of list.querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
  link.tabIndex = 0;
}

function onKey(list, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest(".hit")) return;
  const items = [...list.children];
  const place = items.indexOf(event.target.closest(".hit"));
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const ends = { Home: 0, End: items.length - 1 };
  const to = event.key in STEPS ? place + STEPS[event.key](columns) : ends[event.key];
  const mark = list.dataset.marking === "true" ? { r: "like", n: "unlike" }[event.key.toLowerCase()] : undefined;
  if (mark) toggle(items[place].dataset.id, mark);
  else if (to === undefined) return;
  else if (items[to]) {
    const link = items[to].querySelector(".tile");
    link.focus({ preventScroll: true });
    items[to].scrollIntoView({ block: "nearest" });
  }
  event.preventDefault();
}
