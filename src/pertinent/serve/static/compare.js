// Two models side by side: what each finds for the same query, and where they differ.

import { count, make, part, say } from "./dom.js";
import { feed } from "./feed.js";
import { chips, learn } from "./filters.js";
import { append, grid } from "./grid.js";
import { busy, skeleton } from "./notices.js";
import { find } from "./search.js";
import { legend } from "./severity.js";
import { current, go } from "./state.js";

const PAGE = 24;

/** The two models that a state compares, of those that there are. */
export function pairOf(state, names) {
  const first = state.model ?? names[0];
  return [first, state.against ?? names.find((name) => name !== first) ?? first];
}

/** Show the results of a state by two models. */
export async function showComparison(state, names, signal) {
  const pair = pairOf(state, names);
  const found = [[], []];
  const lists = pair.map((name) => grid(`Results of ${name}, best first`, { marking: false }));
  const sums = pair.map(() => make("div", { class: "sum" }));
  const agreement = make("p", { class: "note agreement" });
  if (!part("main").querySelector(".pair")) part("main").replaceChildren(skeleton(24));
  busy(true);
  const more = await load().finally(() => signal.aborted || busy(false));
  if (signal.aborted) return;
  const title = make("div", { class: "title" }, make("h2", {}, "Two models, one query"));
  const sides = lists.map((list, side) =>
    make("section", { class: "side", "aria-label": pair[side] }, choice(side), sums[side], list),
  );
  part("main").replaceChildren(
    make("header", { class: "head" }, title, agreement, chips(state)),
    make("div", { class: "pair" }, sides),
    feed(load, more),
  );
  say(agreement.textContent);

  async function load() {
    const answers = await Promise.all(
      pair.map((model, side) => find(state, model, { offset: found[side].length, k: PAGE, signal })),
    );
    answers.forEach(({ hits }, side) => {
      found[side].push(...hits);
      append(lists[side], hits);
    });
    learn(answers.flatMap(({ hits }) => hits));
    tell();
    return answers.some((answer) => answer.more);
  }

  // What an early page lacks, a later one may hold: so all is told anew.
  function tell() {
    const ranks = found.map((hits) => new Map(hits.map(({ id }, place) => [id, place + 1])));
    lists.forEach((list, side) => {
      [...list.children].forEach((item, place) => {
        item.querySelector(".shift")?.remove();
        item.append(shift(place + 1, ranks[1 - side].get(item.dataset.id), pair[1 - side]));
      });
      sums[side].replaceChildren(legend(found[side]) ?? "");
    });
    const both = [...ranks[0].keys()].filter((id) => ranks[1].has(id));
    const same = both.filter((id) => ranks[0].get(id) === ranks[1].get(id));
    const depth = Math.max(ranks[0].size, ranks[1].size);
    const alike = `both find ${both.length}, and ${same.length} of them at the same rank`;
    agreement.textContent = `Of the first ${count(depth, "result")}, ${alike}.`;
  }

  function choice(side) {
    const options = names.map((name) => make("option", { value: name, selected: name === pair[side] }, name));
    const select = make("select", { "aria-label": side ? "Second model" : "First model" }, options);
    select.addEventListener("change", () => {
      // The other side may have been chosen anew since this was shown.
      const [model, against] = pairOf(current(), names);
      go(side ? { model, against: select.value } : { model: select.value, against });
    });
    return select;
  }
}

/** A result's rank, and how far from it the other model has it. */
function shift(rank, there, other) {
  let [kind, mark, words] = ["same", "=", `rank ${rank} by both`];
  if (there === undefined) [kind, mark, words] = ["alone", "only here", `rank ${rank}; not so early by ${other}`];
  else if (there > rank) [kind, mark, words] = ["up", `\u25b2 ${there - rank}`, `rank ${rank}, ${there} by ${other}`];
  else if (there < rank) [kind, mark, words] = ["down", `\u25bc ${rank - there}`, `rank ${rank}, ${there} by ${other}`];
  return make(
    "p",
    { class: `shift ${kind}`, title: words },
    make("b", { "aria-hidden": "true" }, String(rank)),
    make("span", { "aria-hidden": "true" }, mark),
    make("span", { class: "unseen" }, words),
  );
}
