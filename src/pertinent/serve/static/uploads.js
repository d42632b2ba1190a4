// The user's own pictures. They live in this page alone and are gone when it is loaded again.

const kept = new Map();

/** Keep a picture file and return its key. */
export function keep(file) {
  const key = Math.random().toString(36).slice(2, 10);
  kept.set(key, { file, name: file.name || "picture", url: URL.createObjectURL(file) });
  return key;
}

/** The picture of a key: file, name and blob URL; undefined where the page was loaded again since. */
export const upload = (key) => kept.get(key);

/** Call `take(file)` for a picture that is chosen, dropped anywhere or pasted anywhere. */
export function receive(take, input, veil) {
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  });
  addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  let depth = 0; // dragenter comes once for every element on the way
  const over = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    over(0);
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    take(file);
  });
}
