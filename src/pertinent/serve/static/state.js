// What is looked at is in the address after the #: so back, forward, bookmarks and links from elsewhere work.

const NOTHING = {
  view: "search", // or "compare", "map"
  id: null, // the item that is searched with
  upload: null, // or the picture of the user's, see uploads.js
  region: null, // its part: left, top, right, bottom from 0 to 1
  like: [], // ids marked as relevant
  unlike: [], // and as not relevant
  labels: [], // only items that carry all of these
  where: {}, // and this metadata
  model: null, // null is the first
  against: null, // the model to compare with
};
const VIEWS = ["search", "compare", "map"];

let listener = () => {};
let shown = null;

/** The state of an address such as `#id=a.jpg&label=cat`; what makes no sense is left out. */
export function read(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    view: VIEWS.includes(words.get("view")) ? words.get("view") : "search",
    id: words.get("id"),
    upload: words.get("id") === null ? words.get("upload") : null,
    region: readRegion(words.get("region")),
    like: words.getAll("like"),
    unlike: words.getAll("unlike"),
    labels: words.getAll("label"),
    where: readWhere(words.get("where")),
    model: words.get("model"),
    against: words.get("against"),
  };
}

function readRegion(text) {
  const edges = (text ?? "").split(",").map(Number);
  const [left, top, right, bottom] = edges;
  const fits = edges.length === 4 && left >= 0 && top >= 0 && right <= 1 && bottom <= 1 && left < right && top < bottom;
  return fits ? edges : null;
}

function readWhere(text) {
  try {
    const where = JSON.parse(text ?? "{}");
    return where !== null && typeof where === "object" && !Array.isArray(where) ? where : {};
  } catch {
    return {};
  }
}

/** The address of a state. */
export function address(state) {
  const words = new URLSearchParams();
  for (const name of ["id", "upload", "model", "against"]) if (state[name] !== null) words.set(name, state[name]);
  if (state.view !== "search") words.set("view", state.view);
  if (state.region) words.set("region", state.region.map((edge) => Number(edge.toFixed(4))).join(","));
  for (const id of state.like) words.append("like", id);
  for (const id of state.unlike) words.append("unlike", id);
  for (const label of state.labels) words.append("label", label);
  if (Object.keys(state.where).length) words.set("where", JSON.stringify(state.where));
  return `#${words}`;
}

/** The state that is shown. */
export const current = () => read(location.hash);

/** Whether there is something to search with. */
export const asks = (state) => state.id !== null || state.upload !== null;

/** The state of searching with an item, from another one: filters and models stay. */
export function searchWith(state, id) {
  return { ...NOTHING, ...kept(state), view: state.view === "compare" ? "compare" : "search", id };
}

/** The state of searching with a picture of the user's. */
export const searchUpload = (state, upload) => ({ ...searchWith(state, null), upload });

/** The state of searching with nothing. */
export const blank = (state) => ({ ...NOTHING, ...kept(state) });

const kept = ({ labels, where, model, against }) => ({ labels, where, model, against });

/** Show a changed state; `replace` makes no entry in the history. */
export function go(change, replace = false) {
  const next = address({ ...current(), ...change });
  if (next === address(current())) return;
  history[replace ? "replaceState" : "pushState"](null, "", next);
  announce();
}

/** Call `changed(state)` now and whenever the address changes. */
export function listen(changed) {
  listener = changed;
  history.scrollRestoration = "manual";
  addEventListener("popstate", announce);
  announce();
}

/** Show the state anew. */
export function reload() {
  shown = null;
  announce();
}

function announce() {
  const state = current();
  if (shown === address(state)) return;
  shown = address(state);
  listener(state);
}
