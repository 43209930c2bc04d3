import "/assets/styles.js";
import { authorizedFetch, refresh, signOut, toLogin } from "/assets/session.js";

const { createElement: h, useState } = React;
const address = new URL("/graphql", location.href);
const socketAddress = new URL(address);
socketAddress.protocol = address.protocol === "https:" ? "wss:" : "ws:";

// The handshake carries the cookie, so it has to be renewed before each one, not after. graphql-ws waits for ever on
// an address that throws, so no verdict means: try with the cookie that is there.
async function freshSocketAddress() {
  const signedIn = await refresh().catch(() => true);
  if (!signedIn) toLogin();
  return socketAddress.href;
}

const FATAL = [4400, 4401, 4406, 4409, 4429];

const socket = graphqlWs.createClient({
  url: freshSocketAddress,
  retryAttempts: Infinity,
  retryWait: (retries) => new Promise((resume) => {
    setTimeout(resume, Math.min(10_000, 250 * 2 ** retries) * (0.5 + Math.random() / 2));
  }),
  shouldRetry: (event) => !(event instanceof CloseEvent && FATAL.includes(event.code)),
});

const fetcher = GraphiQL.createFetcher({ url: address.href, fetch: authorizedFetch, wsClient: socket });

const WELCOME = `# Ctrl-Enter runs the operation at the cursor.
query Newest {
  serverInfo { name version }
  runs(first: 5) {
    totalCount
    nodes {
      id
      name
      status
      metrics(keys: ["loss"]) { last lastStep }
    }
  }
}

# Live. Variables: {"run": "run_…"}
subscription Watch($run: ID!) {
  runMetrics(runId: $run) {
    status
    series { key steps values }
  }
}
`;

function Account() {
  const [problem, setProblem] = useState("");
  const leave = () => { setProblem(""); signOut().catch((error) => setProblem(error.message)); };
  return h("div", { className: "account" },
    h("span", { role: "alert" }, problem),
    h("img", { src: "/assets/icon.svg", alt: "", width: 20, height: 20 }),
    h("strong", null, "AxonML"),
    h("a", { href: "/account" }, "Account"),
    h("button", { type: "button", onClick: leave }, "Sign out"));
}

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  h(GraphiQL, { fetcher, defaultQuery: WELCOME, defaultEditorToolsVisibility: true, shouldPersistHeaders: false },
    h(GraphiQL.Logo, null, h(Account))),
);
