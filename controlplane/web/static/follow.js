// Follows work that goes on: what is marked with data-follow is asked for again and put in place of itself, until it is not marked
// any more. The page is not loaded anew: nobody loses a place, or what they are writing.
"use strict";

(() => {
  const EVERY_MS = 2000;

  async function look() {
    const followed = [...document.querySelectorAll("[data-follow]")];
    if (!followed.length) return;
    if (!document.hidden && !followed.some((part) => part.contains(document.activeElement))) {
      try {
        const answer = await fetch(location.href, { cache: "no-store" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of followed) {
          const now = page.getElementById(part.id);
          if (now) part.replaceWith(document.adoptNode(now));
        }
      } catch {
        // The control plane is away for a moment; what is shown stays, and is asked for again.
      }
    }
    setTimeout(look, EVERY_MS);
  }

  setTimeout(look, EVERY_MS);
})();
