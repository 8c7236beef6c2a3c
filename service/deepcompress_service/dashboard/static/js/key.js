/** Asking for the API key: a dialog that keeps it out of the address, the history and the disk. */

import { h } from "./dom.js";

let open = null;

/** The key, "" to forget it, or null where the dialog was closed without an answer. */
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
        refused ? h("p", { class: "bad", role: "alert" }, "The key in use was not accepted. Give another one.") : null,
        h("p", null, "This service answers only with a key; one that may read is enough. It is kept in this tab until you close it."),
        h("label", null, "Key", field),
        h(
          "div",
          { class: "row" },
          refused ? h("button", { type: "button", class: "button", on: { click: () => { answer = ""; dialog.close(); } } }, "Forget it") : null,
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
