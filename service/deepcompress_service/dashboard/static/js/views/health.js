/** The footer of every page: the state of the process that serves the stream. */

import { h } from "../dom.js";
import { bytes, count, fixed, span } from "../format.js";

const foot = document.getElementById("foot");

export function showHealth(health) {
  const { store, verifier, requests } = health;
  const fact = (name, value, bad = false) => h("span", bad ? { class: "bad" } : null, `${name} `, h("b", null, value));
  foot.replaceChildren(
    h(
      "div",
      { class: "foot-in health" },
      h("h2", null, health.draining ? "Service: stopping" : health.ready ? "Service: ready" : "Service: not ready"),
      fact("store", store.error ? `${store.kind}, ${store.error}` : `${store.kind}, ${fixed(store.ms, 1)} ms`, Boolean(store.error)),
      fact("verifier workers", `${verifier.alive} of ${verifier.workers}`, verifier.alive < verifier.workers),
      fact("checked", count(verifier.checked)),
      fact("queued", count(verifier.queued)),
      fact("undecided", count(verifier.undecided)),
      fact("workers killed", count(verifier.killed)),
      fact("requests in progress", `${count(requests.inside)} of ${count(requests.most)}`),
      fact("waiting", count(requests.waiting)),
      fact("request bodies", bytes(requests.bytes)),
      fact("uptime", span(health.uptime_s)),
      fact("version", health.version),
      fact("process", health.process),
    ),
  );
}
