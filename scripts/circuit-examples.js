// Makes the example days in circuits/cold-chain-day/examples: what the applet knows, the circuit's input, the public
// numbers and a proof by snarkjs. Called by scripts/build-circuits.
//
//     node scripts/circuit-examples.js TOOLS ROOT
"use strict";
const fs = require("fs");
const path = require("path");
const { day, daySalt, hash2 } = require("./circuit-day.js");

const [tools, root] = process.argv.slice(2).map((p) => path.resolve(p));
const snarkjs = require(path.join(tools, "node_modules/snarkjs"));
const artefact = (kind) => path.join(root, "artefacts/cold-chain-day." + kind);

const project = "8f14e45fceea167a5a36dedd4bea2543ae5c2a1f5b0a3c6f9d2f4e1b7a8c9d0e";
const device = "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15a3c1e5d7b9f80a1b2c3d4e5f";
const wave = (i) => Math.round(4000 + 3000 * Math.sin(i / 3));

// A day of data/seattle-temps.csv in thousandths of a degree Celsius, rounded half away from zero; the payload of hour
// i has the salt i + 1. The applet's tests send the same.
function seattle(date) {
  const rows = fs.readFileSync(path.join(root, "data/seattle-temps.csv"), "utf8").trim().split("\n");
  return rows.filter((row) => row.startsWith(date)).map((row) => {
    const ninths = (Math.round(Number(row.split(",")[1]) * 10) - 320) * 500;
    return Math.trunc((ninths + 4 * Math.sign(ninths)) / 9);
  });
}

const examples = {
  "seattle-2010-01-01": {
    day: 14610,
    salt: daySalt(Array.from({ length: 24 }, (_, i) => BigInt(i + 1))),
    readings: seattle("2010/01/01"),
  },
  "full-day": { day: 14610, salt: 1n << 200n, readings: Array.from({ length: 24 }, (_, i) => wave(i)) },
  "one-reading": { day: 0, salt: 1n, readings: [21500] },
  "below-zero": { day: 20000, salt: 123456789n, readings: [-18250, -19001, -17999, -18250, -20000, -18000, -18001] },
  "extremes": { day: 4294967295, salt: 2n ** 247n + 7n, readings: [-273150, 1000000, -273150] },
  "around-zero": { day: 19000, salt: 99n, readings: [-1, 0, 1, -2, 0] },
};

async function main() {
  if (hash2(1n, 2n) !== 7853200120776062878684798364095072458815029376092732009249414926327459813530n) {
    throw new Error("this is another Poseidon than circomlib's");
  }
  const key = JSON.parse(fs.readFileSync(artefact("vkey.json")));
  for (const [name, { day: number, salt, readings }] of Object.entries(examples)) {
    const { statement, input } = day({ project, device, day: number, salt, readings });
    const file = path.join(root, "circuits/cold-chain-day/examples", name + ".json");
    // A new proof of the same would be another one, and make a change of nothing.
    if (fs.existsSync(file)) {
      const { input: before, public: numbers, proof } = JSON.parse(fs.readFileSync(file));
      const same = JSON.stringify(before) === JSON.stringify(input);
      if (same && (await snarkjs.groth16.verify(key, numbers, proof))) continue;
    }
    const { proof, publicSignals } = await snarkjs.groth16.fullProve(input, artefact("wasm"), artefact("zkey"));
    if (!(await snarkjs.groth16.verify(key, publicSignals, proof))) throw new Error(`${name}: no proof`);
    const calldata = JSON.parse(`[${await snarkjs.groth16.exportSolidityCallData(proof, publicSignals)}]`);
    const bytes = "0x" + calldata.slice(0, 3).flat(3).map((word) => word.slice(2)).join("");
    const example = { statement, input, public: publicSignals, proof, proofBytes: bytes };
    fs.writeFileSync(file, JSON.stringify(example, null, 1) + "\n");
  }
  // snarkjs keeps its workers.
  process.exit(0);
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
