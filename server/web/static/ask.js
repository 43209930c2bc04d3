// One operation of the graph, and what its failure means to a person.

/** An error whose message is for the user; `code` and `field` (of the input) are for us, where the server gave them. */
export class Refused extends Error {
  constructor(message, { code, field } = {}) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/** The data of an operation, sent with the session's cookies. Throws Refused. */
export async function ask(query, variables = {}) {
  const answer = await fetch("/graphql", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, variables }),
  }).catch(() => { throw new Refused("The server cannot be reached. Try again in a moment."); });
  const document = await answer.json().catch(() => null);
  const problem = document?.errors?.[0] ?? document?.error;
  if (problem) throw new Refused(problem.message, problem.extensions ?? problem);
  if (!document?.data) throw new Refused("The server gave no answer. Try again in a moment.");
  return document.data;
}
