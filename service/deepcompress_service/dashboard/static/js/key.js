/** The dialog for the API key. The key is never part of the address or the history, and never on disk. */

import { h } from "./dom.js";

let open = null;

/** The key, "" to forget it, or null if the dialog was cancelled. */
export function askForKey(refused) {
  open ??= ask(refused).finally(() => (open = null));
  return open;
}

function ask(refused) {
  return new Promise((resolve) => {
    const field = h("input", { class: "field", type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true });
    let answer = null;
    const dialog = h(
      "dialog",
      { "aria-labelledby": "key-title", on: { close: () => { dialog.remove(); resolve(answer); } } },
      h(
        "form",
        {
          on: {
            submit: (event) => {
              event.preventDefault();
              answer = field.value.trim();
              dialog.close();
            },
          },
        },
        h("h2", { id: "key-title" }, "API key"),
        refused ? h("p", { class: "bad", role: "alert" }, "The current key was not accepted. Enter another one.") : null,
        h("p", null, "This service requires an API key; a read-only key is enough. It is kept in this tab until you close it."),
        h("label", null, "Key", field),
        h(
          "div",
          { class: "row" },
          refused ? h("button", { type: "button", class: "button", on: { click: () => { answer = ""; dialog.close(); } } }, "Forget key") : null,
          h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Cancel"),
          h("button", { type: "submit", class: "button main" }, "Use this key"),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}
