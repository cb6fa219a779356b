// The official client of Catenis: `node catenis_client.js HOST DEVICE SECRET poll|listen [ID]...`.
// It prints what it is answered, a line of JSON for each answer.
const ApiClient = require("catenis-api-client");

const [host, device, secret, what, ...ids] = process.argv.slice(2);
const client = new ApiClient(device, secret, { host, secure: false, version: "0.7" });
const print = (value) => console.log(JSON.stringify(value));

if (what === "listen") {
  const channel = client.createWsNotifyChannel("final-msg-progress");
  channel.on("open", () => print({ open: true }));
  channel.on("notify", (event) => {
    print(event);
    channel.close();
  });
  channel.on("close", (code) => print({ code }));
  channel.open((error) => error && print({ error: error.message }));
} else {
  for (const id of ids) {
    client.retrieveMessageProgress(id, (error, data) => {
      const { httpStatusCode, ctnErrorMessage } = error ?? {};
      print([id, error ? { status: httpStatusCode, message: ctnErrorMessage } : data]);
    });
  }
}
