// The tests of circuits/cold-chain-day; scripts/test-circuits starts them.
"use strict";
const assert = require("assert");
const { execFileSync } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { P, hash2, day, commitment } = require("./circuit-day.js");
const r1cs = require("./circuit-r1cs.js");

const [tools, root] = process.argv.slice(2).map((p) => path.resolve(p));
const work = fs.mkdtempSync(path.join(os.tmpdir(), "circuits-"));
process.on("exit", () => fs.rmSync(work, { recursive: true }));
const modules = path.join(tools, "node_modules");
let done = 0;

// Compiles a file of `work`; circom2 sees that folder only.
function compile(file, ...flags) {
  const out = fs.mkdtempSync(path.join(work, "out-"));
  const args = [path.join(modules, ".bin/circom2"), file, "--r1cs", "--wasm", ...flags, "-o", path.basename(out)];
  execFileSync("node", args, { cwd: work, stdio: "pipe" });
  const name = path.join(out, path.basename(file, ".circom"));
  const calculator = require(`${name}_js/witness_calculator.js`);
  const wasm = fs.readFileSync(`${name}_js/${path.basename(name)}.wasm`);
  return { calculator: () => calculator(wasm), system: r1cs.read(`${name}.r1cs`) };
}

async function witness(circuit, input) {
  return (await circuit.calculator()).calculateWitness(input, 0);
}

async function refused(circuit, what, input) {
  const quiet = console.log;
  let found;
  try {
    found = await witness(circuit, input);
  } catch {
    done++;
    return;
  } finally {
    console.log = quiet;
  }
  assert.fail(`${what} has a witness${r1cs.satisfied(circuit.system, found) ? ", and it satisfies the system" : ""}`);
}

// Numbers that look random and are the same in every run.
let seed = 42;
function below(n) {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return Math.floor((seed / 0x80000000) * n);
}

function randomDay() {
  const n = 1 + below(24);
  const middle = below(1273151) - 273150;
  const spread = 1 + below(3) * below(50000);
  const clamp = (x) => Math.max(-273150, Math.min(1000000, x));
  const readings = Array.from({ length: n }, () => clamp(middle + below(spread)));
  const hex = () => Array.from({ length: 64 }, () => below(16).toString(16)).join("");
  return { project: hex(), device: hex(), day: below(0x7fffffff), salt: BigInt(1 + below(1e9)), readings };
}

// The same input with a commitment that fits, so that nothing else but the change can be the reason.
function committed(input) {
  const numbers = Object.fromEntries(
    Object.entries(input).map(([k, v]) => [k, Array.isArray(v) ? v.map(BigInt) : BigInt(v)]),
  );
  return { ...input, commitment: commitment(numbers).toString() };
}

const plus = (text, by) => (BigInt(text) + BigInt(by)).toString();
const base = { project: "11".repeat(32), device: "22".repeat(32), day: 15000, salt: 5n, readings: [-300, 700, 250, 701] };

async function honest(circuit) {
  const folder = path.join(root, "circuits/cold-chain-day/examples");
  for (const file of fs.readdirSync(folder)) {
    const { input, public: wanted } = JSON.parse(fs.readFileSync(path.join(folder, file)));
    const found = await witness(circuit, input);
    assert(r1cs.satisfied(circuit.system, found), file);
    assert.deepStrictEqual(found.slice(1, 12).map(String), wanted, file);
    done++;
  }
  for (let i = 0; i < 20; i++) {
    const known = randomDay();
    const { input } = day(known);
    assert(r1cs.satisfied(circuit.system, await witness(circuit, input)), JSON.stringify(input));
    done++;
  }
}

async function dishonestInputs(circuit) {
  const { input } = day(base);
  const with_ = (change) => ({ ...input, readings: [...input.readings], ...change });
  const readings = (...first) => first.map(String).concat(Array(24 - first.length).fill("0"));

  for (const name of ["day", "n", "lo", "hi", "a", "r", "commitment", "salt"]) {
    for (const by of [-1, 1, P]) {
      // P itself changes nothing modulo p: the calculator reduces it, and a verifier must refuse it.
      if (by !== P) await refused(circuit, `${name} ${by}`, with_({ [name]: plus(input[name], by) }));
    }
  }
  for (const name of ["project", "device"]) {
    for (const half of [0, 1]) {
      const changed = [...input[name]];
      changed[half] = plus(changed[half], 1);
      await refused(circuit, `${name}[${half}]`, with_({ [name]: changed }));
    }
    await refused(circuit, `${name} swapped`, with_({ [name]: ["1", "2"] }));
  }
  await refused(circuit, "swapped readings", with_({ readings: readings(700, -300, 250, 701) }));
  await refused(circuit, "changed reading", with_({ readings: readings(-300, 700, 251, 701) }));

  // From here on the commitment fits the lie.
  const lie = (what, change) => refused(circuit, what, committed(with_(change)));
  await lie("a reading below lo", { lo: "-299" });
  await lie("a reading above hi", { hi: "700" });
  await lie("lo that nobody measured", { lo: "-301" });
  await lie("hi that nobody measured", { hi: "702" });
  await lie("lo above hi", { lo: "701", hi: "-300" });
  await lie("a and r of another mean", { a: plus(input.a, 1), r: plus(input.r, -4) });
  await lie("r = n", { a: plus(input.a, -1), r: plus(input.r, 4) });
  await lie("a that is right only modulo p", fraction(input));
  await lie("no readings", { n: "0", readings: readings(), lo: "0", hi: "0", a: "0", r: "0" });
  await lie("fewer readings than there are", { n: "3", a: "216", r: "2", hi: "700" });
  await lie("more readings than there are", { n: "5" });
  await lie("padding that is no 0", { readings: readings(-300, 700, 250, 701, 1) });
  await lie("n = 25", { n: "25" });
  await lie("day of 33 bits", { day: "4294967296" });
  await lie("negative day", { day: "-1" });
  for (const [what, value] of [["too cold", -273151], ["too hot", 1000001], ["2^21", 2097152], ["huge", P / 2n]]) {
    const one = { n: "1", lo: String(value), hi: String(value), a: String(value), r: "0" };
    await lie(`a reading that is ${what}`, { ...one, readings: readings(value) });
  }
  const whole = committed(with_({ n: "24", readings: Array(24).fill("7"), lo: "7", hi: "7", a: "7", r: "0" }));
  assert(r1cs.satisfied(circuit.system, await witness(circuit, whole)), "24 equal readings");
}

// sum = a · n + r modulo p with another r: a is then a huge number.
function fraction({ a, n, r }) {
  const [A, N, R] = [a, n, r].map(BigInt);
  const other = R === 0n ? 1n : 0n;
  let inverse = 1n;
  for (let e = P - 2n, x = N; e > 0n; e >>= 1n, x = (x * x) % P) if (e & 1n) inverse = (inverse * x) % P;
  return { a: ((((A * N + R - other) * inverse) % P) + P).toString(), r: other.toString() };
}

// A prover who computes their own witness: the circuit without its checks and with other hints gives the witness, and
// the true circuit's constraints judge it. Without simplification both have the same wires.
async function dishonestProvers() {
  const source = fs.readFileSync(path.join(work, "cold-chain-day/day.circom"), "utf8");
  const range = fs.readFileSync(path.join(work, "lib/range.circom"), "utf8");
  const truth = compile("cold-chain-day/day.circom", "--O0");
  const { input } = day(base);
  const same = await witness(truth, input);
  assert(r1cs.satisfied(truth.system, same));
  const unchecked = (text) => text.replace(/^.*===.*$/gm, "");
  const hints = (used, bit) => {
    const other = fs.mkdtempSync(path.join(work, "other-"));
    fs.mkdirSync(path.join(other, "cold-chain-day"));
    fs.cpSync(path.join(work, "lib"), path.join(other, "lib"), { recursive: true });
    const replaced = (text, from, to) => {
      assert(text.includes(from), from);
      return unchecked(text.replace(from, to));
    };
    const file = path.join(other, "cold-chain-day/day.circom");
    fs.writeFileSync(file, replaced(source, "used[i] <-- i < n ? 1 : 0;", `used[i] <-- ${used};`));
    fs.writeFileSync(path.join(other, "lib/range.circom"), replaced(range, "bit[i] <-- (x >> i) & 1;", `bit[i] <-- ${bit};`));
    return compile(path.relative(work, file), "--O0");
  };
  const [used, bit] = ["i < n ? 1 : 0", "(x >> i) & 1"];
  const judge = async (what, circuit, lie) => {
    const found = await witness(circuit, committed({ ...input, ...lie }));
    assert.strictEqual(found.length, truth.system.wires, `${what}: other wires`);
    assert(!r1cs.satisfied(truth.system, found), `${what} satisfies the circuit`);
    done++;
  };
  const readings = (...first) => first.map(String).concat(Array(24 - first.length).fill("0"));
  const plain = hints(used, bit);
  assert(r1cs.satisfied(truth.system, await witness(plain, input)), "the circuit without checks computes the same");
  await judge("padding", plain, { readings: readings(-300, 700, 250, 701, 9) });
  await judge("none", plain, { n: "0", readings: readings(), lo: "0", hi: "0", a: "0", r: "0" });
  await judge("lo", plain, { lo: "-301" });
  // The bits of a number that is out of range, as one bit that is none.
  const wide = hints(used, "i == 0 ? x : 0");
  await judge("a wide bit", wide, { lo: "-200", hi: "700" });
  await judge("a wide r", wide, { a: plus(input.a, -1), r: plus(input.r, 4) });
  // Readings with a gap, or none at the start: the highest is left out of what is checked.
  const gap = hints("i == 1 || i > n ? 0 : 1", bit);
  await judge("a gap", gap, { hi: "701", lo: "-300" });
  const late = hints("i >= 1 && i <= n ? 1 : 0", bit);
  const moved = { readings: readings(0, -300, 700, 250, 701) };
  await judge("a late start", late, moved);
  // Fractions instead of zeros and ones: n is right, and no reading is checked in full.
  const half = hints("i == 0 ? 1 : (n - 1) / 23", bit);
  await judge("fractions", half, {});
}

function looseWires(circuit, found) {
  assert.deepStrictEqual(r1cs.loose(circuit.system, found), [], "a wire may have two values");
  done++;
}

async function poseidon() {
  const text = `pragma circom 2.1.6;
include "circomlib/poseidon.circom";
include "lib/poseidon.circom";
template Both() {
    signal input left; signal input right; signal output hash;
    component ours = Hash2(); ours.left <== left; ours.right <== right;
    component theirs = Poseidon(2); theirs.inputs[0] <== left; theirs.inputs[1] <== right;
    ours.hash === theirs.out;
    hash <== ours.hash;
}
component main = Both();`;
  fs.cpSync(path.join(modules, "circomlib/circuits"), path.join(work, "circomlib"), { recursive: true });
  fs.writeFileSync(path.join(work, "both.circom"), text);
  const circuit = compile("both.circom");
  const numbers = [0n, 1n, 2n, P - 1n, 1n << 253n, BigInt(below(1e9)), P / 3n];
  for (const left of numbers) {
    for (const right of numbers) {
      const found = await witness(circuit, { left: left.toString(), right: right.toString() });
      assert.strictEqual(found[1], hash2(left, right));
      done++;
    }
  }
}

async function main() {
  for (const folder of ["lib", "cold-chain-day"]) {
    fs.cpSync(path.join(root, "circuits", folder), path.join(work, folder), { recursive: true });
  }
  const circuit = compile("cold-chain-day/day.circom", "--O1");
  const committedWasm = fs.readFileSync(path.join(root, "artefacts/cold-chain-day.wasm"));
  const built = fs.readdirSync(work).map((d) => path.join(work, d, "day_js/day.wasm")).find((f) => fs.existsSync(f));
  assert(fs.readFileSync(built).equals(committedWasm), "artefacts/cold-chain-day.wasm is of another circuit");
  await honest(circuit);
  await dishonestInputs(circuit);
  looseWires(circuit, await witness(circuit, day(base).input));
  looseWires(circuit, await witness(circuit, day({ ...base, readings: [4] }).input));
  await dishonestProvers();
  await poseidon();
  console.log(`circuits: ${done} checks passed`);
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
