/** The dialog that deletes a run. The name must be typed, and the service checks that the key may write. */

import { h, visible } from "./dom.js";
import { deleteRun, KeyNeeded } from "./net.js";

/** Ask, and delete. `done()` after the deletion, `needKey()` if the service requires a key. */
export function askToDelete(run, done, needKey) {
  const field = h("input", { class: "field", name: "run", autocomplete: "off", spellcheck: "false" });
  const problem = h("p", { class: "bad", role: "alert", hidden: true });
  const confirm = h("button", { type: "submit", class: "button danger", disabled: true }, "Delete this run");
  field.addEventListener("input", () => {
    confirm.disabled = field.value !== run;
  });
  const dialog = h(
    "dialog",
    { "aria-labelledby": "delete-title", on: { close: () => dialog.remove() } },
    h(
      "form",
      { on: { submit } },
      h("h2", { id: "delete-title" }, "Delete ", h("span", { class: "code" }, visible(run)), "?"),
      h("p", null, "Its level, history, problems and checkpoints are removed from the store. This cannot be undone. Export the run first to keep a copy."),
      problem,
      h("label", null, "Type the name of the run", field),
      h("div", { class: "row" }, h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Cancel"), confirm),
    ),
  );

  async function submit(event) {
    event.preventDefault();
    if (field.value !== run) return;
    confirm.disabled = true;
    try {
      await deleteRun(run);
      dialog.close();
      done();
    } catch (error) {
      if (error instanceof KeyNeeded) {
        dialog.close();
        return needKey();
      }
      problem.textContent = error.message;
      problem.hidden = false;
      confirm.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  field.focus();
}
