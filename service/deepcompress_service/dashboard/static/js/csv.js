/** Tables as CSV files (RFC 4180), made in the browser from what the page shows. */

/** Spreadsheets run cells that begin with one of these. Names and ids are not trusted, so an apostrophe precedes them. */
const FORMULA = /^[=+\-@\t\r]/;

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csv = (head, rows) => [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** Save a table. `name` may be any text: characters that file systems forbid are replaced. */
export function download(name, head, rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(head, rows)], { type: "text/csv;charset=utf-8" }));
  link.download = `${name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 100)}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
