// The sitting as a person sees it. One thing is on the screen at a time: the code, the pictures, the end, or trouble.

import * as api from "./api.js";
import { reveal } from "./reveal.js";
import { Viewer } from "./viewer.js";

const QUESTIONS = {
  overall: "Which is better?",
  detail: "Which has the better detail?",
  "follows the prompt": "Which follows the prompt better?",
};
const KEYS = { 1: "left", 2: "right", "=": "tie", 0: "both_bad", " ": "skip" };
const SAID = {
  left: ["the left one", "the upper one"], right: ["the right one", "the lower one"],
  tie: ["a tie", "a tie"], both_bad: ["both bad", "both bad"], skip: ["skipped", "skipped"],
};
const TOO_SOON = 250; // milliseconds in which a second press is still about the pair before
const LONG = 150; // characters of a prompt that is set smaller
const TITLE = document.title;
const BEFORE = 3; // pairs that are kept for taking back at once

const $ = (id) => document.getElementById(id);
const choices = [...document.querySelectorAll("[data-choice]")];

let state = null; // what the server last said
let trials = []; // open here, the one on the screen first
let shown = null; // { trial, at } on the screen
let named = false; // the models of the pair on the screen are told
let failures = 0;
let timer = 0;
let refreshing = null; // promise, while a round is under way
let again = false; // something was asked for since it began
let ended = false;
const loaded = new Map(); // trial -> promise of a pair with its pictures decoded
const done = new Set(); // trials voted on here
const history = []; // { key, trial } voted on here, the last one last
const viewer = new Viewer($("stage"), tools);

// Screens

function screen(name) {
  for (const id of ["judging", "joining", "trouble", "revealed"]) $(id).hidden = id !== name;
  document.body.dataset.screen = name;
}

function announce(text) {
  $("live").textContent = text;
}

function trouble(title, said) {
  $("trouble-title").textContent = title;
  $("trouble-said").textContent = said;
  screen("trouble");
}

function enter() {
  clearTimeout(timer);
  screen("joining");
  $("code").focus();
}

// Talking to the server

// Sends what waits and asks what is next. One at a time: who comes meanwhile is served by one more round.
function refresh() {
  again = Boolean(refreshing);
  refreshing ??= (async () => {
    do {
      again = false;
      await round();
    } while (again && !ended);
  })().finally(() => { refreshing = null; });
  return refreshing;
}

async function round() {
  clearTimeout(timer);
  try {
    await api.flush();
    const said = await api.next();
    failures = 0;
    if (said.needs) { enter(); return; }
    state = said;
    take();
  } catch (error) {
    wrong(error);
  }
  if (!shown && !trials.length && state?.trials && !named) nothing();
  quiet();
}

function wrong(error) {
  if (error instanceof api.Said && error.status === 401) enter();
  else if (error instanceof api.Away) {
    timer = setTimeout(refresh, api.pause(failures));
    failures += 1;
    if (!state) trouble("No answer", "The program that shows the pictures does not answer. It may have been stopped; this page goes on by itself when it is back.");
  } else {
    trouble("This cannot go on", `The server said ${error.message}. What you voted is kept.`);
  }
}

function take() {
  if (state.reveal) { finish(state.reveal); return; }
  screen("judging");
  $("question").textContent = question();
  const voted = unsent();
  trials = state.trials.filter((one) => !done.has(one.trial) && !voted.has(one.trial));
  for (const key of loaded.keys()) {
    if (!trials.some((one) => one.trial === key) && !history.slice(-BEFORE).some((one) => one.trial.trial === key)) forget(key);
  }
  const still = shown && trials.find((one) => one.trial === shown.trial.trial);
  if (still) trials = [still, ...trials.filter((one) => one !== still)];
  if (!still && !named) follow();
  ahead();
}

// Trials that are voted on, here or in another tab, in votes that were not sent yet.
function unsent() {
  const voted = new Map();
  for (const { path, body } of api.waiting()) {
    if (path === "/api/vote") voted.set(body.key, body.trial);
    else voted.delete(body.of);
  }
  return new Set(voted.values());
}

// Pictures

function load(trial) {
  if (!loaded.has(trial.trial)) {
    const made = pair(trial);
    made.catch(() => loaded.delete(trial.trial));
    loaded.set(trial.trial, made);
  }
  return loaded.get(trial.trial);
}

async function pair(trial) {
  const whole = await view(trial.whole);
  return { whole, detail: trial.detail && (await view(trial.detail)) };
}

async function view({ pictures, width, height }) {
  const blobs = await Promise.all(pictures.map(api.picture));
  const urls = blobs.map((blob) => URL.createObjectURL(blob));
  const image = (url) => Object.assign(new Image(), { src: url, draggable: false });
  const images = [[image(urls[0]), image(urls[1])], [image(urls[1]), image(urls[0])]];
  await decoded({ images });
  return { width, height, urls, images };
}

const decoded = ({ images }) => Promise.all(images.flat().map((image) => image.decode()));

async function forget(key) {
  const promise = loaded.get(key);
  loaded.delete(key);
  const gone = await promise?.catch(() => null);
  for (const one of [gone?.whole, gone?.detail]) one?.urls.forEach((url) => URL.revokeObjectURL(url));
}

async function ahead() {
  for (const trial of trials.slice(0, 2)) {
    try {
      await load(trial);
    } catch (error) {
      if (error instanceof api.Said && error.status === 404) timer = setTimeout(refresh, api.pause(0)); // not open any more
      else if (error instanceof api.Away) wrong(error);
      else trouble("A picture cannot be shown", "This browser could not decode one of the two pictures.");
      return;
    }
  }
}

const isFirst = (trial) => trials[0]?.trial === trial.trial; // every answer brings objects of its own

// Shows the next pair, both pictures at once.
async function follow() {
  named = false;
  shown = null;
  $("named").hidden = true;
  const trial = trials[0];
  if (!trial) { nothing(); return; }
  $("judging").dataset.over = false;
  $("finish").hidden = true;
  $("choices").hidden = false;
  $("question").textContent = question();
  const ready = load(trial);
  let waits = true;
  const timeout = setTimeout(() => { if (waits && isFirst(trial)) wait(trial, "Preparing two pictures."); }, 120);
  try {
    const both = await ready;
    await decoded(both.whole);
    if (!isFirst(trial) || shown) return;
    $("waiting").textContent = "";
    ask(trial.prompt);
    viewer.show(both);
    shown = { trial, at: performance.now() };
    $("judging").dataset.pair = trial.trial;
    if (trials.length < 2 && state.trials.length < 2) refresh(); // at first there is one alone, to be there sooner
  } catch {
    wait(trial, "Waiting for two pictures.");
  } finally {
    waits = false;
    clearTimeout(timeout);
    buttons();
  }
}

function wait(trial, said, over = false) {
  viewer.clear(!over);
  $("judging").dataset.over = over;
  $("finish").hidden = !over;
  $("choices").hidden = over;
  $("question").textContent = over ? "That was the last pair" : question();
  delete $("judging").dataset.pair;
  ask(trial?.prompt ?? "");
  $("waiting").textContent = said;
  buttons();
}

function ask(prompt) {
  const place = $("prompt");
  place.textContent = prompt;
  place.classList.toggle("long", prompt.length > LONG);
  place.scrollTop = 0;
  if (place.scrollHeight > place.clientHeight) place.tabIndex = 0;
  else place.removeAttribute("tabindex");
}

function nothing() {
  const over = state && !api.waiting().length && !state.trials.some((one) => !done.has(one.trial));
  wait(null, over ? "You have seen every pair there is." : failures ? "The next pair comes when the connection is back."
    : "Preparing two pictures.", over);
}

const question = () => QUESTIONS[state?.criterion] ?? QUESTIONS.overall;

// Votes

async function vote(choice) {
  if (!shown || named || performance.now() - shown.at < TOO_SOON) return;
  const { trial, at } = shown;
  const key = api.newKey();
  const seconds = Math.round((performance.now() - at) / 10) / 100;
  api.add("/api/vote", { trial: trial.trial, choice, criterion: state.criterion, key, seconds });
  done.add(trial.trial);
  history.push({ key, trial });
  history.splice(0, Math.max(0, history.length - 200));
  trials = trials.filter((one) => one.trial !== trial.trial);
  announce(`Kept: ${SAID[choice][document.body.classList.contains("is-stacked") ? 1 : 0]}.`);
  if (state.reveals && choice !== "skip") {
    named = true;
    tell(key);
    return;
  }
  follow();
  refresh();
}

// The names, where the sitting reveals after each vote; without an answer the next pair comes without them.
async function tell(key) {
  buttons();
  const answer = await api.flush().catch(() => null);
  if (!named) return;
  if (answer?.key !== key || !answer.names) { named = false; follow(); refresh(); return; }
  [$("name-left").textContent, $("name-right").textContent] = answer.names;
  $("choices").hidden = true;
  $("named").hidden = false;
  announce(`Left: ${answer.names[0]}. Right: ${answer.names[1]}.`);
  $("onward").focus({ preventScroll: true });
  refresh();
}

function takeBack() {
  const last = history.pop();
  const of = last?.key ?? state?.last;
  if (!of || state.reveals) return;
  api.add("/api/back", { of, key: api.newKey() });
  state.last = null;
  announce("Taken back. The same pair again.");
  if (last) {
    done.delete(last.trial.trial);
    trials = [last.trial, ...trials];
    follow();
  }
  refresh().then(() => {
    const back = state?.trials?.[0];
    if (!last && back && back.trial !== shown?.trial.trial) { trials = state.trials; follow(); }
  });
}

// The quiet line, and what can be pressed

function quiet() {
  const line = $("progress"), votes = unsent().size;
  line.classList.toggle("away", failures > 0);
  if (failures) {
    const kept = votes ? ` ${votes === 1 ? "1 vote waits" : `${count(votes, "vote")} wait`} here and will be sent.` : "";
    if (!line.textContent.startsWith("No connection")) announce("No connection. Your votes are kept.");
    line.textContent = `No connection.${kept}`;
    buttons();
    return;
  }
  if (!state?.progress) return;
  const { mine, votes: inAll, said, more, enough } = state.progress;
  const all = inAll > mine ? `${mine} of ${count(inAll, "vote")}` : count(mine, "vote");
  line.replaceChildren(strong(`${all}.`), ` ${said}${more ? ` ${more}.` : enough ? " You can end here." : ""}`);
  $("end").classList.toggle("strong", enough || $("judging").dataset.over === "true");
  buttons();
}

function count(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

function strong(text) {
  const element = document.createElement("b");
  element.textContent = text;
  return element;
}

function buttons() {
  const off = !shown || named;
  for (const one of choices) one.ariaDisabled = String(off);
  $("back").ariaDisabled = String(Boolean(state?.reveals) || !(history.length || state?.last));
  $("back").hidden = Boolean(state?.reveals);
  tools();
}

function tools() {
  const there = Boolean(viewer?.pair);
  for (const id of ["loupe", "flicker"]) $(id).ariaDisabled = String(!there);
  $("loupe").ariaPressed = String(there && (viewer.detailed || !viewer.fitted));
  $("flicker").ariaPressed = String(Boolean(viewer?.swapped));
  $("zoom").textContent = viewer?.said ?? "";
}

// The end

async function finish(facts) {
  ended = true;
  clearTimeout(timer);
  viewer.clear(false);
  shown = null;
  named = false;
  trials = [];
  history.length = 0; // what was named cannot be taken back
  reveal($("revealed"), facts);
  screen("revealed");
  document.title = "Revealed · diptych";
  $("revealed").querySelector("h1")?.focus();
}

// Back from the end, to the pairs that are left.
async function goOn() {
  const said = $("again-said");
  try {
    await api.goOn();
  } catch (error) {
    if (error instanceof api.Away) said.textContent = "No answer. The program was stopped: `diptych judge` starts it again.";
    else wrong(error);
    return;
  }
  ended = false;
  document.title = TITLE;
  $("revealed").replaceChildren();
  await refresh();
  $("stage").focus({ preventScroll: true });
}

for (const id of ["end", "finish"]) $(id).addEventListener("click", () => {
  const mine = state?.progress?.mine ?? 0;
  $("ending-said").textContent = `The models are named. Who knows them judges less freely, so end when you are done. ${state?.progress?.enough
    ? state.progress.said : mine ? `So far: ${count(mine, "vote")} of yours.` : "You have not voted yet."}`;
  $("ending").returnValue = "";
  $("ending").showModal();
});
$("ending").addEventListener("close", async () => {
  if ($("ending").returnValue !== "end") return;
  try {
    await api.flush();
    finish((await api.end()).reveal);
  } catch (error) {
    wrong(error);
    quiet();
  }
});

// Hands

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.ariaDisabled === "true") return;
  if (button.dataset.choice) vote(button.dataset.choice);
  if (button.id === "loupe") viewer.loupe(null);
  if (button.id === "flicker" && event.detail === 0) viewer.swap(!viewer.swapped); // pressed by keyboard
  if (button.id === "back") takeBack();
  if (button.id === "onward") follow();
  if (button.id === "again") goOn();
  if (button.id === "retry") location.reload();
  // A mouse leaves the focus on what it clicked, where the space bar would press it again.
  if (event.detail > 0 && button.closest(".judging")) $("stage").focus({ preventScroll: true });
});

for (const [on, off] of [["pointerdown", ["pointerup", "pointercancel", "pointerleave"]]]) {
  $("flicker").addEventListener(on, (event) => { if (event.button === 0) viewer.swap(true); });
  for (const kind of off) $("flicker").addEventListener(kind, () => viewer.swap(false));
}
$("flicker").addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is what it is for

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("judging").hidden || $("ending").open) return;
  const pressing = event.target.closest?.("button") && event.target.matches(":focus-visible");
  if (pressing && (event.key === " " || event.key === "Enter")) return; // the button's own
  const key = event.key.toLowerCase();
  if (named) {
    if (event.repeat || ![" ", "enter"].includes(key)) return;
    follow();
  } else if (event.key in KEYS) {
    if (!event.repeat) vote(KEYS[event.key]);
  } else if (key === "z") {
    if (!event.repeat) takeBack();
  } else if (key === "l") {
    if (!event.repeat) viewer.loupe();
  } else if (key === "f") {
    if (!event.repeat) viewer.swap(true);
  } else if (!viewer.key(event)) return;
  event.preventDefault();
});
document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "f") viewer.swap(false); });
window.addEventListener("blur", () => viewer.swap(false));

$("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const { joined, wait: seconds } = await api.join($("code").value);
    $("join-said").textContent = joined ? ""
      : seconds ? `Too many wrong codes. The next one is looked at in ${seconds} s.` : "That is not the code.";
    if (joined) refresh();
  } catch {
    $("join-said").textContent = "No answer. Is this machine on the same network?";
  }
  $("code").select();
});

window.addEventListener("online", () => { if (!ended) refresh(); });
window.addEventListener("offline", () => { failures = Math.max(failures, 1); quiet(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && !ended && state) refresh(); });
setTimeout(() => {
  if (document.body.dataset.screen) return;
  screen("judging");
  wait(null, "Preparing two pictures.");
}, 250);
window.addEventListener("storage", () => { if (state && !ended) quiet(); });

refresh();
