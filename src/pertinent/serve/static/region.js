// Select a part of a picture, with mouse, touch or keys.

import { make, say } from "./dom.js";

const SMALLEST = 0.04;
const STEP = 0.02;
const FIRST = [0.2, 0.2, 0.8, 0.8];
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const inside = (value) => Math.min(1, Math.max(0, value));

/**
 * Lay a box that can be drawn, moved and sized over a picture.
 *
 * A mouse may draw at any time; a finger only after `start()`, so that it can scroll the page as well. Keys: arrows move
 * the box, with Shift they size it, Enter takes it, Escape gives up.
 *
 * @param {HTMLElement} stage around the picture, exactly as large
 * @param {number[] | null} region left, top, right, bottom from 0 to 1
 * @param {(region: number[] | null) => void} take called with the part that is wanted, null for the whole picture
 */
export function selectable(stage, region, take) {
  const box = make("div", {
    class: "box",
    tabindex: "0",
    role: "application",
    "aria-label": "Part of the picture. Arrows move it, Shift and arrows size it, Enter searches with it, Escape leaves.",
  });
  box.append(...["nw", "ne", "sw", "se"].map((corner) => make("span", { class: `handle ${corner}` })));
  const shade = make("div", { class: "shade" });
  stage.append(shade, box);
  let edges = region;
  let drag = null;

  function draw() {
    box.hidden = shade.hidden = edges === null;
    if (edges === null) return;
    const [left, top, right, bottom] = edges;
    box.style.left = `${100 * left}%`;
    box.style.top = `${100 * top}%`;
    box.style.width = `${100 * (right - left)}%`;
    box.style.height = `${100 * (bottom - top)}%`;
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
    const hole = corners.map(([x, y]) => `${100 * x}% ${100 * y}%`).join(", ");
    shade.style.clipPath = `polygon(evenodd, 0 0, 100% 0, 100% 100%, 0 100%, 0 0, ${hole})`;
  }

  function at(event) {
    const { left, top, width, height } = stage.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || (event.pointerType !== "mouse" && !stage.classList.contains("selecting"))) return;
    const [x, y] = at(event);
    const corner = event.target.closest(".handle");
    if (corner) drag = { resize: opposite(edges, corner) };
    else if (event.target === box) drag = { move: [x, y], from: edges };
    else drag = { resize: [inside(x), inside(y)] };
    drag.before = edges;
    stage.setPointerCapture(event.pointerId);
    event.preventDefault();
  });

  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = at(event);
    edges = drag.move ? moved(drag.from, x - drag.move[0], y - drag.move[1]) : spanned(drag.resize, [inside(x), inside(y)]);
    draw();
  });

  const end = () => {
    if (!drag) return;
    const { before } = drag;
    drag = null;
    // A click without a drag is no selection.
    if (edges === null || edges[2] - edges[0] < SMALLEST || edges[3] - edges[1] < SMALLEST) edges = before;
    draw();
    if (String(edges) !== String(before)) take(edges);
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", () => {
    if (drag) edges = drag.before;
    drag = null;
    draw();
  });

  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") take(edges);
    else if (event.key === "Escape") {
      edges = region;
      stage.classList.remove("selecting");
      draw();
    } else if (event.key in KEYS) {
      const [x, y] = KEYS[event.key].map((step) => step * STEP);
      edges = event.shiftKey ? sized(edges, x, y) : moved(edges, x, y);
      draw();
      say(edges.map((edge) => `${Math.round(100 * edge)}%`).join(", "));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  draw();
  return {
    /** Offer a box to begin with. */
    start() {
      edges ??= FIRST;
      stage.classList.add("selecting");
      draw();
      box.focus();
    },
    /** Take what is drawn. */
    take: () => take(edges),
  };
}

function spanned([x, y], [u, v]) {
  return [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
}

function moved([left, top, right, bottom], x, y) {
  const dx = Math.min(1 - right, Math.max(-left, x));
  const dy = Math.min(1 - bottom, Math.max(-top, y));
  return [left + dx, top + dy, right + dx, bottom + dy];
}

function sized([left, top, right, bottom], x, y) {
  return [left, top, inside(Math.max(left + SMALLEST, right + x)), inside(Math.max(top + SMALLEST, bottom + y))];
}

function opposite([left, top, right, bottom], corner) {
  return [corner.matches(".nw, .sw") ? right : left, corner.matches(".nw, .ne") ? bottom : top];
}
