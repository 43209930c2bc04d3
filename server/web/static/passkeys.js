// Passkeys, in the JSON form of the WebAuthn standard that the server speaks.

import { Refused } from "/assets/ask.js";

const LOOPBACK = ["127.0.0.1", "[::1]"];
const ADDRESS = /^(\[.*\]|[\d.]+)$/;
const USED = "axonml:passkey";

/** Whether this browser can use passkeys on this page: browsers know none of bare addresses, nor without https. */
export const usable = typeof globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON === "function"
  && !ADDRESS.test(location.hostname);

/** The same page where passkeys could be used; null when that is here, or nobody can tell where. */
export function usableAt() {
  if (!LOOPBACK.includes(location.hostname)) return null;
  const address = new URL(location.href);
  address.hostname = "localhost";
  return address.href;
}

/** Whether this browser may suggest passkeys, and has ever had one for this server: asking for others costs for nothing. */
export async function suggests() {
  return usable && USED in localStorage && Boolean(await PublicKeyCredential.isConditionalMediationAvailable?.());
}

/** Makes a passkey. Throws Refused. */
export function create(options) {
  return ceremony((signal) => navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options), signal,
  }));
}

/** Uses a passkey. Throws Refused. */
export function use(options) {
  return ceremony((signal) => navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options), signal,
  }));
}

/** Uses a passkey that the browser suggests in a field with `autocomplete="… webauthn"`; null when none was. */
export async function suggested(options) {
  try {
    return await ceremony((signal) => navigator.credentials.get({
      publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options), signal, mediation: "conditional",
    }));
  } catch {
    return null; // nobody asked for it, so nobody is told
  }
}

let waiting = new AbortController();

/** A page can wait for one passkey at a time, so whoever is next ends what waits. */
async function ceremony(begin) {
  waiting.abort();
  waiting = new AbortController();
  try {
    const credential = await begin(waiting.signal);
    localStorage[USED] = "yes";
    return credential.toJSON();
  } catch (problem) {
    throw new Refused(EXPLAINED[problem.name] ?? `The browser refused: ${problem.message}`);
  }
}

const EXPLAINED = {
  AbortError: "Another request for a passkey took its place.",
  InvalidStateError: "This device holds a passkey of this account already.",
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or there is none. Try again, or choose another way.",
  SecurityError: "Passkeys of this server belong to another address than that of this page.",
};
