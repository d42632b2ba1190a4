// Requests to the service, with the token where one is needed.

const KEPT = "pertinent-token";
const PATIENCE = 3;

let token = sessionStorage.getItem(KEPT);
let askUser = async () => null;
let asking = null;

/** The service refused, or was not there: what went wrong, and what to do. */
export class Refusal extends Error {
  constructor(status, error, hint) {
    super(error);
    this.status = status;
    this.hint = hint;
  }
}

/** Name the function that asks the user for the token; it resolves to null where the user does not tell. */
export function onToken(ask) {
  askUser = ask;
}

/** Whether pictures must be fetched with a token, which an <img> cannot do. */
export const hasToken = () => token !== null;

/** The JSON of a GET. */
export async function get(path, signal) {
  return (await call(path, { signal })).json();
}

/** The answer and status of a GET, for addresses that may answer "not yet". */
export async function poll(path, signal) {
  const answer = await call(path, { signal });
  return { ready: answer.status === 200, ...(await answer.json()) };
}

/** The bytes of a GET. */
export async function blob(path, signal) {
  return (await call(path, { signal })).blob();
}

/** The JSON of a POST: a FormData goes as it is, anything else as JSON. */
export async function post(path, body, signal) {
  const form = body instanceof FormData;
  const headers = form ? {} : { "Content-Type": "application/json" };
  return (await call(path, { method: "POST", headers, body: form ? body : JSON.stringify(body), signal })).json();
}

async function call(path, options) {
  for (let tries = 0; ; tries++) {
    const shown = token;
    const headers = shown === null ? options.headers : { ...options.headers, Authorization: `Bearer ${shown}` };
    const answer = await reach(path, { ...options, headers });
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await newToken(shown);
      continue;
    }
    // Too many at once: the service says when to come back.
    const wait = Number(answer.headers.get("Retry-After"));
    if ((answer.status === 429 || answer.status === 503) && wait && wait < 20 && tries < PATIENCE) {
      await new Promise((done) => setTimeout(done, 1000 * wait));
      options.signal?.throwIfAborted();
      continue;
    }
    throw await refusal(answer);
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The service cannot be reached.", "Is it still running? Start it, then try again.");
  }
}

async function refusal(answer) {
  try {
    const { error, hint } = await answer.json();
    return new Refusal(answer.status, String(error), String(hint));
  } catch {
    return new Refusal(answer.status, `The service answered with status ${answer.status}.`, "Its log may say more.");
  }
}

async function newToken(shown) {
  if (token !== shown) return; // another request has asked meanwhile
  asking ??= askUser(shown !== null).finally(() => (asking = null));
  const told = await asking;
  if (told === null) throw new Refusal(401, "This collection needs a token.", "Ask whoever started the service for it.");
  token = told;
  sessionStorage.setItem(KEPT, token);
}
