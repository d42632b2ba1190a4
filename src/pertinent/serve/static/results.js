// The view of results: what was found for the query, or pictures to start from.

import { button, count, make, part, say } from "./dom.js";
import { feed } from "./feed.js";
import { chips, learn } from "./filters.js";
import { append, focusOn, grid, paint } from "./grid.js";
import { begin } from "./marks.js";
import { busy, nothing, skeleton, trouble } from "./notices.js";
import { legend } from "./severity.js";
import { browse, find } from "./search.js";
import { address, asks, go, reload } from "./state.js";

const PAGE = 48;
const KEPT = 30;
const pages = new Map(); // address -> what was there, so that going back is at once
let shown = null;
let inSight = false;

/** What is known of the last search: `{timings_ms, index, stages, ...}`. */
export const lastExplained = () => shown?.explain ?? null;

/** The results that were shown last, without those that only were to start from. */
export const lastHits = () => (shown?.hits ?? []).filter(({ score }) => score !== undefined);

/** Note where the user was, before another view is shown. */
export function leave() {
  if (!shown || !inSight) return;
  inSight = false;
  shown.scroll = scrollY;
  shown.focus = document.activeElement?.closest(".hit")?.dataset.id ?? null;
}

/** Show the results of a state. */
export async function showResults(state, model, signal) {
  const wasInGrid = document.activeElement?.closest(".hit") !== null && document.activeElement !== document.body;
  const load = (offset) => (asks(state) ? find : browse)(state, model, { offset, k: PAGE, signal });
  const key = address(state);
  const again = pages.get(key);
  const page = again ?? { hits: [], total: 0, explain: null, scroll: 0, focus: null };
  if (!again) {
    if (!part("main").querySelector(".hits")) part("main").replaceChildren(skeleton(24));
    busy(true);
    try {
      absorb(page, await load(0));
    } finally {
      if (!signal.aborted) busy(false);
    }
    if (signal.aborted) return;
    keep(key, page);
  }
  shown = page;
  inSight = true;
  lay(state, page, load);
  scrollTo(0, page.scroll);
  const list = part("main").querySelector(".hits");
  if (list && (wasInGrid || page.focus)) focusOn(list, page.focus ?? page.hits[0]?.id);
}

/** Show why there are no results. */
export function showTrouble(error, again) {
  shown = null;
  busy(false);
  part("main").replaceChildren(trouble(error, again));
}

function absorb(page, answer) {
  const known = new Set(page.hits.map(({ id }) => id));
  const fresh = answer.hits.filter(({ id }) => !known.has(id));
  page.hits.push(...fresh);
  page.total = answer.total;
  page.explain ??= answer.explain;
  page.more = answer.more;
  learn(fresh);
  return fresh;
}

function keep(key, page) {
  pages.set(key, page);
  if (pages.size > KEPT) pages.delete(pages.keys().next().value);
}

function lay(state, page, load) {
  const asked = asks(state);
  const list = grid(asked ? "Results, best first" : "Pictures to start from", { marking: asked });
  const head = make("header", { class: "head" });
  begin(state, (id, mark) => paint(list, id, mark));
  const title = asked ? found(state, page) : start(state, page);
  const paintHead = () => head.replaceChildren(...title, ...[asked && legend(page.hits), chips(state)].filter(Boolean));
  paintHead();
  if (!page.hits.length) {
    part("main").replaceChildren(head, nobody(state));
    say("Nothing was found.");
    return;
  }
  append(list, page.hits);
  const foot = feed(async () => {
    const fresh = absorb(page, await load(page.hits.length));
    append(list, fresh);
    paintHead();
    return page.more;
  }, page.more);
  part("main").replaceChildren(head, list, foot);
  say(asked ? `${count(page.total, "result")}, best first` : `${count(page.hits.length, "picture")} to start from`);
}

function found(state, page) {
  const sum = Object.values(page.explain.timings_ms).reduce((all, one) => all + one, 0);
  const time = button(`${sum.toFixed(sum < 10 ? 1 : 0)} ms`, () => part("info").click(), {
    quiet: true,
    class: "time",
    title: "Where the time went",
  });
  return [make("div", { class: "title" }, make("h2", {}, `${count(page.total, "picture")}, best first`), time)];
}

function start(state, page) {
  const narrow = narrowed(state);
  const title = narrow ? count(page.total, "picture") : "Or start from one of these";
  const others = button("Other ones", again, { picture: "shuffle", quiet: true });
  function again() {
    pages.delete(address(state));
    reload();
  }
  return [make("div", { class: "title" }, make("h2", {}, title), !narrow && others)];
}

function nobody(state) {
  if (!narrowed(state)) return nothing("The collection is empty", "Embed and index pictures, then serve their index.");
  const remove = button("Remove all filters", () => go({ labels: [], where: {} }));
  return nothing("Nothing fits all of these filters", "Take one away.", remove);
}

const narrowed = (state) => state.labels.length > 0 || Object.keys(state.where).length > 0;
