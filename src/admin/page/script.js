
// Keeps the page fresh. Without it the page is the same, and "Read again" loads it anew.
(() => {
  const again = document.getElementById("again");
  const pause = document.getElementById("pause");
  const contact = document.getElementById("contact");
  if (!again || !pause || !contact) return;
  const EVERY = 10_000;
  let paused = false;
  let asking = false;

  // What a purge said is said once.
  const address = new URL(location.href);
  if (address.searchParams.has("purged")) {
    address.searchParams.delete("purged");
    history.replaceState(null, "", address);
  }

  async function refresh() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(EVERY) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        // What someone is at stays as it is under their hands.
        if (!other || part.contains(document.activeElement) || part.innerHTML === other.innerHTML) continue;
        const open = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
        part.replaceChildren(...other.childNodes);
        for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      }
      document.title = fresh.title;
      document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
      if (contact.textContent) contact.textContent = "";
    } catch {
      if (!contact.textContent) {
        contact.textContent = `The gateway does not answer since ${new Date().toISOString().slice(11, 19)} UTC. What is shown is from before.`;
      }
    }
    asking = false;
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) refresh();
  });
  again.addEventListener("click", (event) => {
    event.preventDefault();
    refresh();
  });
  setInterval(() => {
    if (!paused && !document.hidden) refresh();
  }, EVERY);
})();
