// Pages of something, one after another as one scrolls down.

import { button, make } from "./dom.js";
import { trouble } from "./notices.js";

const AHEAD = "800px";

/**
 * An element to stand below a list: it calls `load()` when it comes near to what is seen, until `load` resolves to false.
 *
 * It is a button as well, for those who do not scroll.
 */
export function feed(load, more) {
  const foot = make("div", { class: "tail" });
  const near = new IntersectionObserver(([entry]) => entry.isIntersecting && next(), { rootMargin: AHEAD });
  let under = false;

  async function next() {
    if (under) return;
    under = true;
    try {
      more = await load();
      rest();
    } catch (error) {
      if (error.name === "AbortError") return;
      near.disconnect();
      foot.replaceChildren(trouble(error, again));
    } finally {
      under = false;
    }
    // What came may be so little that the foot is still in view, which is no news to the observer.
    near.disconnect();
    if (more && foot.isConnected && !foot.querySelector(".trouble")) near.observe(foot);
  }

  function again() {
    rest();
    next();
  }

  function rest() {
    foot.replaceChildren(more ? button("More", next, { quiet: true }) : make("p", { class: "note" }, "That is all."));
  }

  rest();
  if (more) near.observe(foot);
  return foot;
}
