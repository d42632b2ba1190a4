// From a state to the request that answers it.

import { blob, get, post, Refusal } from "./api.js";
import { placeOf } from "./pictures.js";
import { upload } from "./uploads.js";

const vectors = new Map(); // of the user's pictures and of parts of pictures, so that each is embedded once a model
const items = new Map();
let limits = { k: 1000, results: 10_000 };

/** Note how much may be asked for, as `GET /v1/info` tells it. */
export function setLimits(told) {
  limits = told;
}

/** What is known of an item. */
export function itemOf(id) {
  if (!items.has(id)) {
    const item = get(`/v1/items/${encodeURIComponent(id)}`);
    items.set(id, item);
    item.catch(() => items.delete(id));
  }
  return items.get(id);
}

/** Results of a state by one model: `{hits, total, explain, more}`. */
export async function find(state, model, { offset, k, signal }) {
  const narrow = { k: Math.min(k, limits.k), offset, labels: state.labels, metadata: state.where, model, explain: true };
  const answer = await ask(state, narrow, signal);
  const reached = offset + answer.hits.length;
  return { ...answer, more: answer.hits.length > 0 && reached < Math.min(answer.total, limits.results) };
}

/** Items to start from: some by chance, or all that fit the filters; `{hits, total, more}`. */
export async function browse(state, model, { offset, k, signal }) {
  const words = filters(state, model);
  const narrow = words.has("label") || words.has("metadata");
  if (narrow) {
    words.set("offset", offset);
    words.set("limit", k);
  } else words.set("random", k);
  const { items: hits, total } = await get(`/v1/items?${words}`, signal);
  return { hits, total, more: narrow && hits.length > 0 && offset + hits.length < total };
}

/** An item drawn by chance among those that fit the filters; undefined where none does. */
export async function draw(state) {
  const words = filters(state, state.model);
  words.set("random", 1);
  return (await get(`/v1/items?${words}`)).items[0];
}

function filters(state, model) {
  const words = new URLSearchParams(state.labels.map((label) => ["label", label]));
  if (model !== null) words.set("model", model);
  if (Object.keys(state.where).length) words.set("metadata", JSON.stringify(state.where));
  return words;
}

async function ask(state, narrow, signal) {
  const marks = { relevant: state.like, irrelevant: state.unlike };
  const marked = state.like.length + state.unlike.length > 0;
  if (state.id !== null && state.region === null) {
    if (!marked) return post("/v1/search/id", { id: state.id, ...narrow }, signal);
    return post("/v1/search/refine", { id: state.id, ...marks, ...narrow }, signal);
  }
  // The service cannot know whose part this is, so it is told the labels: then it can say how bad a mistake is.
  if (state.id !== null) narrow = { ...narrow, labels_of_query: (await itemOf(state.id)).labels };
  const key = JSON.stringify([state.id, state.upload, state.region, narrow.model]);
  if (!vectors.has(key)) {
    const answer = await embed(state, narrow, signal);
    vectors.set(key, answer.vector);
    if (!marked) return answer;
  }
  const vector = vectors.get(key);
  if (!marked) return post("/v1/search/vector", { vector, ...narrow }, signal);
  return post("/v1/search/refine", { vector, ...marks, ...narrow }, signal);
}

async function embed(state, narrow, signal) {
  const form = new FormData();
  const picture = await pictureOf(state, signal);
  form.set("image", picture, "picture");
  form.set("with_vector", "true");
  if (state.region) form.set("region", await pixels(picture, state.region));
  for (const [name, value] of Object.entries(narrow)) {
    if (Array.isArray(value)) for (const one of value) form.append(name, one);
    else form.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return post("/v1/search/image", form, signal);
}

async function pictureOf(state, signal) {
  if (state.upload !== null) {
    const own = upload(state.upload);
    if (own) return own.file;
    throw new Refusal(410, "This picture was only in the page and is gone.", "Drop it, paste it or choose it again.");
  }
  const place = placeOf(state.id);
  try {
    const whole = await blob(place, signal);
    (await createImageBitmap(whole)).close();
    return whole;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return blob(`${place}?w=1024`, signal); // of a type that only the service can read, or too large to be sent
  }
}

/** A region in pixels of the upright picture. */
async function pixels(picture, region) {
  const { width, height } = await createImageBitmap(picture);
  const sides = [width, height, width, height];
  return region.map((edge, number) => (number < 2 ? Math.floor : Math.ceil)(edge * sides[number])).join(",");
}
