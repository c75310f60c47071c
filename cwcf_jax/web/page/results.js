// Hits as cards, and the dialog that says why.

import { pictureAddress, post } from "./api.js";
import { place } from "./box.js";
import { drawHeat } from "./heat.js";

const find = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children); // text stays text, whatever a file is called
  return made;
}

export function card(hit, rank, actions) {
  const picture = element("img", {
    src: pictureAddress(hit.path, hit.content, 320),
    alt: `Rank ${rank}: ${hit.path}`,
    loading: "lazy",
    width: Math.max(1, Math.round((320 * hit.width) / Math.max(hit.width, hit.height))),
    height: Math.max(1, Math.round((320 * hit.height) / Math.max(hit.width, hit.height))),
  });
  picture.style.width = picture.style.height = "auto";
  const region = element("div", { className: "region" });
  place(region, hit.box, [hit.width, hit.height]);
  const why = element("button", { type: "button", textContent: "Why?", onclick: () => actions.explain(hit) });
  why.setAttribute("aria-label", `Why rank ${rank}?`);
  const next = element("button", { type: "button", textContent: "Search with this", onclick: () => actions.ask(hit) });
  next.setAttribute("aria-label", `Search with rank ${rank}`);
  return element("li", {}, element("figure", {},
    element("div", { className: "frame" }, element("div", { className: "shown" }, picture, region)),
    element("figcaption", {},
      element("span", { className: "score", textContent: `${rank}. score ${hit.score.toFixed(3)}` }),
      element("span", { className: "path", textContent: hit.path }),
      element("span", { className: "row" }, why, next))));
}

export async function explain(hit, search) {
  const found = await post("explain", { ...search, hit: hit.path, cells: hit.cells });
  const picture = find("why-picture");
  picture.src = pictureAddress(hit.path, hit.content, 1280);
  picture.alt = `${hit.path}, with what adds to its score in warm colours`;
  drawHeat(find("why-heat"), found.cells);
  place(find("why-box"), hit.box, [hit.width, hit.height]);
  find("why-title").textContent = `Why ${hit.path}`;
  const about = hit.box ? "The region in the frame scores" : "The picture scores";
  const before = search.thorough ? " before shared neighbours counted" : search.expand ? " before the query was widened" : "";
  find("why-score").textContent = `${about} ${found.score.toFixed(3)}${before}. Warm cells add to it, blue ones take away.`;
  find("why-pairs").replaceChildren(
    ...found.pairs.map((pair) => row(pair.query, pair.picture, pair.share, found.score)),
    row("all other pairs", "", found.rest, found.score),
  );
  find("why").showModal();
}

function row(query, picture, share, score) {
  const part = score > 0 ? `${((share / score) * 100).toFixed(1)} %` : share.toFixed(4);
  return element("tr", {}, ...[query, picture, part].map((textContent) => element("td", { textContent })));
}
