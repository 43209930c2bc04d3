import { authenticate, authorizedFetch, refresh } from "/assets/session.js";

const { createElement: h } = React;
const address = new URL("/graphql", location.href);
const socketAddress = new URL(address);
socketAddress.protocol = address.protocol === "https:" ? "wss:" : "ws:";

// The handshake carries the cookie; renewing first makes sure that it is a fresh one.
const socket = graphqlWs.createClient({
  url: socketAddress.href,
  retryAttempts: Infinity,
  shouldRetry: (event) => !(event instanceof CloseEvent && [4400, 4406, 4409, 4429].includes(event.code)),
  connectionParams: async () => { await refresh(); return {}; },
});

const fetcher = GraphiQL.createFetcher({ url: address.href, fetch: authorizedFetch, wsClient: socket });

const WELCOME = `# Everything in one graph. Try:
query Newest {
  serverInfo { name version }
  runs(first: 5) {
    totalCount
    nodes { id name status metrics(keys: ["loss"]) { key last lastStep } }
  }
}

# And live, with the id of a run:
subscription Watch($run: ID!) {
  runMetrics(runId: $run) { cursor status series { key steps values } }
}
`;

async function signOut() {
  await authenticate("logout").catch(() => {});
  location.assign("/login");
}

const signOutButton = h("button", { type: "button", className: "graphiql-un-styled", onClick: signOut }, "Sign out");

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  h(GraphiQL, { fetcher, defaultQuery: WELCOME, defaultEditorToolsVisibility: true, shouldPersistHeaders: false },
    h(GraphiQL.Logo, null, h("span", { className: "account" }, h("strong", null, "AxonML"), signOutButton))),
);
