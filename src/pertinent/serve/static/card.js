// The card beside a point of the map: its picture and what it is.

import { make, nameOf } from "./dom.js";
import { show, sized, placeOf } from "./pictures.js";
import { address, searchWith } from "./state.js";

const PICTURE = 160;
const BESIDE = 18; // pixels from the point
const RIM = 4;

/** A hidden card that leads to searching with what it shows. */
export function card(state) {
  const element = make("a", { class: "card", hidden: true });
  return {
    element,
    /** Show a point, or nothing. */
    show(point) {
      element.hidden = point === null;
      if (!point) return;
      const image = make("img", { alt: "", width: PICTURE, height: PICTURE });
      element.href = address(searchWith({ ...state, view: "search" }, point.id));
      element.replaceChildren(
        make("span", { class: "pic" }, image),
        make("b", {}, nameOf(point)),
        make("span", {}, point.labels.slice(1).join(" \u00b7 ")),
      );
      show(image, sized(placeOf(point.id), PICTURE));
    },
    /** Stand beside a pixel, within `room`. */
    place(x, y, room) {
      const { offsetWidth: width, offsetHeight: height } = element;
      const left = x + BESIDE + width < room.clientWidth ? x + BESIDE : x - BESIDE - width;
      const within = (value, most) => `${Math.min(Math.max(RIM, value), most - RIM)}px`;
      element.style.left = within(left, room.clientWidth - width);
      element.style.top = within(y - height / 2, room.clientHeight - height);
    },
  };
}
