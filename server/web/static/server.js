// What the server says of itself to everybody, and what of it the forms must know.

import { ask } from "/assets/ask.js";

/** Who may make an account and what a password needs; null without an answer, for the forms work without it. */
export async function serverInfo() {
  try {
    return (await ask("{ serverInfo { registration passwordMinLength } }")).serverInfo;
  } catch {
    return null; // whatever is sent next says what is wrong
  }
}

/** Holds fields for new passwords within `root` to what this server asks for, and says so beside them. */
export function holdPasswords(info, root = document) {
  if (!info) return;
  for (const field of root.querySelectorAll("input[autocomplete=new-password]")) field.minLength = info.passwordMinLength;
  for (const hint of root.querySelectorAll(".least")) hint.textContent = info.passwordMinLength;
}
