/** Requests to the service: the API key of this session, and event streams that are read with fetch, since
 *  EventSource cannot send a key. */

const KEY = "deepcompress-key";
const MOST_BUFFERED = 16 * 1024 * 1024;
const SILENCE_MS = 20_000;
const FIRST_WAIT_MS = 800;
const LONGEST_WAIT_MS = 15_000;

/** The key, kept in this tab until it is closed. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export class KeyNeeded extends Error {}

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  if (response.status === 401) throw new KeyNeeded();
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, String(problem.detail ?? `the server returned status ${response.status}`));
  }
  return response;
}

/** JSON from the API. `path` is relative to the page, so that a path prefix of a proxy is kept. */
export async function getJson(path, signal) {
  return (await ask(path, { signal, headers: { Accept: "application/json" } })).json();
}

/** Delete a run. */
export async function deleteRun(run) {
  await ask(`v1/runs/${encodeURIComponent(run)}`, { method: "DELETE" });
}

async function* events(path, signal, received) {
  const response = await ask(path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    received();
    buffer += value;
    if (buffer.length > MOST_BUFFERED) throw new Error("the stream exceeds the buffer of this page");
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const block = buffer.slice(0, end);
      buffer = buffer.slice(end + 2);
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (data.length) yield [name, JSON.parse(data.join("\n"))];
    }
  }
}

/** Read a stream until `close()`. Reconnects with growing pauses and after silence, but not while the page is
 *  hidden. `on.event(name, data)`, `on.state("connecting" | "live" | "lost" | "key" | "refused", detail)`,
 *  `on.begin()` before each new connection's first event. */
export function follow(path, on) {
  let closed = false;
  let abort = new AbortController();
  let wake = () => {};

  async function once() {
    abort = new AbortController();
    let timer;
    const received = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    received();
    let first = true;
    try {
      for await (const [name, data] of events(path, abort.signal, received)) {
        if (closed) return;
        if (first) {
          first = false;
          on.begin();
          on.state("live");
        }
        on.event(name, data);
      }
    } finally {
      clearTimeout(timer);
    }
    if (first) throw new Error("the stream ended without an event");
  }

  async function run() {
    let wait = FIRST_WAIT_MS;
    on.state("connecting");
    while (!closed) {
      const began = Date.now();
      try {
        await once();
      } catch (error) {
        if (closed) return;
        if (error instanceof KeyNeeded) return on.state("key");
        if (error instanceof Refused && [403, 404, 422].includes(error.status)) return on.state("refused", error.message);
      }
      if (closed) return;
      on.state("lost");
      if (Date.now() - began > 10_000) wait = FIRST_WAIT_MS;
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait * (0.75 + Math.random() / 2));
      });
      wait = Math.min(LONGEST_WAIT_MS, wait * 2);
      while (document.hidden && !closed) {
        await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
      }
    }
  }

  run();
  return {
    close() {
      closed = true;
      abort.abort();
      wake();
    },
  };
}
