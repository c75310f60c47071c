// Hits as cards, and the dialog that explains a hit.

import { pictureAddress, post } from "./api.js";
import { positionOverlay } from "./box.js";
import { drawHeat } from "./heat.js";

const find = (id) => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const created = Object.assign(document.createElement(name), properties);
  created.append(...children); // strings become text nodes, so that a file name cannot contain markup
  return created;
}

export function hitCard(hit, rank, actions) {
  const picture = element("img", {
    src: pictureAddress(hit.path, hit.content, 320),
    alt: `Rank ${rank}: ${hit.path}`,
    loading: "lazy",
    width: Math.max(1, Math.round((320 * hit.width) / Math.max(hit.width, hit.height))),
    height: Math.max(1, Math.round((320 * hit.height) / Math.max(hit.width, hit.height))),
  });
  picture.style.width = picture.style.height = "auto";
  const region = element("div", { className: "region" });
  positionOverlay(region, hit.box, [hit.width, hit.height]);
  const why = element("button", { type: "button", textContent: "Why?", onclick: () => actions.explain(hit) });
  why.setAttribute("aria-label", `Why rank ${rank}?`);
  const search = element("button", { type: "button", textContent: "Search with this", onclick: () => actions.search(hit) });
  search.setAttribute("aria-label", `Search with rank ${rank}`);
  return element("li", {}, element("figure", {},
    element("div", { className: "frame" }, element("div", { className: "shown" }, picture, region)),
    element("figcaption", {},
      element("span", { className: "score", textContent: `${rank}. score ${hit.score.toFixed(3)}` }),
      element("span", { className: "path", textContent: hit.path }),
      element("span", { className: "row" }, why, search))));
}

export async function showExplanation(hit, searchRequest) {
  const explanation = await post("explain", { ...searchRequest, hit: hit.path, cells: hit.cells });
  const picture = find("why-picture");
  picture.src = pictureAddress(hit.path, hit.content, 1280);
  picture.alt = `${hit.path}, with the cells that add to its score in warm colours`;
  drawHeat(find("why-heat"), explanation.cells);
  positionOverlay(find("why-box"), hit.box, [hit.width, hit.height]);
  find("why-title").textContent = `Why ${hit.path}`;
  const subject = hit.box ? "The region in the frame scores" : "The picture scores";
  const { thorough, expand } = searchRequest;
  const step = thorough ? " before k-reciprocal re-ranking" : expand ? " before query expansion" : "";
  find("why-score").textContent =
    `${subject} ${explanation.score.toFixed(3)}${step}. Warm cells add to the score, blue cells reduce it.`;
  find("why-pairs").replaceChildren(
    ...explanation.pairs.map((pair) => pairRow(pair.query, pair.picture, pair.share, explanation.score)),
    pairRow("all other pairs", "", explanation.rest, explanation.score),
  );
  find("why").showModal();
}

function pairRow(query, picture, share, score) {
  const shareText = score > 0 ? `${((share / score) * 100).toFixed(1)} %` : share.toFixed(4);
  return element("tr", {}, ...[query, picture, shareText].map((textContent) => element("td", { textContent })));
}
