// A canvas that shows a part of the plane, moved and zoomed with mouse, fingers and keys.

const FARTHEST = 60;
const STILL = 5; // pixels that a click may move
const ZOOM = 1.4;

/**
 * Let a canvas show points of -1..1.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {object} calls `draw(context, plane)`, `hover(x, y)` in pixels of the canvas, `leave()`, `click(x, y, touch)`
 */
export function plane(canvas, calls) {
  const context = canvas.getContext("2d");
  const fingers = new Map();
  const view = { x: 0, y: 0, zoom: 1 };
  let awaited = 0;
  let travelled = 0;

  const scale = () => (Math.min(canvas.clientWidth, canvas.clientHeight) / 2) * 0.94 * view.zoom;
  const own = {
    /** Pixels of a point. */
    at({ x, y }) {
      const size = scale();
      return [(x - view.x) * size + canvas.clientWidth / 2, (y - view.y) * size + canvas.clientHeight / 2];
    },
    /** Whether a point is in sight, or at most `rim` pixels outside. */
    sees(point, rim) {
      const [x, y] = own.at(point);
      return x > -rim && y > -rim && x < canvas.clientWidth + rim && y < canvas.clientHeight + rim;
    },
    get zoom() {
      return view.zoom;
    },
    /** Draw soon. */
    redraw() {
      awaited ||= requestAnimationFrame(() => {
        awaited = 0;
        const sharp = devicePixelRatio;
        const [width, height] = [Math.round(canvas.clientWidth * sharp), Math.round(canvas.clientHeight * sharp)];
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
        context.setTransform(sharp, 0, 0, sharp, 0, 0);
        context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
        calls.draw(context, own);
      });
    },
    /** Zoom around a pixel; around the middle without one. */
    zoomBy(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
      const before = scale();
      view.zoom = Math.min(FARTHEST, Math.max(1, view.zoom * factor));
      const gain = 1 / before - 1 / scale();
      view.x += (x - canvas.clientWidth / 2) * gain;
      view.y += (y - canvas.clientHeight / 2) * gain;
      own.moveBy(0, 0);
    },
    /** Zoom by one step of a button or key, around a point where there is one. */
    step(inwards, point = null) {
      own.zoomBy(inwards ? ZOOM : 1 / ZOOM, ...(point ? own.at(point) : []));
    },
    /** Move by pixels, never out of sight. */
    moveBy(dx, dy) {
      view.x = Math.min(1, Math.max(-1, view.x - dx / scale()));
      view.y = Math.min(1, Math.max(-1, view.y - dy / scale()));
      own.redraw();
    },
    /** Show all. */
    reset() {
      Object.assign(view, { x: 0, y: 0, zoom: 1 });
      own.redraw();
    },
    /** Move as little as lets a point be seen. */
    reveal(point) {
      const [x, y] = own.at(point);
      const rim = 40;
      const past = (value, most) => Math.min(0, most - rim - value) + Math.max(0, rim - value);
      own.moveBy(past(x, canvas.clientWidth), past(y, canvas.clientHeight));
    },
  };

  const pixel = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    own.zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...pixel(event));
    calls.hover(...pixel(event));
  });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, pixel(event));
    travelled = fingers.size > 1 ? Infinity : 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = pixel(event);
    const before = fingers.get(event.pointerId);
    if (!before) return calls.hover(...now);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const wider = distance(now, other) / Math.max(1, distance(before, other));
      own.zoomBy(wider, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    }
    travelled += distance(now, before);
    if (travelled > STILL) {
      calls.leave();
      own.moveBy((now[0] - before[0]) / fingers.size, (now[1] - before[1]) / fingers.size);
    }
    fingers.set(event.pointerId, now);
  });
  const lift = (event) => {
    if (fingers.delete(event.pointerId) && event.type === "pointerup" && travelled <= STILL) {
      calls.click(...pixel(event), event.pointerType !== "mouse");
    }
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && calls.leave());
  new ResizeObserver(own.redraw).observe(canvas);
  return own;
}

const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
