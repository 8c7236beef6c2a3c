/** The address of a view: #/PATH?QUERY. Filters are in the query, so that a link shows the same view. */

/** {parts, query} of the present address. Parts are as they are in the address, still encoded. */
export function address() {
  const [path, ...rest] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/"), query: new URLSearchParams(rest.join("?")) };
}

/** The value of a filter in the address, if it is one of `allowed`, else `normal`. */
export function filter(name, allowed, normal) {
  const value = address().query.get(name);
  return allowed.includes(value) ? value : normal;
}

/** Set a filter in the address, without a new entry in the history. The normal value is left out. */
export function setFilter(name, value, normal = "") {
  const { parts, query } = address();
  if (String(value) === String(normal)) query.delete(name);
  else query.set(name, value);
  const text = query.toString();
  history.replaceState(history.state, "", `#/${parts.join("/")}${text ? `?${text}` : ""}`);
}

export const runLink = (run) => `#/runs/${encodeURIComponent(run)}`;

export const compareLink = (runs) => `#/compare?${runs.map((run) => `run=${encodeURIComponent(run)}`).join("&")}`;
