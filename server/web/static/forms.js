// Forms for everybody: errors are announced, and the keyboard is where the first wrong field is.

/**
 * Sends a form: one request at a time. `send` gets its values by name and throws an error for the user, whose `field`
 * may name the wrong one. The form has an element with role=alert.
 */
export function submits(form, send) {
  const alert = form.querySelector("[role=alert]");
  let busy = false;
  form.noValidate = true; // the browser would say it in a bubble that is gone again
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    clear(form);
    const wrong = [...form.elements].find((field) => field.willValidate && !field.validity.valid);
    if (wrong) {
      refuse(form, wrong.dataset.wrong ?? wrong.validationMessage, wrong);
      return;
    }
    busy = true;
    form.ariaBusy = "true";
    try {
      await send(Object.fromEntries(new FormData(form)));
    } catch (problem) {
      alert.textContent = problem.message;
      // Whether it was the address or the password is never told; the password is what people get wrong.
      const likely = problem.code === "UNAUTHENTICATED" ? form.querySelector("input[type=password]") : null;
      const field = form.elements.namedItem(problem.field ?? "") ?? likely;
      if (field) refuse(form, problem.message, field);
    } finally {
      busy = false;
      form.ariaBusy = null;
    }
  });
}

/** Takes back what was said about a form, and its values if so wished. */
export function clear(form, { values = false } = {}) {
  form.querySelector("[role=alert]").textContent = "";
  if (values) form.reset();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-errormessage");
  }
}

/** Announces what is wrong with a form, and leads to the field it is about. */
export function refuse(form, message, field) {
  const alert = form.querySelector("[role=alert]");
  alert.id ||= `${form.id}-problem`;
  alert.textContent = message;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", alert.id);
  field.focus();
  field.select?.();
}
