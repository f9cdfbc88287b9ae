// Compiles contracts/ into artefacts/contracts/: one JSON file for each contract that can be deployed, with its ABI and its
// creation bytecode, BUILT-WITH and SHA256SUMS. Run by scripts/build-contracts, which installs the compiler.
//
//   node contracts/build.mjs MODULES           writes
//   node contracts/build.mjs MODULES --check   compares, and writes nothing

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import process from "node:process";

const [modules, mode] = process.argv.slice(2);
if (!modules || (mode && mode !== "--check")) {
  console.error("usage: node contracts/build.mjs MODULES [--check]");
  process.exit(2);
}
const solc = createRequire(join(resolve(modules), "index.js"))("solc");
const root = resolve(import.meta.dirname, "..");
const out = join(root, "artefacts", "contracts");
const read = (path) => readFileSync(join(root, path), "utf8");

// The same list as in xtask/src/contracts.rs.
const sources = ["contracts/src", "contracts/test"].flatMap((dir) =>
  readdirSync(join(root, dir)).filter((f) => f.endsWith(".sol")).sort().map((f) => `${dir}/${f}`));
const tools = ["contracts/build.mjs", "contracts/package-lock.json", "contracts/package.json", "contracts/settings.json"];

const input = {
  language: "Solidity",
  sources: Object.fromEntries(sources.map((path) => [path, { content: read(path) }])),
  settings: {
    ...JSON.parse(read("contracts/settings.json")),
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const messages = output.errors ?? [];
for (const message of messages) console.error(message.formattedMessage);
// A warning is a decision that nobody has taken.
if (messages.length > 0) process.exit(1);

const files = new Map();
for (const [source, contracts] of Object.entries(output.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) {
    const bytecode = contract.evm.bytecode.object;
    const test = source.startsWith("contracts/test/");
    // Beside the contract that a file is named for stand what it is made of: libraries, interfaces, the code of a key.
    if (!test && !source.endsWith(`/${name}.sol`)) continue;
    // Interfaces have no bytecode; libraries whose functions are all internal are not deployed.
    if (bytecode === "" || isLibrary(source, name)) continue;
    const path = `${test ? "test/" : ""}${name}.json`;
    files.set(path, render(name, source, contract.abi, bytecode));
  }
}
files.set("BUILT-WITH", `solc ${solc.version()}\n`);
files.set("SHA256SUMS", sums());

if (mode === "--check") check();
else write();

function isLibrary(source, name) {
  return new RegExp(`^library ${name} `, "m").test(input.sources[source].content);
}

// One line for each entry of the ABI: a change is a line of a diff.
function render(name, source, abi, bytecode) {
  const entries = abi.map((entry) => `  ${JSON.stringify(entry)}`).join(",\n");
  return `{\n "contractName": "${name}",\n "sourceName": "${source}",\n "compiler": "${solc.version()}",\n` +
    ` "abi": [\n${entries}\n ],\n "bytecode": "0x${bytecode}"\n}\n`;
}

function sums() {
  const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
  const built = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, text]) => `${digest(text)}  ${path}\n`);
  const from = [...tools, ...sources].sort().map((path) => `${digest(read(path))}  ../../${path}\n`);
  return built.join("") + from.join("");
}

function committed() {
  const list = (dir) => (existsSync(join(out, dir)) ? readdirSync(join(out, dir), { withFileTypes: true }) : [])
    .filter((e) => e.isFile()).map((e) => join(dir, e.name));
  return [...list("."), ...list("test")];
}

function check() {
  const differing = [...files].filter(([path, text]) => !existsSync(join(out, path)) ||
    readFileSync(join(out, path), "utf8") !== text).map(([path]) => path);
  differing.push(...committed().filter((path) => !files.has(path)));
  if (differing.length > 0) {
    console.error(`not what ${solc.version()} makes of contracts/: ${differing.join(", ")}; run scripts/build-contracts`);
    process.exit(1);
  }
  console.log(`contracts: solc ${solc.version()} gives the same ${files.size - 2} artefacts, byte for byte`);
}

function write() {
  for (const path of committed()) rmSync(join(out, path));
  mkdirSync(join(out, "test"), { recursive: true });
  for (const [path, text] of files) writeFileSync(join(out, path), text);
  for (const [path, text] of files) {
    if (path.endsWith(".json")) console.log(`${path}: ${JSON.parse(text).bytecode.length / 2 - 1} bytes`);
  }
}
