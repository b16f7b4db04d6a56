// The map of the console: draws what the control plane says of a view, and follows it without moving what the reader looks at.
// It asks only its own server, keeps places in this browser, and writes text as text: names come from the network.
"use strict";

(() => {
  const FOLLOW_MS = 5000;
  const MANY_LINKS = 600; // beyond this, lines are straight and the picture is moved as a whole
  const box = document.getElementById("picture");
  if (!box) return;
  const about = document.getElementById("about");
  const followed = document.getElementById("followed");
  const memory = `picket-map:${box.dataset.address}`;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

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
    const below = node.kind === "namespace" ? "namespace" : [node.namespace, node.mode || node.kind].filter(Boolean).join(" · ");
    return {
      group: "nodes",
      data: { ...node, shown: `${node.label}\n${below}` },
      classes: `${node.kind} ${node.mode} ${node.hit ? "hit" : "miss"} ${node.reach ? "reached" : ""}`,
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

  function style(isLarge, isSought) {
    const line = (state, name, width, more) => ({
      selector: `edge.${state}`,
      style: { width, "line-color": colour(name), "target-arrow-color": colour(name), color: colour(name), ...more },
    });
    return [
      { selector: "node", style: {
        shape: "round-rectangle", width: 190, height: 42, label: "data(shown)", "text-wrap": "wrap", "text-max-width": 180,
        "text-valign": "center", "text-halign": "center", "font-size": 12, "font-family": "system-ui, sans-serif", "line-height": 1.3,
        color: colour("fg"), "background-color": colour("raised"), "border-width": 1, "border-color": colour("edge"),
        "min-zoomed-font-size": 6,
      } },
      { selector: "node.enforce", style: { "border-width": 3, "border-color": colour("good") } },
      { selector: "node.audit", style: { "border-width": 2, "border-style": "dashed", "border-color": colour("warn") } },
      { selector: "node.quarantine", style: { "border-width": 6, "border-style": "double", "border-color": colour("bad") } },
      { selector: "node.external", style: { shape: "cut-rectangle", "border-style": "dashed" } },
      { selector: "node.address", style: { shape: "ellipse", "border-style": "dashed" } },
      { selector: "node.datastore", style: { shape: "barrel" } },
      { selector: "node.gateway", style: { shape: "hexagon" } },
      { selector: "node.namespace", style: { "border-width": 4, "border-style": "double", "font-weight": "bold" } },
      { selector: "edge", style: {
        "curve-style": isLarge ? "straight" : "bezier", "target-arrow-shape": "triangle", "arrow-scale": 1.1,
        label: isLarge ? "" : "data(shown)", "line-opacity": isLarge ? 0.5 : 1,
        "font-size": 10, "font-family": "system-ui, sans-serif", "text-rotation": "autorotate", "min-zoomed-font-size": 9,
        "text-background-color": colour("panel"), "text-background-opacity": 1, "text-background-padding": 1,
        "loop-direction": "0deg",
      } },
      line("approved", "good", 2.5, { "z-index": 2 }),
      line("learned", "link", 2, { "line-style": "dashed", "line-dash-pattern": [8, 4], "target-arrow-shape": "vee" }),
      line("would-deny", "warn", 3, { "line-style": "dashed", "line-dash-pattern": [2, 4], "target-arrow-shape": "circle" }),
      line("denied", "bad", 2.5, { "target-arrow-shape": "tee" }),
      line("stale", "edge", 1, { "line-style": "dashed", "line-dash-pattern": [3, 6], "target-arrow-fill": "hollow" }),
      ...(isSought ? [
        { selector: ".miss", style: { opacity: 0.3 } },
        { selector: "node.hit", style: { "outline-width": 3, "outline-color": colour("link"), "outline-offset": 3 } },
      ] : []),
      { selector: "edge.proposed", style: {
        "underlay-color": colour("link"), "underlay-opacity": 0.25, "underlay-padding": 6, label: "data(shown)",
      } },
      { selector: "node.reached", style: { "underlay-color": colour("warn"), "underlay-opacity": 0.3, "underlay-padding": 8 } },
      { selector: "node:selected", style: { "background-color": colour("tint"), "border-width": 3, "border-color": colour("link") } },
      { selector: "edge:selected", style: { width: 5, "z-index": 9, label: "data(shown)" } },
    ];
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

  function follow(cy, first) {
    let etag = first;
    setInterval(async () => {
      if (document.hidden) return;
      try {
        const found = await ask(etag);
        etag = found.etag;
        if (found.picture) {
          update(cy, found.picture);
          say(`Revision ${found.picture.revision}; changed at ${new Date().toLocaleTimeString()}.`);
        }
      } catch (error) {
        say(`Not followed any more: ${error.message}. Load the page again.`);
      }
    }, FOLLOW_MS);
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
