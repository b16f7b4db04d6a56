// How the map looks: names by mode and kind, links by state. States differ by dash, width and end, not by colour alone.

// A colour of the console's style sheet, as it is now: light or dark.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// isLarge: so many links that labels would only be in each other's way. isSought: what was not found steps back.
export function style(isLarge, isSought) {
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
    { selector: "node.unmeshed", style: { "background-color": colour("tint"), "font-weight": "bold" } },
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
