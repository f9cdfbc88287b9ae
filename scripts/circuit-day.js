// The statement of a day and the input of circuits/cold-chain-day, from the readings: written from
// circuits/README.md, apart from circuit and applet, so that the three can be compared.
"use strict";
const fs = require("fs");
const path = require("path");

const P = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const mod = (x) => ((x % P) + P) % P;

// The constants as circom has them; scripts/poseidon-constants makes them.
const source = fs.readFileSync(path.join(__dirname, "../circuits/lib/poseidon_constants.circom"), "utf8");
const [rounds, matrix] = [...source.matchAll(/\[([^\]]*)\]/g)].map((list) => list[1].split(",").map((n) => BigInt(n)));

function power5(x) {
  const x2 = mod(x * x);
  return mod(mod(x2 * x2) * x);
}

// Poseidon of width 3: the first number of the permuted (0, left, right).
function hash2(left, right) {
  let state = [0n, mod(left), mod(right)];
  for (let round = 0; round < 65; round++) {
    state = state.map((x, i) => mod(x + rounds[3 * round + i]));
    const partial = round >= 4 && round < 61;
    state = state.map((x, i) => (i === 0 || !partial ? power5(x) : x));
    state = [0, 1, 2].map((i) => mod(state.reduce((sum, x, j) => sum + matrix[3 * i + j] * x, 0n)));
  }
  return state[0];
}

function halves(hex) {
  return [BigInt("0x" + hex.slice(0, 32)), BigInt("0x" + hex.slice(32))];
}

// The commitment to a day: a chain of hash2 over the items, from the domain's text as a number.
function commitment({ project, device, day, n, salt, readings }) {
  const words = [0n, 0n];
  readings.forEach((reading, i) => {
    words[Math.floor(i / 12)] += (BigInt(reading) + 273150n) << BigInt(21 * (i % 12));
  });
  const domain = BigInt("0x" + Buffer.from("w3b/cold-chain/day/1").toString("hex"));
  const items = [salt, ...project, ...device, BigInt(day) * 256n + BigInt(n), ...words];
  return items.reduce(hash2, domain);
}

// What the cold-chain applet takes for a day's salt: a chain over the salts of its readings' payloads.
function daySalt(salts) {
  return salts.reduce(hash2, BigInt("0x" + Buffer.from("w3b/cold-chain/salt/1").toString("hex")));
}

// project and device as 64 hex digits, readings in thousandths of a degree.
function day({ project, device, day: number, salt, readings }) {
  const n = readings.length;
  const sum = readings.reduce((a, b) => a + b, 0);
  const a = Math.floor(sum / n);
  const statement = { project, device, day: number, n, lo: Math.min(...readings), hi: Math.max(...readings), a, r: sum - a * n };
  const padded = readings.concat(Array(24 - n).fill(0));
  const [p, d] = [halves(project), halves(device)];
  statement.commitment = commitment({ project: p, device: d, day: number, n, salt, readings: padded }).toString();
  const input = { ...statement, project: p, device: d, salt, readings: padded };
  const text = (x) => (Array.isArray(x) ? x.map(text) : x.toString());
  return { statement, input: Object.fromEntries(Object.entries(input).map(([k, v]) => [k, text(v)])) };
}

module.exports = { P, mod, hash2, commitment, daySalt, day };
