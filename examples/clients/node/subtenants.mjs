// Lists subtenants through the gateway. Node.js 18 or newer, nothing to install.

const base = process.env.PIGELLO_URL ?? "http://127.0.0.1:8080";

const answer = await fetch(
  `${base}/accounts/users/customer/subtenant/list/?_page=1&_page_size=10`,
  // Longer than the gateway's own limit, so that it is the one that tells why.
  { signal: AbortSignal.timeout(35_000), redirect: "manual" },
);
const body = await answer.json();
if (answer.headers.get("content-type")?.startsWith("application/problem+json")) {
  console.error(`${body.title}: ${body.detail} (request ${body.request_id})`);
  process.exit(1);
}
if (!answer.ok) throw new Error(`Pigello answers ${answer.status}`);
console.log(`${body.length} subtenants (request ${answer.headers.get("x-request-id")})`);
