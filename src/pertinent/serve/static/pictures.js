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
      load(target);
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
  image.dataset.address = address;
  image.addEventListener("error", () => image.parentElement?.classList.add("missing"), { once: true });
  if (hasToken()) near.observe(image);
  else {
    image.loading = "lazy";
    image.src = address;
  }
}

/** An address that an <img> can show at once. */
export async function usable(address) {
  if (!hasToken()) return address;
  if (!fetched.has(address)) {
    fetched.set(address, blob(address).then((data) => URL.createObjectURL(data)));
    forget();
  }
  return fetched.get(address);
}

async function load(image) {
  try {
    image.src = await usable(image.dataset.address);
  } catch {
    image.parentElement?.classList.add("missing");
  }
}

function forget() {
  for (const [address, url] of fetched) {
    if (fetched.size <= KEPT) return;
    fetched.delete(address);
    url.then(URL.revokeObjectURL, () => {});
  }
}
