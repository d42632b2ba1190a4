// Points that are told apart by shape and colour.

const SHAPES = 6; // the seventh, a small ring, stands for all others
const REACH = 16; // pixels from which a point can be pointed at

/** Longest side of a picture in place of a point. */
export const SIDE = 44;

/** Sort points by the label of a level: the most frequent labels get a shape and a colour of their own. */
export function sorts(points, level) {
  const numbers = new Map();
  const nameOf = ({ labels }) => labels[Math.min(level, labels.length - 1)] ?? "";
  for (const one of points) numbers.set(nameOf(one), (numbers.get(nameOf(one)) ?? 0) + 1);
  const ordered = [...numbers].sort(([, one], [, other]) => other - one);
  const own = ordered.slice(0, SHAPES);
  const kinds = new Map(own.map(([name], kind) => [name, kind]));
  const rest = ordered.slice(SHAPES).reduce((sum, [, number]) => sum + number, 0);
  const named = own.map(([name, number], kind) => ({ name: name || "without label", number, kind }));
  if (rest) named.push({ name: `${ordered.length - SHAPES} others`, number: rest, kind: SHAPES });
  return { named, of: (one) => kinds.get(nameOf(one)) ?? SHAPES };
}

/** Draw a point of a kind: disc, square, triangle, diamond, cross, star; a ring for others. */
export function drawPoint(context, x, y, kind, size) {
  const colours = getComputedStyle(context.canvas);
  const colour = colours.getPropertyValue(`--c${kind}`);
  context.fillStyle = context.strokeStyle = colour;
  context.lineWidth = size / 2.2;
  context.beginPath();
  if (kind === 0) context.arc(x, y, size * 0.9, 0, 2 * Math.PI);
  else if (kind === 1) context.rect(x - size * 0.8, y - size * 0.8, size * 1.6, size * 1.6);
  else if (kind === 2) polygon(context, x, y, size * 1.15, 3);
  else if (kind === 3) polygon(context, x, y, size * 1.1, 4);
  else if (kind === 4) cross(context, x, y, size * 0.8);
  else if (kind === 5) polygon(context, x, y + size * 0.2, size * 1.15, 3, Math.PI);
  else context.arc(x, y, size * 0.6, 0, 2 * Math.PI);
  if (kind === 4 || kind === SHAPES) {
    context.lineWidth = kind === 4 ? size / 2.2 : 1;
    context.stroke();
  } else context.fill();
}

function polygon(context, x, y, reach, corners, turn = 0) {
  for (let corner = 0; corner < corners; corner++) {
    const angle = turn - Math.PI / 2 + (2 * Math.PI * corner) / corners;
    context.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  context.closePath();
}

function cross(context, x, y, reach) {
  context.moveTo(x - reach, y - reach);
  context.lineTo(x + reach, y + reach);
  context.moveTo(x + reach, y - reach);
  context.lineTo(x - reach, y + reach);
}

/** Draw a picture in place of a point, with its kind at a corner. */
export function drawPicture(context, image, x, y, kind) {
  const scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  context.fillStyle = getComputedStyle(context.canvas).getPropertyValue("--sheet");
  context.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
  context.drawImage(image, x - width / 2, y - height / 2, width, height);
  drawPoint(context, x + width / 2, y - height / 2, kind, 5);
}

/** Draw a ring around a point, or a frame around the picture in its place. */
export function drawRing(context, x, y, strong, image) {
  const reach = image ? SIDE / 2 + 4 : strong ? 9 : 7;
  context.strokeStyle = getComputedStyle(context.canvas).color;
  context.lineWidth = strong ? 2.5 : 1.2;
  context.beginPath();
  if (image) context.rect(x - reach, y - reach, 2 * reach, 2 * reach);
  else context.arc(x, y, reach, 0, 2 * Math.PI);
  context.stroke();
}

/** The point nearest to a pixel, within reach; `at` gives a point's pixels. */
export function nearest(points, at, x, y) {
  let [best, least] = [null, REACH ** 2];
  for (const one of points) {
    const [u, v] = at(one);
    const far = (u - x) ** 2 + (v - y) ** 2;
    if (far < least) [best, least] = [one, far];
  }
  return best;
}

/** The next point in a direction, or null; sideways counts twice. */
export function neighbour(points, from, dx, dy) {
  let [best, least] = [null, Infinity];
  for (const one of points) {
    const along = (one.x - from.x) * dx + (one.y - from.y) * dy;
    const aside = Math.abs((one.x - from.x) * dy) + Math.abs((one.y - from.y) * dx);
    if (along > 1e-9 && aside <= along && along + 2 * aside < least) [best, least] = [one, along + 2 * aside];
  }
  return best;
}
