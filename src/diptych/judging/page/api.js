// What goes to the server and comes from it. Votes are written down in this browser before they are sent, and crossed out
// when the server has them: so a reload or a lost connection loses none, and their keys make sure that none counts twice.

const PREFIX = "diptych.vote.";
const KEPT_FOR = 30 * 24 * 3600 * 1000; // milliseconds that a vote waits for the server that knows its pair
const WAITS = [1000, 2000, 4000, 8000, 15000];
const PATIENCE = 20000;

let token = "";

export class Away extends Error {} // no answer: no network, or no server
export class Said extends Error {
  constructor(status, body) {
    super(`${status}`);
    this.status = status;
    this.body = body;
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(15)); // randomUUID is missing where the page is not on HTTPS
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

async function ask(path, body) {
  let answer;
  const options = { headers: { "X-Diptych": token || "page" }, signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  try {
    answer = await fetch(path, options);
    const said = await answer.json().catch(() => ({}));
    if (answer.status >= 500) throw new Away(answer.statusText);
    if (!answer.ok) throw new Said(answer.status, said);
    return said;
  } catch (error) {
    if (error instanceof Said || error instanceof Away) throw error;
    throw new Away(String(error));
  }
}

// Two tabs that are opened at once ask one after the other, so that the second is known by what the first was given.
export async function next() {
  const first = !token && navigator.locks; // missing where the page is not on HTTPS or this machine
  const state = await (first ? navigator.locks.request("diptych", () => ask("/api/next")) : ask("/api/next"));
  token = state.token;
  return state;
}

export const join = (code) => ask("/api/join", { code });

export async function end() {
  return ask("/api/end", {});
}

// After a new start of the program, it has another token.
export async function goOn() {
  return trusted({ path: "/api/on", body: {} });
}

export async function picture(id) {
  let answer;
  try {
    answer = await fetch(`/p/${id}`, { signal: AbortSignal.timeout(60000) });
    if (answer.ok) return await answer.blob();
  } catch (error) {
    throw new Away(String(error));
  }
  if (answer.status >= 500) throw new Away(answer.statusText);
  throw new Said(answer.status, {});
}

// The queue. One item of storage for each vote, so that two tabs never overwrite each other's.

const memory = new Map(); // where the browser keeps nothing, the tab does
let count = 0;
const notHere = new Set(); // names of votes on pairs that this server does not know

function write(name, text) {
  memory.set(name, text);
  try { localStorage.setItem(name, text); } catch { /* full, or forbidden */ }
}

function erase(name) {
  memory.delete(name);
  try { localStorage.removeItem(name); } catch { /* forbidden */ }
}

function entries() {
  const found = new Map(memory);
  try {
    for (let i = 0; i < localStorage.length; i += 1) {
      const name = localStorage.key(i);
      if (name.startsWith(PREFIX)) found.set(name, localStorage.getItem(name));
    }
    for (const name of memory.keys()) {
      if (localStorage.getItem(name) === null) { memory.delete(name); found.delete(name); } // another tab sent it
    }
  } catch { /* forbidden */ }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
}

function read(name, text) {
  try {
    const operation = JSON.parse(text);
    if (Date.now() - operation.at < KEPT_FOR && operation.path && operation.body) return operation;
  } catch { /* not written by this page */ }
  erase(name);
  return null;
}

export function waiting() {
  return entries().filter(([name]) => !notHere.has(name)).map(([name, text]) => read(name, text)).filter(Boolean);
}

export function add(path, body) {
  count += 1;
  const order = `${String(Date.now()).padStart(15, "0")}.${String(count).padStart(6, "0")}`;
  write(`${PREFIX}${order}.${body.key}`, JSON.stringify({ at: Date.now(), path, body }));
}

let sending = null;

// Sends what waits, in order. Gives the last answer. Raises Away or Said (401: the code) with the rest still waiting.
export function flush() {
  sending ??= send().finally(() => { sending = null; });
  return sending;
}

async function send() {
  let last = null;
  for (;;) {
    const first = entries().find(([name]) => !notHere.has(name));
    if (!first) return last;
    const [name, text] = first;
    const operation = read(name, text);
    if (!operation) continue;
    try {
      last = { ...(await trusted(operation)), key: operation.body.key };
      erase(name);
    } catch (error) {
      if (!(error instanceof Said) || error.status === 401 || error.status === 403) throw error;
      if (error.status === 404) notHere.add(name);
      else erase(name); // ended, or not understood: it would never be taken
    }
  }
}

// A server that was started anew has another token: asked for once more.
async function trusted(operation) {
  try {
    if (!token) await next();
    return await ask(operation.path, operation.body);
  } catch (error) {
    if (!(error instanceof Said) || error.status !== 403) throw error;
    await next();
    return ask(operation.path, operation.body);
  }
}

export function pause(attempt) {
  return WAITS[Math.min(attempt, WAITS.length - 1)];
}
