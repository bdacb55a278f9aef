// Calls through fetch, and through node:http over a Unix socket. Arguments: address, method, path, bytes,
// count, pause in ms between the calls of a connection (-1: one after another). Prints how often each
// status or error came.
import http from "node:http";

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
process.removeAllListeners("warning");
const [address, method, path, size, count, pause] = process.argv.slice(2);
const body = "x".repeat(Number(size));
const headers = { "content-type": "application/json" };
const seen = {};
const note = (what) => (seen[what] = (seen[what] ?? 0) + 1);
const agent = new http.Agent({ keepAlive: true });

const over = (options) =>
  new Promise((resolve, reject) => {
    const request = http.request({ ...options, path, method, headers, agent }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });

const call = async () => {
  try {
    if (address.startsWith("unix:")) {
      note(await over({ socketPath: address.slice(5), host: "localhost" }));
    } else if (Number(pause) >= 0) {
      const { hostname, port } = new URL(address);
      note(await over({ hostname, port }));
    } else {
      const response = await fetch(address + path, { method, headers, body });
      await response.arrayBuffer();
      note(response.status);
    }
  } catch (error) {
    note(error.cause?.code ?? error.code ?? String(error));
  }
};

if (Number(pause) < 0) {
  for (let i = 0; i < Number(count); i++) await call();
} else {
  // Many connections, each of which is used again at the edge of the idle time.
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const lanes = 50;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (let i = 0; i < Number(count) / lanes; i++) {
        await call();
        await wait(Number(pause) - 10 + Math.random() * 20);
      }
    }),
  );
}
console.log(Object.entries(seen).map(([what, times]) => `${what}: ${times}`).join(", "));
process.exit(0);
