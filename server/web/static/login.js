import { ask } from "/assets/ask.js";
import { clear, refuse, submits } from "/assets/forms.js";
import * as passkeys from "/assets/passkeys.js";
import { holdPasswords, serverInfo } from "/assets/server.js";
import { nextAddress, refresh } from "/assets/session.js";

const START = "mutation ($input: WebauthnStartInput!) { options: webauthnAuthenticateStart(input: $input) }";
const TO_ACCEPT = "Sign in to accept the invite.";
const OFFERED_FOR_MS = 4 * 60_000; // a challenge lives for five minutes

const find = (id) => document.getElementById(id);
const [byPassword, alone, byCode, byRecovery, byKey] = ["password-form", "alone-form", "code-form", "recovery-form", "key-form"].map(find);
const STEPS = {
  first: { title: "Sign in", lead: find("lead").textContent },
  second: { title: "Second step", lead: "The password was right. Now prove that it is you." },
  newcomer: { title: "Make an account", lead: "It comes with a workspace of your own." },
  accepting: { title: "You are invited", lead: "" },
};

let mfaToken = null;
let invite = takeInvite();
if (invite !== null) {
  STEPS.newcomer = { title: "You are invited", lead: "Make an account here, or sign in with the one you have." };
}

/** The token of the invite link that led here, or null. Nobody who looks at the screen or the history finds it there. */
function takeInvite() {
  if (!location.hash.startsWith("#invite=")) return null;
  const token = location.hash.slice("#invite=".length);
  history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

// A link opened in this very tab changes nothing but the fragment, for which browsers load nothing.
addEventListener("hashchange", () => location.reload());

/** Opens a session by one of the mutations for it; where a second factor must follow, the second step begins. */
async function enter(mutation, type, input) {
  const operation = `mutation ($input: ${type}!) { auth: ${mutation}(input: $input) { requiresMfa mfaToken } }`;
  const { auth } = await ask(operation, { input: { ...input, session: "COOKIE" } });
  if (auth.requiresMfa) {
    mfaToken = auth.mfaToken;
    show(byCode);
    return;
  }
  if (mutation === "authRegister") invite = null;
  await goOn();
}

/** Leads somebody who is signed in to where they want to be; with an invite, asks first whether they accept it. */
async function goOn() {
  if (invite !== null) {
    const { viewer } = await ask("{ viewer { name email } }");
    show(find("accept-form"), `You are signed in as ${viewer.name}, ${viewer.email}.`);
    return;
  }
  location.replace(nextAddress());
  await new Promise(() => {}); // the page is on its way out, and nothing more may be sent
}

/** Shows the step that a form belongs to, and leads the keyboard there. */
function show(form, lead) {
  const step = form.closest("main > div").id;
  for (const name in STEPS) find(name)?.toggleAttribute("hidden", name !== step);
  byCode.hidden = find("to-recovery").hidden = form !== byCode;
  byRecovery.hidden = find("to-code").hidden = form !== byRecovery;
  document.querySelector("h1").textContent = STEPS[step].title;
  document.title = `${STEPS[step].title} · AxonML`;
  find("lead").textContent = lead ?? STEPS[step].lead;
  for (const one of [alone, byCode, byRecovery, byKey]) clear(one, { values: true });
  form.querySelector("input, button").focus();
}

function startAgain() {
  mfaToken = null;
  clear(byPassword);
  byPassword.elements.password.value = "";
  show(byPassword);
  byPassword.elements.email.focus();
}

/** A form of the second step. When its time is over (or its tries), the first one begins again and says why. */
function submitsSecond(form, send) {
  submits(form, async (values) => {
    try {
      await send(values);
    } catch (problem) {
      if (problem.code !== "UNAUTHENTICATED" || problem.field !== "mfaToken") throw problem;
      startAgain();
      refuse(byPassword, problem.message, byPassword.elements.password);
    }
  });
}

submits(byPassword, ({ email, password }) => enter("authLogin", "AuthLoginInput", { email, password }));

submits(alone, async () => {
  const { options } = await ask(START, { input: {} });
  await enter("webauthnAuthenticateFinish", "WebauthnFinishInput", { credential: await passkeys.use(options) });
});

submitsSecond(byCode, ({ code }) =>
  enter("mfaTotpVerify", "MfaCodeInput", { mfaToken, code: code.replace(/\s/g, "") }));

submitsSecond(byRecovery, ({ code }) => enter("recoveryCodeUse", "MfaCodeInput", { mfaToken, code: code.trim() }));

submitsSecond(byKey, async () => {
  const { options } = await ask(START, { input: { mfaToken } });
  await enter("webauthnAuthenticateFinish", "WebauthnFinishInput", { mfaToken, credential: await passkeys.use(options) });
});

find("to-recovery").addEventListener("click", () => show(byRecovery));
find("to-code").addEventListener("click", () => show(byCode));
find("again").addEventListener("click", startAgain);

let offered = -Infinity;

/** Lets the browser suggest passkeys in the address field, and renews what that needs when somebody comes back to it. */
async function offer() {
  if (performance.now() - offered < OFFERED_FOR_MS) return;
  offered = performance.now();
  const { options } = await ask(START, { input: {} }).catch(() => ({}));
  const credential = options && await passkeys.suggested(options);
  if (!credential) return;
  offered = -Infinity;
  await enter("webauthnAuthenticateFinish", "WebauthnFinishInput", { credential })
    .catch((problem) => { alone.querySelector("[role=alert]").textContent = problem.message; });
}

alone.hidden = byKey.hidden = !passkeys.usable;
if (passkeys.usableAt()) {
  find("elsewhere").hidden = false;
  find("elsewhere").querySelector("a").href = passkeys.usableAt();
}

const server = await serverInfo();
holdPasswords(server);

const open = server?.registration === "OPEN";
find("to-register").hidden = !open;
if (open || invite !== null) {
  find("second").after(find("newcomers").content);
  holdPasswords(server);
  submits(find("register-form"), async ({ email, name, password }) => {
    const person = { email, name: name || null, password };
    if (invite !== null) {
      await enter("authRegister", "AuthRegisterInput", { ...person, invite });
      return;
    }
    await ask("mutation ($input: AuthRegisterInput!) { authRegister(input: $input) { requiresMfa } }", { input: person });
    clear(find("register-form"), { values: true });
    startAgain();
    // Whether the address had an account is told to nobody.
    find("lead").textContent = "There is an account for this address now. Sign in.";
    byPassword.elements.email.value = email;
    byPassword.elements.password.focus();
  });
  submits(find("accept-form"), async () => {
    await ask("mutation ($input: InviteAcceptInput!) { inviteAccept(input: $input) { id } }", { input: { token: invite } });
    invite = null;
    await goOn();
  });
  find("to-first").addEventListener("click", () => show(byPassword, invite && TO_ACCEPT));
  find("to-register").addEventListener("click", () => show(find("register-form")));
  if (invite !== null) {
    // Where nobody makes an account by invite, an invite is for somebody who has one.
    if (server?.registration === "CLOSED") show(byPassword, TO_ACCEPT);
    else {
      find("register-hint").textContent = "The address that you were invited by.";
      show(find("register-form"));
    }
  }
}

// Someone who is still signed in has no need of the form. No verdict is no reason to hide it.
if (await refresh().catch(() => false)) {
  await goOn().catch((problem) => {
    document.querySelector("main > div:not([hidden]) [role=alert]").textContent = problem.message;
  });
} else if (await passkeys.suggests()) {
  byPassword.elements.email.addEventListener("focus", offer);
  if (invite === null) await offer();
}
