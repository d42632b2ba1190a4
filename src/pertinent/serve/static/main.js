// The page: what is asked of the address is shown, part by part.

import { get, onToken } from "./api.js";
import { pairOf, showComparison } from "./compare.js";
import { askToken, closable, showHelp, showInfo } from "./dialogs.js";
import { icon, make, part } from "./dom.js";
import { focusFilters, prepareFilters, showFilters } from "./filters.js";
import { showMap } from "./map.js";
import { refine } from "./marks.js";
import { busy } from "./notices.js";
import { showQuery } from "./query.js";
import { lastExplained, lastHits, leave, showResults, showTrouble } from "./results.js";
import { prepareSeverity } from "./severity.js";
import { setLimits } from "./search.js";
import { address, asks, current, go, listen, searchUpload } from "./state.js";
import { keep, receive } from "./uploads.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };

let info = null;
let levels = [];
let showing = new AbortController();

async function start() {
  busy(true);
  try {
    const [facts, labels] = await Promise.all([get("/v1/info"), get("/v1/labels")]);
    info = facts;
    setLimits(facts.limits);
    levels = labels.levels.map(({ level }) => level);
    prepareSeverity(labels);
    prepareFilters(labels);
  } catch (error) {
    showTrouble(error, start);
    return;
  } finally {
    busy(false);
  }
  listen(show);
}

const names = () => info.models.map(({ name }) => name);

async function show(state) {
  leave();
  showing.abort();
  showing = new AbortController();
  const { signal } = showing;
  busy(false);
  const view = state.view === "compare" && names().length < 2 ? "search" : state.view;
  document.body.dataset.view = view;
  showNavigation(state, view);
  showQuery(state);
  showFilters();
  part("refine").hidden = true;
  try {
    if (view === "map") await showMap(state, { model: state.model, levels, hits: lastHits() }, signal);
    else if (view === "compare" && asks(state)) await showComparison(state, names(), signal);
    else await showResults(state, state.model ?? names()[0], signal);
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) showTrouble(error, () => show(state));
  }
}

function showNavigation(state, view) {
  const views = { search: "Search", ...(names().length > 1 && { compare: "Compare" }), map: "Map" };
  const links = Object.entries(views).map(([name, words]) => {
    const link = make("a", { href: address({ ...state, view: name }) }, words);
    if (name === view) link.setAttribute("aria-current", "page");
    return link;
  });
  part("views").replaceChildren(...links);
  part("model").hidden = names().length < 2 || view === "compare";
  const options = names().map((name) => make("option", { value: name, selected: name === pairOf(state, names())[0] }, name));
  part("model-choice").replaceChildren(...options);
}

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  const words = `Colours: ${THEMES[theme]}`;
  const button = part("theme");
  button.replaceChildren(icon(theme));
  button.title = words;
  button.setAttribute("aria-label", words);
}

function nextTheme() {
  const all = Object.keys(THEMES);
  const next = all[(all.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % all.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("pertinent-theme", next);
  showTheme();
  dispatchEvent(new Event("themechange"));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || part("dialog").open) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const deeds = { "/": focusFilters, "?": showHelp, s: refine, u: () => part("file").click() };
  const deed = deeds[event.key.toLowerCase()];
  if (!deed) return;
  event.preventDefault();
  deed();
}

part("info").append(icon("info"));
part("info").addEventListener("click", () => info && showInfo(info, lastExplained()));
part("help").append(icon("help"));
part("help").addEventListener("click", showHelp);
part("theme").addEventListener("click", nextTheme);
part("skip").addEventListener("click", () => (part("main").querySelector('.tile[tabindex="0"]') ?? part("main")).focus());
part("model-choice").addEventListener("change", (event) => go({ model: event.target.value }));
addEventListener("keydown", onKey);
showTheme();
closable();
onToken(askToken);
receive((file) => go(searchUpload(current(), keep(file))), part("file"), part("drop"));
start();
