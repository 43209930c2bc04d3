import { Refused } from "/assets/ask.js";
import { clear, submits } from "/assets/forms.js";
import * as passkeys from "/assets/passkeys.js";
import { holdPasswords, serverInfo } from "/assets/server.js";
import { askSignedIn as ask, leave, signOut } from "/assets/session.js";

const VIEWER = `{ viewer {
  name email mustChangePassword mustAddFactor
  credentials { id kind name createdAt lastUsedAt remaining }
  sessions { id lastSeenAt userAgent address current }
} }`;

const find = (id) => document.getElementById(id);
let viewer = null;

// --- saying what happened --------------------------------------------------------------------------

const say = (text) => { find("status").textContent = text; };
const complain = (problem) => { find("problem").textContent = problem.message; };

/** What a button does, once at a time: a failure is announced. */
function does(button, act) {
  let busy = false;
  button.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    find("problem").textContent = find("status").textContent = "";
    try {
      await act();
    } catch (problem) {
      complain(problem);
    } finally {
      busy = false;
    }
  });
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const when = (moment) => element("time", { dateTime: moment }, new Date(moment).toLocaleString());

/** One thing of a list, with the button that ends it. */
function item(parts, name, act) {
  const made = element("li", {}, element("span", {}, ...parts));
  if (act) {
    const button = element("button", { type: "button", className: "small" }, name);
    does(button, act);
    made.append(button);
  }
  return made;
}

// --- what there is ---------------------------------------------------------------------------------

/**
 * Shows the account as it is now; never fails, for it follows what has succeeded. `at`: the heading where the keyboard
 * goes on, when what it was on may be gone.
 */
async function load(at) {
  try {
    ({ viewer } = await ask(VIEWER));
  } catch (problem) {
    complain(problem);
    return;
  }
  const of = (kind) => viewer.credentials.filter((one) => one.kind === kind);
  find("who").textContent = `${viewer.name}, ${viewer.email}`;
  for (const field of document.querySelectorAll("input[name=email]")) field.value = viewer.email;
  showTotp(of("TOTP")[0]);
  find("passkeys").replaceChildren(...of("WEBAUTHN").map(passkeyItem));
  showRecovery(of("RECOVERY")[0]?.remaining);
  find("sessions").replaceChildren(...(viewer.sessions ?? []).map(sessionItem));
  showDuty(viewer);
  find(at)?.focus();
}

/**
 * Leaves nothing but what must be done first, for the rest is refused: the form for a new password while it is somebody
 * else's choice, then the second factors while there is none and one is required.
 */
function showDuty({ mustChangePassword, mustAddFactor }) {
  const left = mustChangePassword ? ["password-title"] : ["totp-title", "passkeys-title"];
  const confined = mustChangePassword || mustAddFactor;
  for (const section of document.querySelectorAll("main > section:not(#codes)")) {
    section.hidden = confined && !left.includes(section.getAttribute("aria-labelledby"));
  }
  find("graphiql").hidden = find("sign-out-all").hidden = confined;
  find("must-change").hidden = !mustChangePassword;
  find("must-add").hidden = mustChangePassword || !mustAddFactor;
  if (confined) find(mustChangePassword ? "current" : "totp-begin").focus();
}

function showTotp(factor) {
  find("totp-begin").hidden = Boolean(factor);
  find("totp-off").hidden = !factor;
  find("totp-form").hidden = true;
  find("totp-state").replaceChildren(...(factor ? ["It is on since ", when(factor.createdAt), "."] : ["It is off."]));
}

function showRecovery(remaining) {
  const protectedBy = viewer.credentials.some((one) => one.kind !== "RECOVERY");
  find("recovery-new").hidden = !protectedBy;
  find("recovery-state").textContent = protectedBy
    ? `You have ${remaining ?? 0} unused codes.`
    : "You get them with an authenticator app, or can make them once you have a passkey.";
}

function passkeyItem({ id, name, createdAt, lastUsedAt }) {
  const used = lastUsedAt ? [", last used ", when(lastUsedAt)] : [", never used"];
  return item([element("strong", {}, name), ", added ", when(createdAt), ...used], `Remove ${name}`, () =>
    confirmed(`Remove the passkey ${name}?`, async (password) => {
      await ask("mutation ($input: WebauthnCredentialDeleteInput!) { webauthnCredentialDelete(input: $input) { id } }",
        { input: { id, password } });
      return async () => {
        await load("passkeys-title");
        say("The passkey is removed.");
      };
    }));
}

function sessionItem({ id, lastSeenAt, userAgent, address, current }) {
  const parts = [element("strong", {}, current ? "This browser" : userAgent ?? "An unknown program"),
    `, ${address ?? "unknown address"}, last used `, when(lastSeenAt)];
  return item(parts, "End", current ? null : async () => {
    await ask("mutation ($input: IdInput!) { sessionRevoke(input: $input) { id } }", { input: { id } });
    await load("sessions-title");
    say("The session has ended.");
  });
}

// --- asking for the password -----------------------------------------------------------------------

const dialog = find("confirm");
let act = null;

/** Asks for the password and does something with it, as often as it takes; what that answers is done afterwards. */
function confirmed(title, withPassword) {
  find("confirm-title").textContent = title;
  clear(find("confirm-form"));
  find("confirm-password").value = "";
  act = withPassword;
  dialog.showModal();
}

submits(find("confirm-form"), async ({ password }) => {
  const afterwards = await act(password);
  find("confirm-password").value = "";
  dialog.close();
  await afterwards();
});
find("confirm-cancel").addEventListener("click", () => dialog.close());

// --- recovery codes --------------------------------------------------------------------------------

function showCodes(codes) {
  find("codes").querySelector("ol").replaceChildren(
    ...codes.map((code) => element("li", {}, element("code", {}, code))));
  find("codes").hidden = false;
  find("codes-title").focus();
}

const writtenCodes = () => [...find("codes").querySelectorAll("code")].map((one) => one.textContent).join("\n");

does(find("codes-copy"), async () => {
  await navigator.clipboard.writeText(writtenCodes());
  say("The codes are copied.");
});
find("codes-copy").hidden = !navigator.clipboard;
does(find("codes-print"), () => window.print());
does(find("codes-kept"), () => {
  find("codes").hidden = true;
  find("codes").querySelector("ol").replaceChildren();
  find("recovery-title").focus();
});

does(find("recovery-new"), () => confirmed("Make new recovery codes? The old ones stop working.", async (password) => {
  const { made } = await ask(
    "mutation ($input: PasswordInput!) { made: recoveryCodesGenerate(input: $input) { recoveryCodes } }",
    { input: { password } });
  return async () => {
    showCodes(made.recoveryCodes);
    await load();
  };
}));

// --- authenticator app -----------------------------------------------------------------------------

does(find("totp-begin"), async () => {
  const { setup } = await ask("mutation { setup: mfaTotpSetup { secret qrCode } }");
  find("totp-picture").src = setup.qrCode;
  find("totp-secret").textContent = setup.secret.match(/.{1,4}/g).join(" ");
  clear(find("totp-form"), { values: true });
  find("totp-begin").hidden = true;
  find("totp-form").hidden = false;
  find("totp-code").focus();
});

submits(find("totp-form"), async ({ code }) => {
  const { made } = await ask(
    "mutation ($input: TotpCodeInput!) { made: mfaTotpEnable(input: $input) { recoveryCodes } }",
    { input: { code: code.replace(/\s/g, "") } });
  find("totp-picture").removeAttribute("src");
  find("totp-secret").textContent = "";
  showCodes(made.recoveryCodes);
  await load();
  say("The authenticator app is on.");
});

does(find("totp-off"), () => confirmed("Turn the authenticator app off?", async (password) => {
  await ask("mutation ($input: PasswordInput!) { mfaTotpDisable(input: $input) { id } }", { input: { password } });
  return async () => {
    await load("totp-title");
    say("The authenticator app is off.");
  };
}));

// --- passkeys --------------------------------------------------------------------------------------

submits(find("passkey-form"), async ({ name }) => {
  // Known before the browser makes one, which would be left over.
  if (viewer.credentials.some((one) => one.kind === "WEBAUTHN" && one.name === name.trim())) {
    throw new Refused("You have a passkey of this name; choose another one.", { field: "name" });
  }
  const { options } = await ask("mutation { options: webauthnRegisterStart }");
  const credential = await passkeys.create(options);
  await ask("mutation ($input: WebauthnRegisterInput!) { webauthnRegisterFinish(input: $input) { id } }",
    { input: { name, credential } });
  find("passkey-form").reset();
  await load();
  const spare = viewer.credentials.some((one) => one.kind === "RECOVERY" && one.remaining > 0);
  say("The passkey is added." + (spare ? "" : " Make recovery codes next, for the day you lose it."));
});
find("passkey-form").hidden = !passkeys.usable;
if (passkeys.usableAt()) {
  find("passkeys-elsewhere").hidden = false;
  find("passkeys-elsewhere").querySelector("a").href = passkeys.usableAt();
}

// --- password and sessions -------------------------------------------------------------------------

submits(find("password-form"), async ({ current, new: chosen }) => {
  await ask("mutation ($input: PasswordChangeInput!) { passwordChange(input: $input) { id } }",
    { input: { current, new: chosen } });
  find("current").value = find("new").value = "";
  await load();
  say("The password is changed.");
});

does(find("sign-out"), signOut);
does(find("sign-out-all"), async () => {
  await ask("mutation { authLogoutAll { ended } }");
  leave();
});

await load();
holdPasswords(await serverInfo());
