import { authenticate, nextAddress, refresh, submits } from "/assets/session.js";

submits(document.querySelector("form"), async ({ email, password }) => {
  const outcome = await authenticate("login", { email, password, session: "COOKIE" });
  if (outcome.requiresMfa) throw new Error("This account needs a second factor, which this page cannot ask for yet.");
  location.replace(nextAddress());
});

// Someone who is still signed in has no need of the form. No verdict is no reason to hide it.
if (await refresh().catch(() => false)) location.replace(nextAddress());
