// The page: each change of the query starts a new search.

import { fetchIndexInfo, pictureAddress, post, RequestError, upload } from "./api.js";
import { BoxDrawing, normalizeBox } from "./box.js";
import { drawHeat } from "./heat.js";
import { hitCard, showExplanation } from "./results.js";

const PAGE_SIZE = 20;
const STEP_FIELDS = ["aggregation", "rerank", "expand"]; // a thorough search sets these itself
const SEARCH_DELAY_MS = 250; // time after the last change before a search begins
const SHOWN_CLASSES = 8;
const find = (id) => document.getElementById(id);
const cornerFields = ["x1", "y1", "x2", "y2"].map(find);

const state = {
  source: null, // the query's upload or path
  file: null, // the uploaded file
  size: null, // width and height of the query's picture
  chosenClasses: new Set(), // names
  queryClasses: [], // names and probabilities, from the server
  hitCount: 0,
  search: null, // the AbortController of the running search
  timer: 0,
};
const drawing = new BoxDrawing(find("stage"), find("query-image"), find("box"), (box) => {
  showCorners(box);
  showStatus(box ? `Box from ${box[0]}, ${box[1]} to ${box[2]}, ${box[3]}.` : "The whole picture.");
  scheduleSearch();
});

const showStatus = (text) => { find("status").textContent = text; };

function showError(error) {
  find("problem").textContent = error?.message ?? "";
  find("problem").hidden = !error;
}

function queryRequest() {
  return { ...state.source, box: drawing.box, classes: [...state.chosenClasses] };
}

function searchRequest() {
  const query = queryRequest();
  if (find("thorough").checked) return { ...query, thorough: true };
  const choice = (id) => find(id).value;
  return { ...query, aggregation: choice("aggregation"), rerank: +choice("rerank"), expand: +choice("expand") };
}

// Posts a request. If the server no longer stores the upload, uploads the file again and repeats the request once.
async function postWithUpload(route, body, signal) {
  try {
    return await post(route, body, signal);
  } catch (error) {
    if (error.status !== 404 || !state.file) throw error;
    await upload(state.file);
    return post(route, body, signal);
  }
}

function scheduleSearch() {
  clearTimeout(state.timer);
  state.timer = setTimeout(() => search(0), SEARCH_DELAY_MS);
}

async function search(first) {
  state.search?.abort();
  const running = (state.search = new AbortController());
  showError(null);
  find("hits").classList.add("busy");
  find("results").setAttribute("aria-busy", "true");
  showStatus("Searching…");
  try {
    const request = searchRequest();
    const [queryInfo, response] = await Promise.all([
      first ? null : postWithUpload("query", queryRequest(), running.signal),
      postWithUpload("search", { ...request, count: PAGE_SIZE, first }, running.signal),
    ]);
    if (running.signal.aborted) return;
    if (queryInfo) showQuery(queryInfo);
    showHits(response, first, request);
  } catch (error) {
    if (running.signal.aborted) return;
    showStatus("");
    showError(error instanceof RequestError ? error : new Error(`The page failed: ${error.message}`));
  } finally {
    if (state.search === running) {
      find("hits").classList.remove("busy");
      find("results").removeAttribute("aria-busy");
    }
  }
}

function showQuery(queryInfo) {
  drawHeat(find("heat"), queryInfo.heat);
  state.queryClasses = queryInfo.classes;
  showClasses();
}

// Shows chosen classes before the server answers, so that an unknown class can be unchecked.
function showClasses() {
  const probableNames = state.queryClasses.slice(0, SHOWN_CLASSES).map((queryClass) => queryClass.name);
  const names = [...new Set([...state.chosenClasses, ...probableNames])];
  const probabilities = new Map(state.queryClasses.map((queryClass) => [queryClass.name, queryClass.probability]));
  find("chips").replaceChildren(...names.map((name) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: state.chosenClasses.has(name), value: name });
    box.addEventListener("change", () => {
      if (box.checked) state.chosenClasses.add(name);
      else state.chosenClasses.delete(name);
      scheduleSearch();
    });
    const label = document.createElement("label");
    const probability = document.createElement("small");
    probability.textContent = probabilities.has(name) ? `${(probabilities.get(name) * 100).toFixed(0)} %` : "";
    label.append(box, name, probability);
    return label;
  }));
}

function showHits(response, first, request) {
  const actions = {
    explain: (hit) => showExplanation(hit, request).catch(showError),
    search: (hit) => startQuery({ path: hit.path }, null, pictureAddress(hit.path, hit.content, 1280), [hit.width, hit.height], hit.path),
  };
  const cards = response.hits.map((hit, i) => hitCard(hit, first + i + 1, actions));
  if (first) find("hits").append(...cards);
  else find("hits").replaceChildren(...cards);
  state.hitCount = first + response.hits.length;
  find("more").hidden = state.hitCount >= response.pictures;
  const seconds = response.seconds.toFixed(2);
  showStatus(response.pictures ? `${state.hitCount} of ${response.pictures} pictures, ${seconds} s.` : "The index contains no pictures.");
  if (first) cards[0]?.querySelector("button").focus();
}

function showCorners(box) {
  const [width, height] = state.size;
  (box ?? [0, 0, width, height]).forEach((value, i) => { cornerFields[i].value = value; });
}

function startQuery(source, file, address, size, name) {
  Object.assign(state, { source, file, size });
  state.chosenClasses.clear();
  state.queryClasses = [];
  showClasses();
  find("query").hidden = false;
  find("query-image").src = address;
  find("query-image").alt = `The query: ${name}`;
  drawing.reset(...size);
  cornerFields.forEach((field, i) => { field.max = size[i % 2]; });
  showCorners(null);
  scrollTo({ top: 0 });
  return search(0);
}

async function queryWithFile(file) {
  showError(null);
  showStatus("Sending the picture…");
  try {
    const uploaded = await upload(file);
    if (state.address) URL.revokeObjectURL(state.address);
    state.address = URL.createObjectURL(file);
    await startQuery({ upload: uploaded.upload }, file, state.address, [uploaded.width, uploaded.height], file.name);
  } catch (error) {
    showStatus("");
    showError(error);
  }
}

find("file").addEventListener("change", (event) => {
  if (event.target.files.length) queryWithFile(event.target.files[0]);
  event.target.value = "";
});
for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); find("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  if (event.dataTransfer.files.length) queryWithFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) queryWithFile(event.clipboardData.files[0]);
});

find("whole").addEventListener("click", () => drawing.set(null));
find("show-heat").addEventListener("change", (event) => { find("heat").hidden = !event.target.checked; });
for (const field of cornerFields) {
  field.addEventListener("change", () => {
    drawing.set(normalizeBox(cornerFields.map((corner) => +corner.value), state.size));
  });
}
for (const id of STEP_FIELDS) find(id).addEventListener("change", scheduleSearch);
find("thorough").addEventListener("change", (event) => {
  for (const id of STEP_FIELDS) find(id).disabled = event.target.checked;
  scheduleSearch();
});
find("class").addEventListener("change", (event) => {
  const name = event.target.value.trim();
  if (!name) return;
  state.chosenClasses.add(name);
  event.target.value = "";
  showClasses();
  scheduleSearch();
});
find("more").addEventListener("click", () => search(state.hitCount));

fetchIndexInfo().then((index) => {
  find("about").textContent = `${index.pictures.toLocaleString("en")} pictures of “${index.name}”, described with ${index.network}.`;
  document.title = `${index.name} · instance search`;
  find("class-names").replaceChildren(...index.classes.map((value) => Object.assign(document.createElement("option"), { value })));
}).catch((error) => { find("about").textContent = ""; showError(error); });
