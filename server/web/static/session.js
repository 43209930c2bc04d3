// The browser's session. Its tokens are in cookies that no script can read; this only asks the server to renew them.

import { ask } from "/assets/ask.js";

const REFRESH = "mutation { auth: authRefresh(input: {}) { requiresMfa } }";
const LOGOUT = "mutation { authLogout { ended } }";
const TURN = "axonml-refresh";
const RENEWED = "axonml-renewed-at:";
const REMEMBERED_MS = 10_000;

async function renew() {
  try {
    await ask(REFRESH);
    return true;
  } catch (problem) {
    if (problem.code === "UNAUTHENTICATED") return false;
    throw problem;
  }
}

/** Whether some tab renewed the session after that moment. */
async function renewedSince(moment) {
  const { held } = await navigator.locks.query();
  return held.some(({ name }) => name.startsWith(RENEWED) && Number(name.slice(RENEWED.length)) >= moment);
}

/** Lets the other tabs know for a while. A lock of that name, because a message could come after the tab's turn. */
function tellOtherTabs() {
  return new Promise((told) => {
    navigator.locks.request(RENEWED + Date.now(), () => new Promise((forget) => {
      told();
      setTimeout(forget, REMEMBERED_MS);
    }));
  });
}

async function renewInTurn(needed) {
  if (await renewedSince(needed)) return true;
  const signedIn = await renew();
  if (signedIn) await tellOtherTabs();
  return signedIn;
}

let refreshing = null;

/**
 * Renews the session: true, or false when there is none any more. Throws when the server gave no verdict, for
 * example because it is restarting: that says nothing about the session.
 *
 * A refresh token is good for one use, so callers at the same time share one request; and tabs take turns, of which
 * only the first one asks. `needed`: when it turned out, in milliseconds of the clock, that the session must be renewed.
 */
export function refresh(needed = Date.now()) {
  // Browsers know of locks on secure origins only; on others the server bears with two tabs at once.
  refreshing ??= (navigator.locks ? navigator.locks.request(TURN, () => renewInTurn(needed)) : renew())
    .finally(() => { refreshing = null; });
  return refreshing;
}

/** Leads to the login page and, from there, back to this one. */
export function toLogin() {
  location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
}

/** Whether an error of the graph is about the session, and not about a wrong password or code in the input. */
const isOver = ({ code, field }) => code === "UNAUTHENTICATED" && field === undefined;

/** `ask` of somebody who is signed in: renews the session once; without one it leads to the login page, for good. */
export async function askSignedIn(query, variables) {
  const sent = Date.now();
  try {
    return await ask(query, variables);
  } catch (problem) {
    if (!isOver(problem)) throw problem;
  }
  if (await refresh(sent)) return ask(query, variables);
  toLogin();
  return new Promise(() => {});
}

/** `fetch` that renews the session once when the server no longer knows it; without a session it leads to the login page. */
export async function authorizedFetch(input, options) {
  const sent = Date.now();
  const first = await fetch(input, { ...options, credentials: "same-origin" });
  if (!(await unauthenticated(first))) return first;
  if (!(await refresh(sent))) {
    toLogin();
    return first;
  }
  return fetch(input, { ...options, credentials: "same-origin" });
}

async function unauthenticated(answer) {
  if (answer.status === 401) return true;
  if (!(answer.headers.get("content-type") ?? "").includes("json")) return false;
  const document = await answer.clone().json().catch(() => null);
  return document?.errors?.some((error) => isOver(error.extensions ?? {})) ?? false;
}

// A page that the browser kept in memory shows what it showed then, also when the session has ended since.
addEventListener("pageshow", ({ persisted }) => { if (persisted) location.reload(); });

/** Removes what GraphiQL remembers: operations and variables may hold what only their author was to see. */
function forget() {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith("graphiql:")) localStorage.removeItem(key);
  }
}

/** Leads to the login page once the session has ended; nothing of it stays in this browser. */
export function leave() {
  forget();
  addEventListener("pagehide", forget); // an editor may write down once more what it holds
  location.replace("/login");
}

/** Ends the session, also one whose access token has expired, and leads to the login page. Throws when that failed. */
export async function signOut() {
  try {
    await ask(LOGOUT);
  } catch (problem) {
    if (problem.code !== "UNAUTHENTICATED") throw problem;
    if (await refresh()) await ask(LOGOUT);
  }
  leave();
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
