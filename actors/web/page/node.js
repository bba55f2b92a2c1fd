// The node as the page sees it: its token, requests that change something, and the stream of events.
// Owns the token (in this tab's memory and session storage, never in an address) and the reconnections.

const STORAGE = "spacedrive-page-token";
const SILENCE_MS = 25000; // the node says something every 10 s
const RETRY_MS = [200, 500, 1000, 2000];
const CHANGE_ATTEMPTS = 6;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const pauseBefore = (attempt) => pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);

export class RefusedError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Takes the token out of the address, so that neither the address bar nor the history keeps it.
// Returns it, or with onlyNew: the one that was in the address.
export function takeToken(onlyNew = false) {
  const given = location.hash.slice(1);
  const isNew = given !== "" && given !== "content"; // which is where the link at the top leads
  if (isNew) {
    sessionStorage.setItem(STORAGE, given);
    history.replaceState(null, "", location.pathname);
  }
  return onlyNew && !isNew ? null : sessionStorage.getItem(STORAGE);
}

export function keepToken(token) {
  sessionStorage.setItem(STORAGE, token);
}

export function forgetToken() {
  sessionStorage.removeItem(STORAGE);
}

function options(more) {
  return {
    ...more,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    headers: { ...more.headers, Authorization: `Bearer ${sessionStorage.getItem(STORAGE) ?? ""}` },
  };
}

// Asks for a change. The key makes a repeat harmless, so it is repeated when no answer came.
export async function change(path, body) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
  const request = options({
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ key, ...body }),
  });
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      response = await fetch(`/api/${path}`, request);
    } catch {
      if (attempt + 1 >= CHANGE_ATTEMPTS) throw new RefusedError("gone", "The node does not answer.");
      await pauseBefore(attempt);
      continue;
    }
    if (response.status === 401) throw new RefusedError("token", "The token is not valid any more.");
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new RefusedError(answer.error ?? "internal", answer.message ?? `The node answered ${response.status}.`);
  }
}

// Calls onEvent(name, body) for each event, across reconnections, until the token is refused. Calls
// onConnection(true or false) when the connection is there or lost. Returns when the token is refused.
export async function follow(onEvent, onConnection) {
  for (let attempt = 0; ; attempt += 1) {
    const abort = new AbortController();
    let there = false;
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      heard();
      const response = await fetch("/api/events", options({ signal: abort.signal }));
      if (response.status === 401) return;
      if (response.ok) {
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          heard();
          if (!there) onConnection((there = true));
          attempt = 0;
          const events = (rest + value).split("\n\n");
          rest = events.pop();
          for (const event of events) deliver(event, onEvent);
        }
      }
    } catch {
      // lost, or silent for too long: again
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
    onConnection(false);
    await pauseBefore(attempt);
  }
}

function deliver(event, onEvent) {
  let name;
  let data = "";
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (name) onEvent(name, JSON.parse(data));
}
