/** The page: its view according to the address, the theme, the key, and the state of the stream. */

import { h, visible } from "./dom.js";
import { address } from "./address.js";
import { key } from "./net.js";
import { askForKey } from "./key.js";
import { startTheme } from "./theme.js";
import { showHealth } from "./views/health.js";
import { compareView } from "./views/compare.js";
import { runView } from "./views/run.js";
import { runsView } from "./views/runs.js";

const main = document.getElementById("main");
const trail = document.getElementById("trail");
const live = document.getElementById("live");
const keyButton = document.getElementById("key-button");

const STATES = {
  connecting: "connecting",
  live: "live",
  lost: "reconnecting",
  trouble: "store unreachable",
  key: "key needed",
  refused: "not available",
};

let view = null;

function setState(state) {
  live.dataset.state = state;
  const word = STATES[state];
  if (live.textContent !== word) live.replaceChildren(h("span", { class: "live-word" }, word));
  live.title = word;
  keyButton.hidden = state !== "key" && !key.get();
}

/** The run in the address: null for #/ (all runs), NAME for #/runs/NAME. */
function currentRun() {
  const { parts } = address();
  if (parts[0] !== "runs" || !parts[1]) return null;
  try {
    return decodeURIComponent(parts[1]);
  } catch {
    return parts[1];
  }
}

/** The runs in the address #/compare?run=A&run=B; null for another address. */
function comparedRuns() {
  const { parts, query } = address();
  const runs = [...new Set(query.getAll("run"))].slice(0, 8);
  return parts[0] === "compare" && runs.length ? runs : null;
}

function show(focus) {
  view?.close();
  const run = currentRun();
  const compared = comparedRuns();
  const name = compared ? "Compare" : run === null ? null : visible(run);
  document.title = `${name ?? "Runs"} · deepcompress`;
  trail.replaceChildren();
  if (name !== null) trail.append(h("a", { href: "#/" }, "Runs"), " / ", h("span", { "aria-current": "page" }, name));
  const hooks = {
    state(state) {
      setState(state);
      if (state === "key") needKey();
    },
    health: showHealth,
    needKey,
  };
  view = compared ? compareView(compared, hooks) : run === null ? runsView(hooks) : runView(run, hooks);
  main.replaceChildren(view.root);
  window.scrollTo(0, 0);
  if (focus) main.focus();
}

async function needKey() {
  const given = await askForKey(key.get() !== null);
  if (given === null) return;
  if (given) key.set(given);
  else key.forget();
  show(false);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
keyButton.addEventListener("click", needKey);
window.addEventListener("hashchange", () => show(true));
startTheme(document.getElementById("theme-button"));
setState("connecting");
show(false);
