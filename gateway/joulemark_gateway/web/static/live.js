// Keeps the live parts of a page fresh: the same page is asked for again and its parts put in place.
"use strict";
(() => {
  const everyMs = 10000;
  if (!document.querySelector("[data-live]")) return;
  const away = document.getElementById("away");
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (answer.redirected) return location.reload(); // the session is over: to the log-in
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const found = fresh.getElementById(part.id);
        if (found && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(found));
      }
      away.hidden = true;
    } catch {
      away.hidden = false; // what is shown is no longer now; the next try comes soon
    }
  };
  setInterval(refresh, everyMs);
})();
