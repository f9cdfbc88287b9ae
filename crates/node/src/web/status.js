"use strict";
// The node's status page. It asks GET v1/status every two seconds while it is visible, and GET v1/messages/{id} for the
// message that somebody looks at. It only reads, and everything is shown as text, never as markup.
//
// Of v1/status, members may be missing or null: then what they say is left away. 64-bit numbers may be decimal strings;
// times are milliseconds since 1970-01-01T00:00:00Z. Without "full", the members for operators are not there.
const PERIOD = 2000, PATIENCE = 8000, RATE_SPAN = 20000;
const $ = (id) => document.getElementById(id);

/** An element with attributes, and children that are nodes or texts. */
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined).map((c) => c instanceof Node ? c : String(c)));
  return node;
}

/** Groups of three digits, narrow spaces between. */
function number(value) {
  if (value === undefined || value === null) return "–";
  const text = String(value);
  return /^\d+$/.test(text) ? text.replace(/\B(?=(\d{3})+$)/g, "\u202f") : text;
}

function duration(ms) {
  const s = Math.max(0, Math.round(Number(ms) / 1000));
  if (!Number.isFinite(s)) return "–";
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}

/** A time as local clock time, whole in its title. */
function moment(ms) {
  const date = new Date(Number(ms));
  if (!Number(ms) || Number.isNaN(date.getTime())) return el("span", { class: "soft" }, "–");
  const today = date.toDateString() === new Date().toDateString();
  const text = today ? date.toLocaleTimeString() : date.toLocaleString();
  return el("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

/** Wei as whole coins, cut after six digits. */
function coins(wei) {
  if (!/^\d+$/.test(String(wei ?? ""))) return "not said";
  const digits = String(wei).padStart(19, "0");
  return number(digits.slice(0, -18)) + "." + digits.slice(-18, -12);
}

/** Beginning and end of something long. */
function short(text, head = 8, tail = 4) {
  const t = String(text ?? "");
  return t.length > head + tail + 1 ? t.slice(0, head) + "…" + t.slice(-tail) : t;
}

const whole = (text, head, tail) => el("span", { class: "mono", title: text }, short(text, head, tail));
const list = (value) => Array.isArray(value) ? value : [];

/** A table in a box that scrolls, with the keyboard too. Columns are [title, class]; without rows, `empty` is said. */
function table(caption, columns, rows, empty) {
  if (!rows.length) return el("div", { "data-table": caption }, el("h3", {}, caption), el("p", { class: "soft small" }, empty));
  const head = el("tr", {}, ...columns.map(([title, kind]) => el("th", { scope: "col", class: kind }, title)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell, i) => el("td", { class: columns[i][1] }, cell))));
  return el("div", { "data-table": caption }, el("h3", {}, caption),
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption, "data-key": caption },
      el("table", {}, el("thead", {}, head), el("tbody", {}, ...body))));
}

const wide = (node) => { node.classList.add("all"); return node; };

const LOOKS = { ready: "good", busy: "good", attested: "good", executed: "good", settled: "good", "settled elsewhere": "good",
  registered: "good", halted: "bad", conflicted: "bad", rejected: "bad", revoked: "bad" };
const pill = (state) => el("span", { class: "pill " + (LOOKS[state] || "") }, state);

/** A message that a click finds. */
function messageButton(id) {
  if (!id) return "";
  return el("button", { type: "button", class: "id", title: id, "data-key": "find " + id, "data-message": id,
    "aria-label": "find message " + id, onclick: () => find(id, true) }, short(id));
}

/** Accepted messages per second, from what earlier answers said. */
const earlier = new Map();
function rate(name, accepted, now) {
  const past = (earlier.get(name) || []).filter(([t, n]) => now - t < RATE_SPAN && n <= accepted);
  const first = past[0];
  past.push([now, accepted]);
  earlier.set(name, past);
  if (!first || now - first[0] < 1000) return "–";
  const perSecond = (accepted - first[1]) * 1000 / (now - first[0]);
  return perSecond >= 10 ? number(Math.round(perSecond)) : perSecond.toFixed(1);
}

function figures(project, now) {
  const c = project.counters || {};
  const some = (value) => Number(value) > 0 ? number(value) : null;
  const settling = Number(c.settled) > 0 || Number(c.settling) > 0;
  const items = [
    ["accepted", number(c.accepted)],
    ["per second", rate(project.name, Number(c.accepted || 0), now)],
    ["to be ordered", some(c.waiting)],
    ["refused", number(c.refused)],
    ["repeats", number(c.duplicates)],
    ["rejected", some(c.rejected), "alarm"],
    ["handler failures", some(c.failed), "alarm"],
    ["blocks", number(project.height)],
    ["attested", number(project.attested)],
    ["devices", number(project.devices)],
    ["effects done", some(c.effects)],
    ["proofs", some(c.proofs)],
    ["settled", settling ? number(c.settled) : null],
    ["to be settled", settling ? number(c.settling) : null],
    ["gas on chains", some(c.settlement_gas)],
  ].filter(([, value]) => value !== null);
  return el("dl", { class: "figures" },
    ...items.map(([name, value, look]) => el("div", {}, el("dt", {}, name), el("dd", { class: look }, value))));
}

function messages(project) {
  if (!project.recent_messages) return null;
  const rows = list(project.recent_messages).map((m) => [moment(m.time), m.type, messageButton(m.id), pill(m.state),
    Number(m.settlements) > 0 ? number(m.settlements) : "", whole(m.source, 12, 6), m.reason || ""]);
  const columns = [["time", ""], ["type", ""], ["message", ""], ["state", ""], ["settles", "number"], ["from", ""], ["reason", "wide"]];
  return wide(table("Recent messages", columns, rows, "No message since the node started."));
}

function blocks(project) {
  const rows = list(project.last_blocks).map((b) => [
    number(b.height), moment(b.time), number(b.entries), whole(b.id), pill(b.attested ? "attested" : "waits")]);
  const columns = [["height", "number"], ["time", ""], ["entries", "number"], ["block", ""], ["state", ""]];
  return table("Last blocks", columns, rows, "No block yet. The first message makes one.");
}

function devices(project) {
  if (!project.recent_devices) return null;
  const rows = list(project.recent_devices).map((d) => [whole(d.device, 14, 6), pill(d.state),
    d.sequence === null || d.sequence === undefined ? "–" : sequence(d.sequence), moment(d.heard)]);
  const columns = [["device", ""], ["state", ""], ["last sequence", "number"], ["last message", ""]];
  const shown = table("Devices", columns, rows, "No device yet: w3bstream device add");
  const more = Number(project.devices) - rows.length;
  if (more > 0) shown.append(el("p", { class: "soft small" }, "and " + number(more) + " more"));
  return shown;
}

/** The upper 32 bits are the boot epoch. */
function sequence(value) {
  const n = BigInt(value), epoch = n >> 32n, counter = n & 0xffffffffn;
  return epoch > 0n ? number(counter) + " (boot " + number(epoch) + ")" : number(counter);
}

function proof(p) {
  if (!p) return "none asked for";
  if (p.state === "queued") return "queued, " + number(p.ahead) + " ahead";
  if (p.state === "running") {
    return el("span", {}, el("progress", { max: "100", value: p.percent, "aria-label": "proof" }), " " + p.step + " " + p.percent + " %");
  }
  if (p.state === "done") return "done in " + number(p.millis) + " ms";
  return "waits";
}

function settlements(project) {
  const rows = list(project.settlements).map((s) => [s.name || "none", number(s.height) + " / " + number(s.index), pill(s.state), proof(s.proof),
    s.transaction ? whole(s.transaction, 10, 6) : "", s.block ? number(s.block) : "", s.gas ? number(s.gas) : "", messageButton(s.message),
    [Number(s.attempts) > 0 ? number(s.attempts) + " tries failed" : "", s.reason].filter(Boolean).join(": ")]);
  if (!rows.length && !project.payer) return null;
  const columns = [["name", ""], ["output", ""], ["state", ""], ["proof", ""], ["transaction", ""], ["in block", "number"],
    ["gas", "number"], ["message", ""], ["reason", "wide"]];
  const shown = wide(table("Settlements", columns, rows, "Nothing to settle yet."));
  const c = project.counters || {};
  const open = list(project.settlements).filter((s) => !String(s.state).startsWith("settled")).length;
  if (Number(c.settling) > open) shown.append(el("p", { class: "soft small" }, "and " + number(Number(c.settling) - open) + " more that wait"));
  return shown;
}

function accounts(project) {
  if (!project.payer) return null;
  const rows = list(project.accounts).map((a) =>
    [number(a.chain), a.operator || "the project", coins(a.balance), number(a.in_flight), moment(a.time)]);
  const columns = [["chain", ""], ["of", ""], ["balance, in 10\u00b9\u2078 wei", "number"], ["transactions under way", "number"], ["as of", ""]];
  const shown = table("Fee account", columns, rows, "Not looked at since the node started: nothing had to be settled or sent.");
  shown.append(el("p", { class: "small soft" }, el("span", { class: "mono" }, project.payer)));
  const warnings = list(project.accounts).flatMap((a) => list(a.warnings));
  if (warnings.length) shown.append(el("ul", { class: "warnings" }, ...warnings.map((w) => el("li", {}, w))));
  return shown;
}

/** A moment of a schedule is told as such, the next block as a height. */
function triggers(project) {
  const next = (t) => t.done ? "done" : t.next === null ? "" : t.kind === "cron" ? moment(t.next) : number(t.next);
  const rows = list(project.triggers).map((t) =>
    [t.name, t.kind, t.chain === null ? "" : number(t.chain), next(t), number(t.told), t.reason]);
  const columns = [["trigger", ""], ["watches", ""], ["chain", ""], ["last moment, or next block", ""], ["told", "number"], ["waits for", "wide"]];
  return rows.length ? table("Triggers", columns, rows, "") : null;
}

function refusals(project) {
  const counts = Object.entries(project.refused || {});
  if (!counts.length) return null;
  const columns = [["reason", ""], ["messages", "number"]];
  return table("Refused since the start", columns, counts.map(([code, n]) => [code, number(n)]), "");
}

function lastRefusals(project) {
  const rows = list(project.recent_refusals).map((r) => [moment(r.time), r.code, r.detail]);
  return rows.length ? table("Last refusals", [["time", ""], ["reason", ""], ["told to the sender", "wide"]], rows, "") : null;
}

function identity(project) {
  const applets = list(project.applets).map((a) => el("li", {}, a.name + " ", el("span", { class: "mono soft" }, a.program)));
  return el("details", {}, el("summary", {}, "Identity and programs"),
    el("p", { class: "small" }, "project ", el("span", { class: "mono" }, project.id)),
    applets.length ? el("ul", { class: "small" }, ...applets) : null);
}

/** Puts new children into a node, and the focus and the scrolling of the old ones back where they were. */
function replace(node, children) {
  const active = node.contains(document.activeElement) ? document.activeElement : null;
  const box = active && active.closest(".scroll");
  const scrolled = [...node.querySelectorAll(".scroll")].map((b) => [b.dataset.key, b.scrollLeft, b.scrollTop]);
  node.replaceChildren(...children);
  const named = (key) => [...node.querySelectorAll("[data-key]")].find((e) => e.dataset.key === key);
  for (const [key, left, top] of scrolled) if ((left || top) && named(key)) named(key).scrollTo(left, top);
  const next = active && (named(active.dataset.key) || (box && named(box.dataset.key)));
  if (next) next.focus({ preventScroll: true });
}

/** Cards stay in place, and nothing is rebuilt that says the same as before. */
const cards = new Map();
const TABLES = [messages, settlements, blocks, devices, triggers, accounts, refusals, lastRefusals];
function card(project, now) {
  let known = cards.get(project.name);
  if (!known) {
    const title = el("h2", {}, project.name);
    known = { node: el("section", { "aria-label": "project " + project.name, "data-project": project.name }), head: el("div", { class: "row" }),
      title, figures: el("div"), tables: el("div", { class: "tables" }), foot: el("div"), said: {} };
    known.node.append(known.head, known.figures, known.tables, known.foot);
    cards.set(project.name, known);
  }
  const put = (place, facts, make) => {
    const said = JSON.stringify(facts);
    if (known.said[place] === said) return;
    known.said[place] = said;
    replace(known[place], make().filter(Boolean));
  };
  const { state, reason, quorum, ack } = project;
  put("head", [state, reason, quorum, ack], () => [known.title, pill(state || "unknown"),
    el("span", { class: state === "halted" ? "bad small" : "soft small" },
      [reason, quorum && "quorum " + quorum, ack && "ack " + ack].filter(Boolean).join(" · "))]);
  known.figures.replaceChildren(figures(project, now));
  put("tables", { ...project, counters: (project.counters || {}).settling }, () => TABLES.map((make) => make(project)));
  // Changes only with a deployment, so what is open stays open.
  put("foot", [project.id, project.applets], () => [identity(project)]);
  return known.node;
}

function none() {
  return el("section", {}, el("h2", {}, "No project yet"),
    el("p", { class: "soft" }, "Make one and deploy it to this node:"),
    el("p", {}, el("code", {}, "w3bstream project new hello --lang rust")),
    el("p", {}, el("code", {}, "w3bstream project deploy")));
}

function show(status) {
  const now = performance.now();
  const ready = status.ready !== false;
  say(ready ? "ready" : "not ready", ready ? "good" : "");
  warn(ready ? "" : status.reason || "The node does not take messages.");
  $("brief").hidden = status.full !== false;
  $("about").textContent = ["version " + status.version, "up " + duration(status.uptime_ms)].join(" · ");
  $("about").title = status.did || "";
  const urls = list(status.endpoints);
  if ($("endpoints").dataset.urls !== urls.join()) {
    $("endpoints").dataset.urls = urls.join();
    $("endpoints").replaceChildren(...urls.map((url) => el("li", {}, el("code", {}, url))));
  }
  const projects = list(status.projects);
  const wanted = projects.length ? projects.map((p) => card(p, now)) : [none()];
  for (const name of cards.keys()) if (!projects.some((p) => p.name === name)) { cards.delete(name); earlier.delete(name); }
  const present = [...$("projects").children];
  if (wanted.length !== present.length || wanted.some((node, i) => node !== present[i])) $("projects").replaceChildren(...wanted);
  $("updated").replaceChildren(" · as of ", moment(status.now || Date.now()));
}

function say(text, look) {
  // Written only when it changes, so that a screen reader speaks only then.
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = "pill " + look;
}

function warn(text) {
  $("reason").hidden = !text;
  if ($("reason").textContent !== text) $("reason").textContent = text;
}

async function ask(path) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), PATIENCE);
  try {
    const answer = await fetch(path, { signal: stop.signal, cache: "no-store", headers: { accept: "application/json" } });
    const body = await answer.json().catch(() => ({}));
    return { ok: answer.ok, status: answer.status, body };
  } finally {
    clearTimeout(timer);
  }
}

function whyNot(error) {
  if (error.name === "AbortError") return "it takes longer than " + duration(PATIENCE);
  return error instanceof TypeError ? "it cannot be reached" : error.message;
}

let paused = false, timer = 0, failures = 0, heard = null;
async function poll() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  try {
    const answer = await ask("v1/status");
    if (!answer.ok) throw new Error(answer.body.detail || "status " + answer.status);
    failures = 0;
    heard = new Date();
    document.body.classList.remove("gone");
    show(answer.body);
    if (looked && !looked.final) await look(looked.id);
  } catch (error) {
    failures += 1;
    say("no answer", "bad");
    document.body.classList.add("gone");
    warn("The node does not answer: " + whyNot(error) + ". " + (heard
      ? "It was last heard at " + heard.toLocaleTimeString() + "; what is below is of then."
      : "It has not answered since this page was opened."));
  }
  clearTimeout(timer);
  timer = setTimeout(poll, PERIOD * Math.min(1 + failures, 5));
}

const STEPS = [["stored", "Received and stored"], ["ordered", "Ordered"], ["executed", "Executed"], ["attested", "Attested"]];

const fact = (...parts) => el("span", { class: "fact" }, ...parts);
function step(look, name, state, ...facts) {
  return el("li", { class: look, "data-state": state }, el("strong", {}, name), ...facts);
}

/** The steps of the message itself; what it has not reached stands there too, empty. */
function ownSteps(states) {
  const reached = new Map(states.map((s) => [s.state, s]));
  const end = states.find((s) => s.state === "rejected" || s.state === "conflicted");
  const steps = [];
  for (const [state, name] of STEPS) {
    const s = reached.get(state);
    if (s) steps.push(step("done", name, state, fact(moment(s.time)), fact(s.reason)));
    else if (!end) steps.push(step(steps.length && reached.has(STEPS[steps.length - 1][0]) ? "now" : "", name, state, fact("not yet")));
  }
  if (end) steps.push(step("failed", end.state, end.state, fact(moment(end.time)), fact(end.reason)));
  return steps;
}

/** The steps of one settlement. */
function settlementSteps(s) {
  const steps = [], title = s.name ? " (" + s.name + ")" : "";
  if (s.proof === "made") steps.push(step("done", "Proven" + title, "proven", fact("in zero knowledge")));
  if (s.proof === "waiting") steps.push(step("now", "Proven" + title, "proven", fact(s.reason)));
  const where = "chain " + number(s.chain);
  if (s.transaction) {
    const { hash, block, gas } = s.transaction;
    steps.push(step("done", "Settled" + title, "settled", fact(where + ", block " + number(block)), fact("gas " + number(gas)),
      fact(el("span", { class: "mono", "data-transaction": hash }, hash))));
  } else if (s.state === "elsewhere") {
    steps.push(step("done", "Settled elsewhere" + title, "elsewhere", fact(where), fact(s.reason)));
  } else {
    const tries = Number(s.attempts) > 0 ? fact(number(s.attempts) + " tries failed") : null;
    const why = s.proof === "waiting" ? "not yet" : s.reason;
    steps.push(step(s.proof === "waiting" ? "" : "now", "Settled" + title, "settling", fact(where), fact(why), tries));
  }
  return steps;
}

function life(id, body) {
  const states = list(body.states), all = list(body.settlements);
  const own = ownSteps(states);
  const parts = [el("p", { class: "small" }, "In project ", el("strong", {}, body.project), ": ", el("span", { class: "mono" }, id))];
  // One settlement continues the message's own line; several have a line each.
  if (all.length === 1) own.push(...settlementSteps(all[0]));
  parts.push(el("ol", { class: "life" }, ...own));
  if (all.length > 1) parts.push(...all.map((s) => el("ol", { class: "life" }, ...settlementSteps(s))));
  const more = Number(body.settlement_count || 0) - all.length;
  if (more > 0) parts.push(el("p", { class: "soft small" }, "and " + number(more) + " settlements more"));
  const executed = states.some((s) => s.state === "executed");
  if (executed && !all.length) parts.push(el("p", { class: "soft small" }, "Its handlers asked for nothing to be settled."));
  return parts;
}

const ended = (body) => {
  const states = list(body.states).map((s) => s.state);
  return states.includes("rejected") || states.includes("conflicted")
    || (states.includes("attested") && list(body.settlements).every((s) => s.state === "settled" || s.state === "elsewhere"));
};

/** The message that is looked at; asked for again until nothing more can happen to it. */
let looked = null;
async function look(id) {
  const { ok, body } = await ask("v1/messages/" + id);
  if (!looked || looked.id !== id) return;
  const said = JSON.stringify(body);
  if (looked.said === said) return;
  looked = { id, said, final: ok && ended(body) };
  $("found").replaceChildren(...(ok ? life(id, body)
    : [el("p", {}, body.title || "Not found.", " ", el("span", { class: "soft" }, body.detail || ""))]));
}

async function find(id, clicked) {
  $("find-id").value = id;
  looked = null;
  if (!/^[0-9a-f]{64}$/.test(id)) {
    $("found").replaceChildren(el("p", { class: "soft" }, "A message id has 64 hex digits; it is in the answer to the message."));
    return;
  }
  looked = { id, said: "", final: false };
  window.history.replaceState(null, "", "#" + id);
  try {
    await look(id);
  } catch (error) {
    $("found").replaceChildren(el("p", {}, "The node does not answer: " + whyNot(error) + "."));
  }
  if (clicked) $("where").scrollIntoView({ block: "nearest" });
}

$("find").addEventListener("submit", (event) => { event.preventDefault(); find($("find-id").value.trim().toLowerCase()); });
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Go on" : "Pause";
  poll();
});
document.addEventListener("visibilitychange", poll);
if (/^#[0-9a-f]{64}$/.test(location.hash)) find(location.hash.slice(1));
poll();
