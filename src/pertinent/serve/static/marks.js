// Which results the user finds relevant, and the bar that searches again with them.

import { button, count, make, part, say } from "./dom.js";
import { current, go } from "./state.js";

const LIKE = "like";
const UNLIKE = "unlike";

let marks = new Map(); // id -> "like" or "unlike"
let applied = "";
let repaint = () => {};

/** Begin with the marks of a state; `paint(id, mark)` shows a changed one. */
export function begin(state, paint) {
  marks = new Map([...state.like.map((id) => [id, LIKE]), ...state.unlike.map((id) => [id, UNLIKE])]);
  applied = summary();
  repaint = paint;
  showBar();
}

/** The mark of an item, or undefined. */
export const markOf = (id) => marks.get(id);

/** Set a mark, or take it away where it is set already. */
export function toggle(id, mark) {
  if (marks.get(id) === mark) marks.delete(id);
  else marks.set(id, mark);
  repaint(id, marks.get(id));
  showBar();
  say({ like: "marked as relevant", unlike: "marked as not relevant" }[marks.get(id)] ?? "mark taken away");
}

/** Search again with the marks. */
export function refine() {
  if (summary() !== applied) go({ like: having(LIKE), unlike: having(UNLIKE) });
}

const having = (mark) => [...marks.keys()].filter((id) => marks.get(id) === mark);
const summary = () => JSON.stringify([having(LIKE).sort(), having(UNLIKE).sort()]);

function clear() {
  for (const id of [...marks.keys()]) {
    marks.delete(id);
    repaint(id, undefined);
  }
  const { like, unlike } = current();
  if (like.length + unlike.length) go({ like: [], unlike: [] });
  showBar();
}

function showBar() {
  const bar = part("refine");
  bar.hidden = marks.size === 0;
  if (bar.hidden) return;
  const fresh = summary() !== applied;
  const told = [
    make("span", { class: "liked" }, `${having(LIKE).length} relevant`),
    make("span", { class: "unliked" }, `${having(UNLIKE).length} not relevant`),
  ];
  const words = make("p", {}, fresh ? "" : "Refined by ", ...told);
  const search = fresh ? button("Search again", refine, { class: "chief", title: "Search again with the marks (S)" }) : null;
  bar.replaceChildren(words, make("span", { class: "space" }), search ?? "", button("Clear", clear, { quiet: true }));
  bar.setAttribute("aria-label", `Marked results: ${count(marks.size, "mark")}`);
}
