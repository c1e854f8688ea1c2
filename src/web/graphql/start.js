// The service may be published below a path, where this script is at PATH/graphql/explore/page/start.js.
const ENDPOINT = new URL("../../../graphql", document.currentScript.src);

const EXAMPLE = `{
  jobs(filters: {state: succeeded}, limit: 10) {
    id
    progress
    owner { username }
    tags { name }
    steps { name state }
    files { name size }
  }
}
`;

function csrfToken() {
  const cookie = document.cookie.split("; ").find((one) => one.startsWith("headrace_csrf="));
  return cookie ? { "X-CSRF-Token": cookie.slice("headrace_csrf=".length) } : {};
}

async function ask({ query, variables, operationName }, { headers } = {}) {
  const answer = await fetch(ENDPOINT, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...csrfToken(), ...headers },
    body: JSON.stringify({ query, variables, operationName }),
  });
  return answer.json();
}

ReactDOM.createRoot(document.getElementById("explorer")).render(
  React.createElement(GraphiQL, { fetcher: ask, defaultQuery: EXAMPLE }),
);
