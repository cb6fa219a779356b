// A token server on loopback: `node oidc_server.mjs CLIENT_ID CLIENT_SECRET SCOPE`.
// It prints the port it listens at, as JSON, and serves until it is ended.
import http from "node:http";
import Provider from "oidc-provider";

const [clientId, secret, scope] = process.argv.slice(2);
const client = (id, method) => ({
  client_id: id,
  client_secret: secret,
  token_endpoint_auth_method: method,
  grant_types: ["client_credentials"],
  scope,
  redirect_uris: [],
  response_types: [],
});
const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [client(clientId, "client_secret_post"), client(`${clientId}-basic`, "client_secret_basic")],
    scopes: [scope, "another"],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
  });
  server.on("request", provider.callback());
  console.log(JSON.stringify({ port }));
});
