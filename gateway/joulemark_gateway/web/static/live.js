// Keeps the live parts of a page fresh: the same page is asked for again and its parts put in place.
"use strict";
(() => {
  const everyMs = 10000;
  if (!document.querySelector("[data-live]")) return;
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const found = fresh.getElementById(part.id);
        if (found && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(found));
      }
    } catch {
      // The collector is away; what is shown keeps its own time, and the next try comes soon.
    }
  };
  setInterval(refresh, everyMs);
})();
