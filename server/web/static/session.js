// The browser's session: one refresh at a time, shared by every request of every tab.

let refreshing = null;

async function renew() {
  const answer = await fetch("/api/auth/refresh", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: "{}", credentials: "same-origin",
  });
  return answer.ok;
}

/** Renews the session. Answers whether there still is one. Callers at the same time share one request. */
export function refresh() {
  refreshing ??= (navigator.locks ? navigator.locks.request("axonml-refresh", renew) : renew())
    .catch(() => false)
    .finally(() => { refreshing = null; });
  return refreshing;
}

/** `fetch` that renews the session once when the server no longer knows it, and leads to the login page when that fails. */
export async function authorizedFetch(input, options) {
  const first = await fetch(input, { ...options, credentials: "same-origin" });
  if (!(await unauthenticated(first))) return first;
  if (!(await refresh())) {
    location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
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

/** A path on this server to go to next; anything else becomes the default. */
export function nextPath(fallback = "/graphql") {
  const wanted = new URLSearchParams(location.search).get("next");
  if (wanted === null || !wanted.startsWith("/") || wanted.startsWith("//") || wanted.includes("\\")) return fallback;
  return wanted;
}

const MUTATIONS = {
  login: "mutation ($input: AuthLoginInput!) { auth: authLogin(input: $input) { requiresMfa } }",
  setup: "mutation ($input: AuthSetupInput!) { auth: authSetup(input: $input) { requiresMfa } }",
  logout: "mutation { auth: authLogout { ended } }",
};

/** Runs one of the mutations above with a cookie session. Throws an Error whose message is for the user. */
export async function authenticate(kind, input) {
  const answer = await fetch("/graphql", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: MUTATIONS[kind], variables: input ? { input } : {} }),
  });
  const document = await answer.json().catch(() => null);
  const problem = document?.errors?.[0]?.message ?? document?.error?.message;
  if (problem !== undefined) throw new Error(problem);
  if (!document?.data?.auth) throw new Error("The server gave no answer. Try again.");
  return document.data.auth;
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
      form.querySelector("input[type=password]")?.focus();
    } finally {
      button.disabled = false;
    }
  });
}
