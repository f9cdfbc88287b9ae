// Reads a constraint system as circom writes it, and checks witnesses against it: written from the format's
// description (https://github.com/iden3/r1csfile), so that no test rests on the witness calculator's own checks.
"use strict";
const fs = require("fs");
const { P, mod } = require("./circuit-day.js");

function number(bytes) {
  return BigInt("0x" + (Buffer.from(bytes).reverse().toString("hex") || "0"));
}

function read(file) {
  const bytes = fs.readFileSync(file);
  if (bytes.toString("latin1", 0, 4) !== "r1cs") throw new Error(`${file} is no constraint system`);
  const sections = {};
  for (let at = 12; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at + 4));
    sections[bytes.readUInt32LE(at)] = bytes.subarray(at + 12, at + 12 + length);
    at += 12 + length;
  }
  const [head, body] = [sections[1], sections[2]];
  const size = head.readUInt32LE(0);
  if (number(head.subarray(4, 4 + size)) !== P) throw new Error(`${file} is over another field`);
  const wires = head.readUInt32LE(4 + size);
  const count = head.readUInt32LE(4 + size + 24);
  const constraints = [];
  let at = 0;
  const combination = () => {
    const terms = [];
    const length = body.readUInt32LE(at);
    at += 4;
    for (let i = 0; i < length; i++, at += 4 + size) {
      terms.push([body.readUInt32LE(at), number(body.subarray(at + 4, at + 4 + size))]);
    }
    return terms;
  };
  for (let i = 0; i < count; i++) constraints.push([combination(), combination(), combination()]);
  return { wires, constraints, users: users(wires, constraints) };
}

// Which constraints speak of a wire.
function users(wires, constraints) {
  const users = Array.from({ length: wires }, () => new Set());
  constraints.forEach((parts, i) => parts.flat().forEach(([wire]) => users[wire].add(i)));
  return users;
}

function holds([a, b, c], witness) {
  const value = (terms) => terms.reduce((sum, [wire, factor]) => sum + witness[wire] * factor, 0n);
  return mod(value(a) * value(b) - value(c)) === 0n;
}

// Whether the witness satisfies every constraint.
function satisfied(system, witness) {
  return witness.length === system.wires && witness[0] === 1n && system.constraints.every((c) => holds(c, witness));
}

// The wires that may have another value while all others keep theirs.
function loose(system, witness) {
  const found = [];
  for (let wire = 1; wire < system.wires; wire++) {
    for (const other of [mod(witness[wire] + 1n), mod(-witness[wire]), mod(1n - witness[wire])]) {
      if (other === witness[wire]) continue;
      const changed = witness.slice();
      changed[wire] = other;
      if ([...system.users[wire]].every((i) => holds(system.constraints[i], changed))) found.push(wire);
    }
  }
  return found;
}

module.exports = { read, satisfied, loose };
