// The map of the console: draws what the control plane says of a view, and follows it without moving what the reader looks at.
// It asks only its own server, keeps places in this browser, and writes text as text: names come from the network.
import { colour, style } from "./mapstyle.js";

(() => {
  const FOLLOW_MS = 5000;
  const MANY_LINKS = 600; // beyond this, lines are straight and the picture is moved as a whole
  const box = document.getElementById("picture");
  if (!box) return;
  const about = document.getElementById("about");
  const followed = document.getElementById("followed");
  const memory = `picket-map:${box.dataset.address}`;

  function remembered() {
    try {
      return JSON.parse(localStorage.getItem(memory)) || { places: {} };
    } catch {
      return { places: {} }; // another page's, or storage that is switched off
    }
  }

  function remember(cy, moved) {
    try {
      const kept = remembered();
      for (const node of moved || []) kept.places[node.id()] = node.position();
      localStorage.setItem(memory, JSON.stringify({ places: kept.places, zoom: cy.zoom(), pan: cy.pan() }));
    } catch {
      // It is a convenience: a browser that keeps nothing draws the map all the same.
    }
  }

  const SIGNS = { denied: "✕ ", "would-deny": "? ", learned: "", approved: "", stale: "" };

  function nodeElement(node, places) {
    const what = node.kind === "namespace" ? ["namespace"] : [node.namespace, node.mode || node.kind];
    const below = [...what, node.unmeshed && `! ${node.unmeshed}`].filter(Boolean).join(" · ");
    return {
      group: "nodes",
      data: { ...node, shown: `${node.label}\n${below}` },
      classes: `${node.kind} ${node.mode} ${node.hit ? "hit" : "miss"} ${node.reach ? "reached" : ""} ${node.unmeshed ? "unmeshed" : ""}`,
      position: places[node.id] || { x: node.x, y: node.y },
    };
  }

  function linkElement(link) {
    return {
      group: "edges",
      data: { ...link, shown: `${link.proposed ? "+ " : ""}${SIGNS[link.state]}${link.label}` },
      classes: `${link.state} ${link.hit ? "hit" : "miss"} ${link.proposed ? "proposed" : ""}`,
    };
  }

  function put(tag, text, parent, address) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (address) made.href = address;
    parent.append(made);
    return made;
  }

  function within(change) {
    const address = new URL(location.href);
    address.hash = "";
    for (const [name, value] of Object.entries(change)) address.searchParams.set(name, value);
    return address.pathname + address.search;
  }

  function opened(namespace) {
    const links = [...document.querySelectorAll(".namespaces a[aria-label]")];
    return links.find((link) => link.getAttribute("aria-label") === `open ${namespace}`)?.getAttribute("href");
  }

  function further(data) {
    return data.kind === "namespace" ? opened(data.id.slice(0, -1)) : within({ focus: data.id });
  }

  // What is known of what the reader chose; its name stands in the address, so that it can be shared.
  function tell(element) {
    const data = element.data();
    about.replaceChildren();
    if (element.isNode()) {
      put("h2", data.id, about);
      const incoming = element.incomers("edge").length, outgoing = element.outgoers("edge").length;
      const what = [data.kind, data.mode && `in mode ${data.mode}`, data.members > 1 && `${data.members} names`].filter(Boolean).join(", ");
      put("p", `${what}; called by ${incoming}, calls ${outgoing}.`, about);
      if (data.unmeshed) put("p", `${data.unmeshed} ${data.unmeshed === 1 ? "pod has" : "pods have"} no sidecar and should: ${data.page ? "its page" : "the page of sidecars"} says why.`, about);
      if (data.reach) put("p", `The proposal ${data.reach}.`, about);
      if (data.page) put("a", "Its page", put("p", "", about), `/services/${data.id}`);
      const address = further(data);
      if (address) put("a", data.kind === "namespace" ? "Open the namespace" : "Look around it", put("p", "", about), address);
    } else {
      put("h2", `${data.source} → ${data.target}`, about);
      put("p", `${data.text}.`, about);
      if (data.proposed) put("p", "The proposal asks for it.", about);
      const query = new URLSearchParams({ q: `from:${data.source} to:${data.target}` });
      if (!data.source.endsWith("/") && !data.target.endsWith("/")) {
        put("a", "Blocked connections between them", put("p", "", about), `/blocked?${query}`);
      }
      if (data.state === "learned" || data.state === "would-deny") put("a", "Review what was learned", put("p", "", about), "/review");
    }
    history.replaceState(null, "", `#${encodeURIComponent(data.id)}`);
  }

  // Newcomers stand beside somebody they talk to; nobody who is there is moved.
  function update(cy, picture) {
    const known = new Set([...picture.nodes, ...picture.links].map((one) => one.id));
    cy.batch(() => {
      cy.elements().filter((element) => !known.has(element.id())).remove();
      for (const node of picture.nodes) {
        const there = cy.getElementById(node.id);
        const made = nodeElement(node, {});
        if (there.nonempty()) {
          there.data(made.data).classes(made.classes);
        } else {
          const link = picture.links.find((one) => one.source === node.id || one.target === node.id);
          const beside = link && cy.getElementById(link.source === node.id ? link.target : link.source);
          if (beside && beside.nonempty()) made.position = { x: beside.position("x") + 40, y: beside.position("y") + 70 };
          cy.add(made);
        }
      }
      for (const link of picture.links) {
        const there = cy.getElementById(link.id);
        const made = linkElement(link);
        if (there.nonempty()) there.data(made.data).classes(made.classes);
        else cy.add(made);
      }
    });
  }

  async function ask(etag) {
    const answer = await fetch(box.dataset.address, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
    if (answer.status === 304) return { etag };
    if (!answer.ok || !answer.headers.get("Content-Type").startsWith("application/json")) {
      throw new Error(answer.redirected ? "you are signed out" : `the control plane says ${answer.status}`);
    }
    return { etag: answer.headers.get("ETag"), picture: await answer.json() };
  }

  function say(text) {
    followed.textContent = text;
  }

  function start(picture, etag) {
    const kept = remembered();
    const isLarge = picture.links.length > MANY_LINKS;
    const isSought = Boolean(box.dataset.sought);
    const cy = cytoscape({
      container: box,
      elements: [...picture.nodes.map((node) => nodeElement(node, kept.places)), ...picture.links.map(linkElement)],
      style: style(isLarge, isSought),
      layout: kept.zoom ? { name: "preset", zoom: kept.zoom, pan: kept.pan, fit: false } : { name: "preset", fit: true, padding: 30 },
      minZoom: 0.03, maxZoom: 3, textureOnViewport: isLarge, hideEdgesOnViewport: false, pixelRatio: isLarge ? 1 : "auto",
    });
    if (!kept.zoom && cy.zoom() > 1.2) cy.zoom({ level: 1.2, renderedPosition: { x: box.clientWidth / 2, y: box.clientHeight / 2 } });
    box.cy = cy;
    cy.one("render", () => { box.dataset.drawn = "yes"; });
    cy.on("dragfree", "node", (event) => remember(cy, event.target.union(cy.$("node:selected"))));
    cy.on("viewport", debounced(() => remember(cy)));
    cy.on("select", "node, edge", (event) => tell(event.target));
    cy.on("dbltap", "node", (event) => {
      const address = further(event.target.data());
      if (address) location.assign(address);
    });
    const chosen = cy.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (chosen.nonempty()) chosen.select();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cy.style(style(isLarge, isSought)));
    tools(cy);
    say(`Revision ${picture.revision}; follows what happens.`);
    follow(cy, etag);
  }

  function debounced(act) {
    let waiting = 0;
    return () => {
      clearTimeout(waiting);
      waiting = setTimeout(act, 300);
    };
  }

  function changed(cy, picture) {
    update(cy, picture);
    say(`Revision ${picture.revision}; changed at ${new Date().toLocaleTimeString()}.`);
  }

  // The control plane tells of changes while the page is looked at; where it has no room for another, it is asked.
  function follow(cy, first) {
    let etag = first;
    let source = null;
    let last = Number(first.replace(/\D/g, ""));
    function open() {
      if (source || document.hidden) return;
      source = new EventSource(`${box.dataset.live}${box.dataset.live.includes("?") ? "&" : "?"}after=${last}`);
      source.onmessage = (event) => {
        last = Number(event.lastEventId);
        changed(cy, JSON.parse(event.data));
      };
      source.onerror = () => {
        if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
        document.removeEventListener("visibilitychange", look);
        poll();
      };
    }
    function look() {
      if (!document.hidden) return open();
      if (source) source.close();
      source = null;
    }
    function poll() {
      setInterval(async () => {
        if (document.hidden) return;
        try {
          const found = await ask(etag);
          etag = found.etag;
          if (found.picture) changed(cy, found.picture);
        } catch (error) {
          say(`Not followed any more: ${error.message}. Load the page again.`);
        }
      }, FOLLOW_MS);
    }
    document.addEventListener("visibilitychange", look);
    open();
  }

  function tools(cy) {
    const middle = () => ({ x: box.clientWidth / 2, y: box.clientHeight / 2 });
    const acts = {
      in: () => cy.zoom({ level: cy.zoom() * 1.3, renderedPosition: middle() }),
      out: () => cy.zoom({ level: cy.zoom() / 1.3, renderedPosition: middle() }),
      fit: () => cy.fit(undefined, 30),
      reset: () => {
        localStorage.removeItem(memory);
        location.reload();
      },
      png: async () => {
        const picture = await cy.png({ output: "blob-promise", full: true, scale: 2, maxWidth: 8000, maxHeight: 8000, bg: colour("panel") });
        const link = document.createElement("a");
        link.href = URL.createObjectURL(picture);
        link.download = "picket-map.png";
        link.click();
        URL.revokeObjectURL(link.href);
      },
    };
    const bar = document.getElementById("tools");
    bar.hidden = false;
    bar.addEventListener("click", (event) => acts[event.target.dataset.do]?.());
  }

  ask("").then(({ picture, etag }) => start(picture, etag)).catch((error) => say(`Not drawn: ${error.message}.`));
})();
