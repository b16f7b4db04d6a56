// Follows the violation log: new rows come on top of the table, as text. Without it the page is loaded again by hand.
"use strict";

(() => {
  const MAX_ROWS = 500;
  const button = document.getElementById("follow");
  const told = document.getElementById("followed");
  const body = document.querySelector("#log tbody");
  if (!button || !told || !window.EventSource) return;
  const known = new Set();
  let source = null;
  let count = 0;

  function cell(row, text, style) {
    const made = row.insertCell();
    if (style) made.className = style;
    made.append(text);
    return made;
  }

  // May break after its slashes, as in the rows that came with the page.
  function name(row, text) {
    const made = row.insertCell();
    text.split("/").forEach((part, at) => made.append(...(at ? ["/", document.createElement("wbr")] : []), part));
  }

  function show(item) {
    if (known.has(item.id)) return;
    known.add(item.id);
    count += 1;
    body.parentElement.classList.remove("empty");
    const row = body.insertRow(0);
    row.className = "new";
    const link = document.createElement("a");
    link.href = `/blocked/${item.id}`;
    link.textContent = `${new Date(item.last_seen_ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    cell(row, link, "time");
    cell(row, item.verdict, item.verdict === "denied" ? "bad" : "warn");
    name(row, item.source);
    name(row, `${item.destination}:${item.port}`);
    cell(row, `${item.protocol} ${item.method} ${item.path}`, "request");
    name(row, item.deny_id);
    cell(row, String(item.count), "number");
    while (body.rows.length > MAX_ROWS) body.deleteRow(-1);
  }

  function stop(why) {
    if (source) source.close();
    source = null;
    button.textContent = "Follow live";
    button.setAttribute("aria-pressed", "false");
    told.textContent = why;
  }

  function start() {
    source = new EventSource(button.dataset.address);
    button.textContent = "Stop following";
    button.setAttribute("aria-pressed", "true");
    told.textContent = "Following…";
    source.onopen = () => (told.textContent = `Following: ${count} new`);
    source.onmessage = (event) => {
      show(JSON.parse(event.data));
      told.textContent = `Following: ${count} new`;
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) stop("It cannot be followed now: load the page again for what is new.");
      else told.textContent = "Waiting for the control plane…";
    };
  }

  for (const link of body.querySelectorAll("a[data-id]")) known.add(Number(link.dataset.id));
  button.hidden = false;
  button.addEventListener("click", () => (source ? stop("") : start()));
})();
