// The collection laid out in the plane: what is alike lies near each other.

import { poll } from "./api.js";
import { count, make, part, say, tool } from "./dom.js";
import { card } from "./card.js";
import { nothing } from "./notices.js";
import { fill, placeOf, sized } from "./pictures.js";
import { plane } from "./plane.js";
import { drawPicture, drawPoint, drawRing, nearest, neighbour, SIDE, sorts } from "./points.js";
import { go, searchWith } from "./state.js";

const AGAIN = 2000; // milliseconds until it is asked again whether the map is ready
const FEW = 160; // so few points in sight are shown as pictures
const FAINT = 0.15; // of points that the filters leave out
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SPOKEN =
  "Map of the collection. Arrows move from picture to picture, Enter searches with one, " +
  "plus and minus zoom, 0 shows all.";

/** Show the map; `levels` names the labels' levels, fine first; `hits` are the last results, which are ringed. */
export async function showMap(state, { model, levels, hits }, signal) {
  const words = model === null ? "" : `?${new URLSearchParams({ model })}`;
  for (;;) {
    const { ready, points, of } = await poll(`/v1/map${words}`, signal);
    if (signal.aborted) return;
    if (ready) {
      if (points.length) lay(state, points, of, { levels, hits, signal });
      else part("main").replaceChildren(nothing("No map", "There is nothing to lay out, or it went wrong; see the log."));
      return;
    }
    const told = `${count(of, "picture")} are laid out so that those alike lie near each other. This happens once.`;
    part("main").replaceChildren(nothing("The map is being made", told));
    await new Promise((done) => setTimeout(done, AGAIN));
  }
}

function lay(state, points, of, { levels, hits, signal }) {
  const canvas = make("canvas", { tabindex: "0", role: "application", "aria-label": SPOKEN });
  const legend = make("ul", { class: "kinds", "aria-label": "What the points are" });
  const note = card(state);
  const ringed = new Set(hits.map(({ id }) => id));
  const images = new Map(); // id -> its picture, null while it is fetched
  let level = Math.max(0, levels.length - 1);
  let kinds = sorts(points, level);
  let pointed = null;

  const field = plane(canvas, {
    draw,
    hover: (x, y) => point(nearest(points, field.at, x, y)),
    leave: () => point(null),
    click,
  });

  canvas.addEventListener("keydown", (event) => {
    const from = pointed ?? points.find(({ id }) => id === state.id) ?? { x: 0, y: 0 };
    if (event.key in KEYS) point(neighbour(points, from, ...KEYS[event.key]) ?? pointed, true);
    else if (event.key === "Enter" && pointed) search(pointed);
    else if (event.key === "+" || event.key === "=") field.step(true, pointed);
    else if (event.key === "-") field.step(false, pointed);
    else if (event.key === "0") field.reset();
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });

  const chosen = points.length < of ? ` of ${of.toLocaleString("en")}, drawn by chance` : "";
  const rings = ringed.size ? " The last results are ringed." : "";
  const told = `${count(points.length, "picture")}${chosen}; those alike lie near each other.${rings}`;
  const title = make("div", { class: "title" }, make("h2", {}, "Map of the collection"), choice());
  const zooms = [
    tool("Nearer", "plus", () => field.step(true)),
    tool("Farther", "minus", () => field.step(false)),
    tool("Show all", "all", field.reset),
  ];
  part("main").replaceChildren(
    make("header", { class: "head" }, title, make("p", { class: "note" }, told)),
    make("div", { class: "map" }, canvas, make("div", { class: "zooms" }, zooms), note.element),
    legend,
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint, { signal });
  addEventListener("themechange", repaint, { signal });
  repaint();

  function choice() {
    if (levels.length < 2) return null;
    const options = levels.map((name, place) => make("option", { value: place, selected: place === level }, name));
    const select = make("select", {}, options);
    select.addEventListener("change", () => {
      level = Number(select.value);
      kinds = sorts(points, level);
      repaint();
    });
    return make("label", { class: "by" }, make("span", {}, "Tell apart by"), select);
  }

  function repaint() {
    const signs = kinds.named.map(() => make("canvas", { width: 32, height: 32, "aria-hidden": "true" }));
    legend.replaceChildren(
      ...kinds.named.map(({ name, number: found }, place) =>
        make("li", {}, signs[place], make("span", {}, name), make("b", {}, found.toLocaleString("en"))),
      ),
    );
    // A canvas has the page's colours only when it stands in it.
    signs.forEach((sign, place) => {
      const context = sign.getContext("2d");
      context.scale(2, 2);
      drawPoint(context, 8, 8, kinds.named[place].kind, 5.5);
    });
    field.redraw();
  }

  function draw(context) {
    const seen = points.filter((one) => field.sees(one, SIDE));
    const near = seen.length <= FEW && field.zoom > 1;
    for (const one of seen) {
      const [x, y] = field.at(one);
      const image = near ? imageOf(one) : null;
      context.globalAlpha = state.labels.every((label) => one.labels.includes(label)) ? 1 : FAINT;
      if (image) drawPicture(context, image, x, y, kinds.of(one));
      else drawPoint(context, x, y, kinds.of(one), near ? 6 : 4);
      if (one.id === state.id || ringed.has(one.id)) drawRing(context, x, y, one.id === state.id, image);
    }
    context.globalAlpha = 1;
    if (!pointed) return;
    note.element.hidden = !field.sees(pointed, 0);
    const [x, y] = field.at(pointed);
    drawRing(context, x, y, true, near && imageOf(pointed));
    note.place(x, y, canvas);
  }

  function imageOf({ id }) {
    if (!images.has(id)) {
      images.set(id, null);
      const image = new Image();
      image.onload = () => {
        images.set(id, image);
        field.redraw();
      };
      fill(image, sized(placeOf(id), SIDE));
    }
    return images.get(id);
  }

  function click(x, y, touch) {
    const one = nearest(points, field.at, x, y);
    // A finger cannot hover: it points first, and searches on the second touch or on the card.
    if (one && (!touch || one === pointed)) search(one);
    else point(one);
  }

  function search({ id }) {
    go(searchWith({ ...state, view: "search" }, id));
  }

  function point(one, byKey = false) {
    if (one === pointed) return;
    pointed = one;
    canvas.classList.toggle("pointing", one !== null);
    note.show(one);
    if (one && byKey) {
      field.reveal(one);
      say([...one.labels, one.id].join(", "));
    }
    field.redraw();
  }
}
