// Pictures of items, small and only when they come into view.

import { blob, hasToken } from "./api.js";

const AHEAD = "400px";
const KEPT = 500;
const fetched = new Map(); // address -> promise of a blob URL

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      load(target, target.dataset.address);
    }
  },
  { rootMargin: AHEAD },
);

/** The address of a picture of at most `width` pixels on this screen. */
export function sized(url, width) {
  const pixels = width * Math.min(devicePixelRatio, 2);
  return `${url}?w=${Math.min(1024, 128 * Math.ceil(pixels / 128))}`;
}

/** Where an item's picture is, known by its id alone. */
export const placeOf = (id) => `/v1/items/${encodeURIComponent(id)}/image`;

/** Let an <img> show an address once it comes near to what is seen. */
export function show(image, address) {
  if (hasToken()) {
    image.dataset.address = address;
    near.observe(image);
  } else {
    image.loading = "lazy";
    fill(image, address);
  }
  image.addEventListener("error", () => image.parentElement?.classList.add("missing"), { once: true });
}

/** Let an <img> show an address; listeners that are added later hear "error" only where no try helped. */
export function fill(image, address) {
  if (hasToken()) {
    load(image, address);
    return;
  }
  // An <img> is told neither why nor when to come back; a request is.
  const again = (event) => {
    event.stopImmediatePropagation();
    load(image, address);
  };
  image.addEventListener("error", again, { once: true });
  image.src = address;
}

async function load(image, address) {
  try {
    image.src = await fetchedUrl(address);
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}

function fetchedUrl(address) {
  if (!fetched.has(address)) {
    const url = blob(address).then((data) => URL.createObjectURL(data));
    fetched.set(address, url);
    url.catch(() => fetched.delete(address));
    forget();
  }
  return fetched.get(address);
}

function forget() {
  for (const [address, url] of fetched) {
    if (fetched.size <= KEPT) return;
    fetched.delete(address);
    url.then(URL.revokeObjectURL, () => {});
  }
}
