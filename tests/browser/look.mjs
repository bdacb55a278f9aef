// Looks at the pages in a real browser: node look.mjs CHROMIUM [pictures=FOLDER] NAME=URL[ COOKIE]… [enter=LINK]
//
// For each page: a picture in light and dark, wide and narrow, axe-core's findings, complaints of the console
// (a violated policy is one), requests that leave the origin, sideways scrolling. On the page `data`
// also: the keyboard, the refresh, and the purge with and without JavaScript. Exits 1 with what is wrong.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [executablePath, ...rest] = process.argv.slice(2);
const given = rest.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]);
const pictures = given.find(([name]) => name === "pictures")?.[1];
const link = given.find(([name]) => name === "enter")?.[1];
const pages = given.filter(([name]) => !["pictures", "enter"].includes(name));
if (pictures) mkdirSync(pictures, { recursive: true });

const wrong = [];
const looks = [
  { look: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { look: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { look: "narrow", colorScheme: "light", viewport: { width: 390, height: 844 } },
  { look: "narrow dark", colorScheme: "dark", viewport: { width: 390, height: 844 } },
];

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

/// A page that notes what it should not do.
async function open(name, target, options) {
  const [url, cookie] = target.split(" ");
  const context = await browser.newContext(options);
  if (cookie) {
    const [name, value] = cookie.split("=");
    await context.addCookies([{ name, value, url, httpOnly: true, sameSite: "Strict" }]);
  }
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`${name}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`${name}: script: ${error.message}`));
  page.on("request", (request) => {
    const target = new URL(request.url());
    if (target.protocol !== "data:" && target.origin !== new URL(url).origin) {
      wrong.push(`${name}: a request leaves the origin: ${request.url()}`);
    }
  });
  const answer = await page.goto(url);
  if (!url.startsWith("file:") && answer.status() !== 200) wrong.push(`${name}: status ${answer.status()}`);
  return page;
}

if (link) {
  // First, because it works for a minute. It leads to the page, once; its session is out of the scripts' reach, and the button works.
  const page = await open("enter", link, looks[0]);
  if (new URL(page.url()).pathname !== "/") wrong.push(`enter: it leads to ${page.url()}`);
  if ((await page.evaluate(() => document.cookie)) !== "") wrong.push("enter: a script can read the session");
  const [cookie] = await page.context().cookies();
  if (!cookie?.httpOnly || cookie.sameSite !== "Strict") wrong.push(`enter: the cookie is ${JSON.stringify(cookie)}`);
  await page.locator("#cache button").click();
  await page.waitForLoadState();
  const said = await page.locator("#cache .done").textContent().catch(() => "nothing");
  console.log(`enter: ${said}`);
  if (!/ dropped from memory\.$/.test(said)) wrong.push(`enter: it says "${said}"`);
  await page.context().close();
  const again = await (await browser.newContext()).newPage();
  const refused = await again.goto(link);
  if (refused.status() !== 403) wrong.push(`enter: the link works again: ${refused.status()}`);
}

for (const [name, url] of pages) {
  for (const { look, ...options } of looks) {
    const page = await open(`${name}, ${look}`, url, options);
    if (pictures) await page.screenshot({ path: `${pictures}/${name}-${look}.png`, fullPage: true });
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (sideways > 0) wrong.push(`${name}, ${look}: scrolls sideways by ${sideways} px`);
    // The report is for paper and for phones: nothing of it is behind an edge, or too small to read.
    if (name === "report") {
      const behind = await page.evaluate(() =>
        [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible").map((one) => one.outerHTML.slice(0, 80)),
      );
      if (behind.length > 0) wrong.push(`${name}, ${look}: cut: ${behind.join("\n  ")}`);
      const small = await page.evaluate(() => document.querySelectorAll("svg text").length);
      if (small > 0) wrong.push(`${name}, ${look}: ${small} texts shrink with a drawing`);
    }
    // Everything that can be unfolded is looked at as well.
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    if (pictures && !look.includes("dark")) await page.screenshot({ path: `${pictures}/${name}-${look}-open.png`, fullPage: true });
    await page.evaluate(axe);
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    console.log(`${name}, ${look}: axe-core: ${passes.length} rules passed, ${violations.length} violated`);
    for (const { id, impact, help, nodes } of violations) {
      wrong.push(`${name}, ${look}: ${id} (${impact}): ${help}\n  ${nodes.slice(0, 3).map((node) => node.html).join("\n  ")}`);
    }
    await page.context().close();
  }
}

const data = pages.find(([name]) => name === "data")?.[1];
if (data) {
  // The keyboard reaches everything, the way past the top first.
  const page = await open("keyboard", data, looks[0]);
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.textContent);
  if (first !== "Skip to the calls") wrong.push(`keyboard: the first stop is "${first}"`);
  const unreachable = await page.evaluate(() =>
    [...document.querySelectorAll("a[href], button, select, summary")].filter((one) => one.tabIndex < 0 && !one.hidden).length,
  );
  if (unreachable > 0) wrong.push(`keyboard: ${unreachable} controls cannot be reached`);

  // A refresh brings what is new and leaves open what is open.
  await page.locator(".trouble summary").first().click();
  const before = await page.locator("#about time").getAttribute("datetime");
  await page.waitForFunction((then) => new Date(then).getTime() + 1000 < Date.now(), before);
  await page.locator("#again").click();
  await page.waitForFunction((then) => document.querySelector("#about time").dateTime !== then, before, { timeout: 10_000 }).catch(() => wrong.push("refresh: nothing new came"));
  if ((await page.locator(".trouble[open]").count()) !== 1) wrong.push("refresh: what was open is closed");
  await page.locator("#pause").click();
  if ((await page.locator("#pause").getAttribute("aria-pressed")) !== "true") wrong.push("pause: it is not pressed");
  await page.context().close();

  // The button, with and without JavaScript.
  for (const javaScriptEnabled of [true, false]) {
    const name = javaScriptEnabled ? "purge" : "purge without JavaScript";
    const page = await open(name, data, { ...looks[0], javaScriptEnabled });
    await page.locator("#cache button").click();
    await page.waitForLoadState();
    const said = await page.locator("#cache .done").textContent().catch(() => "nothing");
    console.log(`${name}: ${said}`);
    if (!/ dropped from memory\.$/.test(said)) wrong.push(`${name}: it says "${said}"`);
    if (!javaScriptEnabled && (await page.locator("#pause").isVisible())) wrong.push("without JavaScript: a button that does nothing");
    await page.context().close();
  }

  // The trail is checked, and the page says so.
  const verify = await open("verify", data, looks[0]);
  await verify.locator("#trail button").click();
  await verify.waitForLoadState();
  for (let asked = 0; asked < 100 && !(await verify.locator("#trail").textContent()).includes("ok: "); asked++) {
    await verify.reload();
  }
  if (!(await verify.locator("#trail").textContent()).includes("ok: ")) wrong.push("verify: it does not end");
  await verify.context().close();
}

await browser.close();
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
