import { ask } from "/assets/ask.js";
import { submits } from "/assets/forms.js";
import { holdPasswords, serverInfo } from "/assets/server.js";

const SETUP = "mutation ($input: AuthSetupInput!) { authSetup(input: $input) { requiresMfa } }";

// The token stays in the fragment: browsers never send it, so it is in no log of any proxy.
const token = location.hash.slice(1);
const form = document.querySelector("form");

// The right link opened in this very tab changes nothing but the fragment, for which browsers load nothing.
addEventListener("hashchange", () => location.reload());

if (token === "") {
  form.querySelector("[role=alert]").textContent = "Open the setup link exactly as the server printed it.";
  form.querySelector("button").disabled = true;
} else {
  submits(form, async ({ email, name, password }) => {
    await ask(SETUP, { input: { token, email, name: name || null, password, session: "COOKIE" } });
    location.replace("/graphql");
  });
}

holdPasswords(await serverInfo());
