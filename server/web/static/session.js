// The browser's session. Its tokens are in cookies that no script can read; this only asks the server to renew them.

const MUTATIONS = {
  login: "mutation ($input: AuthLoginInput!) { auth: authLogin(input: $input) { requiresMfa } }",
  setup: "mutation ($input: AuthSetupInput!) { auth: authSetup(input: $input) { requiresMfa } }",
  refresh: "mutation ($input: AuthRefreshInput!) { auth: authRefresh(input: $input) { requiresMfa } }",
  logout: "mutation { auth: authLogout { ended } }",
};

/** An error whose message is for the user, and whose code (if the server gave one) is for us. */
class Refused extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** Runs one of the mutations above with a cookie session. Throws an Error whose message is for the user. */
export async function authenticate(kind, input) {
  const answer = await fetch("/graphql", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: MUTATIONS[kind], variables: input ? { input } : {} }),
  }).catch(() => { throw new Refused("The server cannot be reached. Try again in a moment."); });
  const document = await answer.json().catch(() => null);
  const problem = document?.errors?.[0] ?? document?.error;
  if (problem) throw new Refused(problem.message, problem.extensions?.code ?? problem.code);
  if (!document?.data?.auth) throw new Refused("The server gave no answer. Try again in a moment.");
  return document.data.auth;
}

async function renew() {
  try {
    await authenticate("refresh", {});
    return true;
  } catch (problem) {
    if (problem.code === "UNAUTHENTICATED") return false;
    throw problem;
  }
}

let refreshing = null;

/**
 * Renews the session: true, or false when there is none any more. Throws when the server gave no verdict, for
 * example because it is restarting: that says nothing about the session.
 *
 * A refresh token is good for one use, so callers at the same time share one request, and tabs take turns.
 */
export function refresh() {
  refreshing ??= (navigator.locks ? navigator.locks.request("axonml-refresh", renew) : renew())
    .finally(() => { refreshing = null; });
  return refreshing;
}

/** Leads to the login page and, from there, back to this one. */
export function toLogin() {
  location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
}

/** `fetch` that renews the session once when the server no longer knows it; without a session it leads to the login page. */
export async function authorizedFetch(input, options) {
  const first = await fetch(input, { ...options, credentials: "same-origin" });
  if (!(await unauthenticated(first))) return first;
  if (!(await refresh())) {
    toLogin();
    return first;
  }
  return fetch(input, { ...options, credentials: "same-origin" });
}

async function unauthenticated(answer) {
  if (answer.status === 401) return true;
  if (!(answer.headers.get("content-type") ?? "").includes("json")) return false;
  const document = await answer.clone().json().catch(() => null);
  return document?.errors?.some((error) => error.extensions?.code === "UNAUTHENTICATED") ?? false;
}

/** Ends the session, also one whose access token has expired, and leads to the login page. Throws when that failed. */
export async function signOut() {
  try {
    await authenticate("logout");
  } catch (problem) {
    if (problem.code !== "UNAUTHENTICATED") throw problem;
    if (await refresh()) await authenticate("logout");
  }
  location.assign("/login");
}

/** The address on this server to go to next; anything that leads elsewhere becomes the default. */
export function nextAddress(fallback = "/graphql") {
  const home = new URL(fallback, location.origin).href;
  const wanted = new URLSearchParams(location.search).get("next");
  if (!wanted?.startsWith("/")) return home;
  try {
    // Judged as the browser reads it: "/\t/host" and "/\host" name another host although they start with one slash.
    const address = new URL(wanted, location.origin);
    return address.origin === location.origin ? address.href : home;
  } catch {
    return home;
  }
}

/** Sends a form: one request at a time, the message of a failure where a screen reader announces it. */
export function submits(form, send) {
  const button = form.querySelector("button");
  const problem = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    try {
      await send(Object.fromEntries(new FormData(form)));
    } catch (error) {
      problem.textContent = error.message;
      form.querySelector("input[type=password]")?.select();
    } finally {
      button.disabled = false;
    }
  });
}
