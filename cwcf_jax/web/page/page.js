// The page: a query that changes, and results that follow it.

import { about, pictureAddress, post, Refused, upload } from "./api.js";
import { BoxDrawing, tidy } from "./box.js";
import { drawHeat } from "./heat.js";
import { card, explain } from "./results.js";

const PAGE = 20;
const STEPS = ["aggregation", "rerank", "expand"]; // what a thorough search chooses itself
const PATIENCE = 250; // ms without a change before a search begins
const find = (id) => document.getElementById(id);
const corners = ["x1", "y1", "x2", "y2"].map(find);

const state = { source: null, file: null, size: null, classes: new Set(), seen: [], shown: 0, running: null, timer: 0 };
const drawing = new BoxDrawing(find("stage"), find("asked"), find("box"), (box) => {
  showCorners(box);
  say(box ? `Box from ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}.` : "The whole picture.");
  changed();
});

const say = (text) => { find("status").textContent = text; };

function complain(error) {
  find("problem").textContent = error?.message ?? "";
  find("problem").hidden = !error;
}

function query() {
  return { ...state.source, box: drawing.box, classes: [...state.classes] };
}

function search() {
  if (find("thorough").checked) return { ...query(), thorough: true };
  const choice = (id) => find(id).value;
  return { ...query(), aggregation: choice("aggregation"), rerank: +choice("rerank"), expand: +choice("expand") };
}

// An upload that the server no longer keeps is sent again, once.
async function asking(what, body, signal) {
  try {
    return await post(what, body, signal);
  } catch (error) {
    if (error.status !== 404 || !state.file) throw error;
    await upload(state.file);
    return post(what, body, signal);
  }
}

function changed() {
  clearTimeout(state.timer);
  state.timer = setTimeout(() => run(0), PATIENCE);
}

async function run(first) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  complain(null);
  find("hits").classList.add("busy");
  find("results").setAttribute("aria-busy", "true");
  say("Searching…");
  try {
    const asked = search();
    const [seen, found] = await Promise.all([
      first ? null : asking("query", query(), running.signal),
      asking("search", { ...asked, count: PAGE, first }, running.signal),
    ]);
    if (running.signal.aborted) return;
    if (seen) showQuery(seen);
    showHits(found, first, asked);
  } catch (error) {
    if (running.signal.aborted) return;
    say("");
    complain(error instanceof Refused ? error : new Error(`Something went wrong: ${error.message}`));
  } finally {
    if (state.running === running) {
      find("hits").classList.remove("busy");
      find("results").removeAttribute("aria-busy");
    }
  }
}

function showQuery(seen) {
  drawHeat(find("heat"), seen.heat);
  state.seen = seen.classes;
  showClasses();
}

// What was asked for is shown before it is answered: a name that is refused can be unchecked.
function showClasses() {
  const names = [...new Set([...state.classes, ...state.seen.slice(0, 8).map((one) => one.name)])];
  const chances = new Map(state.seen.map((one) => [one.name, one.probability]));
  find("chips").replaceChildren(...names.map((name) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.classes.has(name), value: name });
    box.addEventListener("change", () => {
      if (box.checked) state.classes.add(name);
      else state.classes.delete(name);
      changed();
    });
    const label = document.createElement("label");
    const chance = document.createElement("small");
    chance.textContent = chances.has(name) ? `${(chances.get(name) * 100).toFixed(0)} %` : "";
    label.append(box, name, chance);
    return label;
  }));
}

function showHits(found, first, asked) {
  const actions = {
    explain: (hit) => explain(hit, asked).catch(complain),
    ask: (hit) => begin({ path: hit.path }, null, pictureAddress(hit.path, hit.content, 1280), [hit.width, hit.height], hit.path),
  };
  const cards = found.hits.map((hit, i) => card(hit, first + i + 1, actions));
  if (first) find("hits").append(...cards);
  else find("hits").replaceChildren(...cards);
  state.shown = first + found.hits.length;
  find("more").hidden = state.shown >= found.pictures;
  say(found.pictures ? `${state.shown} of ${found.pictures} pictures, ${found.seconds.toFixed(2)} s.` : "The index holds no pictures.");
  if (first) cards[0]?.querySelector("button").focus();
}

function showCorners(box) {
  const [width, height] = state.size;
  (box ?? [0, 0, width, height]).forEach((value, i) => { corners[i].value = value; });
}

function begin(source, file, address, size, name) {
  Object.assign(state, { source, file, size });
  state.classes.clear();
  state.seen = [];
  showClasses();
  find("query").hidden = false;
  find("asked").src = address;
  find("asked").alt = `The query: ${name}`;
  drawing.reset(...size);
  corners.forEach((field, i) => { field.max = size[i % 2]; });
  showCorners(null);
  scrollTo({ top: 0 });
  return run(0);
}

async function take(file) {
  complain(null);
  say("Sending the picture…");
  try {
    const found = await upload(file);
    if (state.address) URL.revokeObjectURL(state.address);
    state.address = URL.createObjectURL(file);
    await begin({ upload: found.upload }, file, state.address, [found.width, found.height], file.name);
  } catch (error) {
    say("");
    complain(error);
  }
}

find("file").addEventListener("change", (event) => {
  if (event.target.files.length) take(event.target.files[0]);
  event.target.value = "";
});
for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); find("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files[0]); });

find("whole").addEventListener("click", () => drawing.set(null));
find("show-heat").addEventListener("change", (event) => { find("heat").hidden = !event.target.checked; });
for (const field of corners) {
  field.addEventListener("change", () => drawing.set(tidy(corners.map((one) => +one.value), state.size)));
}
for (const id of STEPS) find(id).addEventListener("change", changed);
find("thorough").addEventListener("change", (event) => {
  for (const id of STEPS) find(id).disabled = event.target.checked;
  changed();
});
find("class").addEventListener("change", (event) => {
  const name = event.target.value.trim();
  if (!name) return;
  state.classes.add(name);
  event.target.value = "";
  showClasses();
  changed();
});
find("more").addEventListener("click", () => run(state.shown));

about().then((index) => {
  find("about").textContent = `${index.pictures.toLocaleString("en")} pictures of “${index.name}”, described by ${index.network}.`;
  document.title = `${index.name} · instance search`;
  find("class-names").replaceChildren(...index.classes.map((value) => Object.assign(document.createElement("option"), { value })));
}).catch((error) => { find("about").textContent = ""; complain(error); });
