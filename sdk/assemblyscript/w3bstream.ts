// Guest kit for applets in AssemblyScript: the functions that a node gives to a module, and what an applet mostly needs
// around them. One file, no package:
//
//     import { Event, getInt, setInt } from "./w3bstream";
//     export { alloc } from "./w3bstream";
//
//     export function count(rid: i32): i32 {
//       return setInt("count", getInt("count", 0) + 1);
//     }
//
// A handler is an exported function of the event's number, `rid`, that gives 0 or a code of its own. Every call runs in a
// fresh instance: globals never outlive it, and nothing needs to be freed. There is no clock, no randomness, no file and no
// network. Prefer whole numbers to floating point. Check first, write last: what a handler wrote before it returned an error
// stays; what it wrote before it trapped (`throw`, a failed assert) does not.

// Codes of handlers; those of an applet itself are positive.
export const OK: i32 = 0;
/** Something is wrong that has no code of its own. */
export const GENERAL: i32 = 1;
/** The host refused a call. */
export const HOST: i32 = -1;
/** The payload is not the JSON that was expected. */
export const JSON_EXPECTED: i32 = -2;
/** An event was not sent: as many led here as may follow from each other. */
export const DEPTH: i32 = -11;
/** An event was not sent: the message has caused as many as it may. */
export const EVENTS: i32 = -12;

// Levels of the log.
export const ERROR: i32 = 2;
export const WARN: i32 = 3;
export const INFO: i32 = 4;
export const DEBUG: i32 = 5;
export const TRACE: i32 = 6;

// ---- The functions of the host. `at` and `size` are where the host stores what it answers. ----

@external("env", "ws_log")
export declare function ws_log(level: i32, text: usize, size: usize): i32;
@external("env", "ws_get_data")
export declare function ws_get_data(rid: i32, at: usize, size: usize): i32;
@external("env", "ws_set_data")
export declare function ws_set_data(rid: i32, data: usize, size: usize): i32;
@external("env", "ws_get_event_type")
export declare function ws_get_event_type(rid: i32, at: usize, size: usize): i32;
@external("env", "ws_get_db")
export declare function ws_get_db(key: usize, keySize: usize, at: usize, size: usize): i32;
@external("env", "ws_set_db")
export declare function ws_set_db(key: usize, keySize: usize, value: usize, valueSize: usize): i32;
@external("env", "ws_get_env")
export declare function ws_get_env(name: usize, nameSize: usize, at: usize, size: usize): i32;
@external("env", "ws_set_sql_db")
export declare function ws_set_sql_db(json: usize, jsonSize: usize): i32;
@external("env", "ws_get_sql_db")
export declare function ws_get_sql_db(json: usize, jsonSize: usize, at: usize, size: usize): i32;
@external("env", "ws_send_mqtt_msg")
export declare function ws_send_mqtt_msg(topic: usize, topicSize: usize, payload: usize, payloadSize: usize): i32;
@external("env", "ws_get_context")
export declare function ws_get_context(rid: i32, item: i32, at: usize, size: usize): i32;
@external("env", "ws_settle")
export declare function ws_settle(name: usize, nameSize: usize, statement: usize, statementSize: usize): i32;
@external("env", "ws_call_contract")
export declare function ws_call_contract(chain: i32, json: usize, jsonSize: usize, at: usize, size: usize): i32;
@external("env", "ws_send_tx")
export declare function ws_send_tx(chain: i32, json: usize, jsonSize: usize, at: usize, size: usize): i32;
@external("env", "ws_send_tx_with_operator")
export declare function ws_send_tx_with_operator(chain: i32, json: usize, jsonSize: usize, at: usize, size: usize): i32;
@external("env", "ws_api_call")
export declare function ws_api_call(json: usize, jsonSize: usize, at: usize, size: usize): i32;
@external("env", "ws_send_event")
export declare function ws_send_event(type: usize, typeSize: usize, payload: usize, payloadSize: usize): i32;
@external("env", "ws_send_answer")
export declare function ws_send_answer(answer: usize, size: usize): i32;
@external("stat", "ws_submit_metrics")
export declare function ws_submit_metrics(json: usize, jsonSize: usize): i32;

// ---- Memory. ----

/** The host puts its answers where this points: every module exports it. */
export function alloc(size: i32): i32 {
  return i32(heap.alloc(usize(size)));
}

/** Where the host stores address and size of what it answers. */
const place: usize = memory.data(8, 4);

function answer(): Uint8Array {
  const at = load<u32>(place), size = load<u32>(place, 4);
  const bytes = new Uint8Array(size);
  memory.copy(bytes.dataStart, at, size);
  return bytes;
}

/** The UTF-8 bytes of a text. */
export function encode(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}

/** The text of UTF-8 bytes. */
export function decode(bytes: Uint8Array): string {
  return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
}

// ---- The event. ----

/** The payload of the event, as it was sent. A number that the host does not know is a trap. */
export function payload(rid: i32): Uint8Array {
  assert(ws_get_data(rid, place, place + 4) == 0, "the host knows no such event");
  return answer();
}

/** The payload as text. */
export function text(rid: i32): string {
  return decode(payload(rid));
}

/** The event's type. */
export function eventType(rid: i32): string {
  assert(ws_get_event_type(rid, place, place + 4) == 0, "the host knows no such event");
  return decode(answer());
}

/** The DID of the device that signed; `null` if none did (a token's event, a trigger's). */
export function device(rid: i32): string | null {
  return ws_get_context(rid, 2, place, place + 4) == 0 ? decode(answer()) : null;
}

/** A number of eight bytes that the host knows of the event; 0 if it knows none. */
function number(rid: i32, item: i32): u64 {
  return ws_get_context(rid, item, place, place + 4) == 0 ? bswap<u64>(load<u64>(load<u32>(place))) : 0;
}

/** The time that the sender gave, in milliseconds since the epoch; 0 if it gave none. */
export function time(rid: i32): u64 {
  return number(rid, 5);
}

/** How many events of handlers lead from the message to this event; 0 for a message itself. */
export function depth(rid: i32): u64 {
  return number(rid, 6);
}

/** Sends an event to the handlers of the project that its type is routed to. Gives 0, `DEPTH`, `EVENTS` or `HOST`. */
export function send(type: string, payload: Uint8Array): i32 {
  const t = encode(type);
  const code = ws_send_event(t.dataStart, t.length, payload.dataStart, payload.length);
  return code == 0 ? OK : code == 11 ? DEPTH : code == 12 ? EVENTS : HOST;
}

/** Answers who waits for the message's results, once per call. */
export function reply(text: string): i32 {
  const bytes = encode(text);
  return ws_send_answer(bytes.dataStart, bytes.length) == 0 ? OK : HOST;
}

// ---- State, settings, log, messages, metrics. ----

/** The value of a key; `null` if there is none. */
export function get(key: string): Uint8Array | null {
  const k = encode(key);
  return ws_get_db(k.dataStart, k.length, place, place + 4) == 0 ? answer() : null;
}

/** Sets a key. Gives 0, or `HOST` if the host refuses. */
export function set(key: string, value: Uint8Array): i32 {
  const k = encode(key);
  return ws_set_db(k.dataStart, k.length, value.dataStart, value.length) == 0 ? OK : HOST;
}

/** The value of a key as text; `null` if there is none. */
export function getText(key: string): string | null {
  const value = get(key);
  return value === null ? null : decode(value);
}

/** Sets a key to a text. */
export function setText(key: string, value: string): i32 {
  return set(key, encode(value));
}

/** The value of a key that holds a whole number in decimal, or `otherwise` if it holds none. */
export function getInt(key: string, otherwise: i64): i64 {
  const value = getText(key);
  if (value === null || !isInt(value)) return otherwise;
  return parseInt64(value);
}

/** Sets a key to a whole number, in decimal. */
export function setInt(key: string, value: i64): i32 {
  return setText(key, value.toString());
}

/** A setting of the manifest; `null` if there is none. */
export function env(name: string): string | null {
  const n = encode(name);
  return ws_get_env(n.dataStart, n.length, place, place + 4) == 0 ? decode(answer()) : null;
}

/** Logs a line. */
export function log(level: i32, line: string): void {
  const bytes = encode(line);
  ws_log(level, bytes.dataStart, bytes.length);
}

/** Logs why a handler fails, and gives its code: `return fail(3, "no such door");`. */
export function fail(code: i32, why: string): i32 {
  log(ERROR, why);
  return code;
}

/** Asks for an MQTT message, which a node publishes once the block is agreed on. */
export function publish(topic: string, message: string): i32 {
  const t = encode(topic), m = encode(message);
  return ws_send_mqtt_msg(t.dataStart, t.length, m.dataStart, m.length) == 0 ? OK : HOST;
}

/** Submits a JSON object, whose numbers become metrics of the node. */
export function metrics(object: string): i32 {
  const json = encode(object);
  return ws_submit_metrics(json.dataStart, json.length) == 0 ? OK : HOST;
}

// ---- SQL. ----

/** A statement with `?` for each parameter; give those in order, then run it. */
export class Statement {
  private params: string[] = [];

  constructor(private statement: string) {}

  int(value: i64): Statement {
    this.params.push('{"int64":' + value.toString() + "}");
    return this;
  }

  text(value: string): Statement {
    this.params.push('{"string":' + quote(value) + "}");
    return this;
  }

  private json(): Uint8Array {
    return encode('{"statement":' + quote(this.statement) + ',"params":[' + this.params.join(",") + "]}");
  }

  /** Runs it. Gives 0, or `HOST` if it was refused or failed; the project's log says why. */
  execute(): i32 {
    const json = this.json();
    return ws_set_sql_db(json.dataStart, json.length) == 0 ? OK : HOST;
  }

  /** Its rows: an empty text, one JSON object, or an array of objects; `null` if it was refused or failed. */
  rows(): string | null {
    const json = this.json();
    return ws_get_sql_db(json.dataStart, json.length, place, place + 4) == 0 ? decode(answer()) : null;
  }
}

// ---- JSON: one flat object of texts, whole numbers, true, false and null. ----

/** A JSON text: quoted, with escapes. */
export function quote(value: string): string {
  const hex = "0123456789abcdef";
  let out = '"';
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c == 0x22 || c == 0x5c) out += "\\" + value.charAt(i);
    else if (c < 0x20) out += "\\u00" + hex.charAt(c >> 4) + hex.charAt(c & 15);
    else out += value.charAt(i);
  }
  return out + '"';
}

/** Whether a text is a whole number of 64 bits. */
export function isInt(value: string): bool {
  const begin = value.startsWith("-") ? 1 : 0;
  const digits = value.length - begin;
  if (digits < 1 || digits > 19) return false;
  for (let i = begin; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c < 0x30 || c > 0x39) return false;
  }
  // 19 digits fit into 64 bits without a sign.
  return U64.parseInt(value.substring(begin)) <= u64(i64.MAX_VALUE) + u64(begin);
}

function parseInt64(value: string): i64 {
  const begin = value.startsWith("-") ? 1 : 0;
  const amount = i64(U64.parseInt(value.substring(begin)));
  return begin ? -amount : amount;
}

/** What a member of an object is. */
export enum Kind {
  Text,
  Int,
  Other,
}

/** A flat object. */
export class JsonObject {
  names: string[] = [];
  values: string[] = [];
  kinds: Kind[] = [];

  /** The object that a text is; `null` if it is none. */
  static parse(text: string): JsonObject | null {
    const reader = new Reader(text), object = new JsonObject();
    return reader.object(object) ? object : null;
  }

  private find(name: string, kind: Kind): i32 {
    const i = this.names.indexOf(name);
    return i >= 0 && this.kinds[i] == kind ? i : -1;
  }

  /** Whether it has all these texts and whole numbers. */
  has(texts: string[], ints: string[]): bool {
    for (let i = 0; i < texts.length; i++) if (this.find(texts[i], Kind.Text) < 0) return false;
    for (let i = 0; i < ints.length; i++) if (this.find(ints[i], Kind.Int) < 0) return false;
    return true;
  }

  /** A text. Ask `has` before: without it this traps. */
  text(name: string): string {
    return this.values[this.find(name, Kind.Text)];
  }

  /** A whole number. Ask `has` before: without it this traps. */
  int(name: string): i64 {
    return parseInt64(this.values[this.find(name, Kind.Int)]);
  }
}

class Reader {
  private at: i32 = 0;

  constructor(private source: string) {}

  private peek(): i32 {
    while (this.at < this.source.length) {
      const c = this.source.charCodeAt(this.at);
      if (c != 0x20 && c != 0x09 && c != 0x0a && c != 0x0d) return c;
      this.at++;
    }
    return -1;
  }

  private take(wanted: string): bool {
    if (this.peek() != wanted.charCodeAt(0)) return false;
    this.at++;
    return true;
  }

  object(into: JsonObject): bool {
    if (!this.take("{")) return false;
    if (this.take("}")) return this.peek() < 0;
    do {
      const name = this.quoted();
      if (name === null || into.names.includes(name) || !this.take(":")) return false;
      into.names.push(name);
      if (!this.value(into)) return false;
    } while (this.take(","));
    return this.take("}") && this.peek() < 0;
  }

  private value(into: JsonObject): bool {
    if (this.peek() == 0x22) {
      const found = this.quoted();
      if (found === null) return false;
      into.values.push(found);
      into.kinds.push(Kind.Text);
      return true;
    }
    const begin = this.at;
    while (this.at < this.source.length && !",}\t\n\r ".includes(this.source.charAt(this.at))) this.at++;
    const word = this.source.substring(begin, this.at);
    into.values.push(word);
    into.kinds.push(isInt(word) ? Kind.Int : Kind.Other);
    return isInt(word) || word == "true" || word == "false" || word == "null";
  }

  private quoted(): string | null {
    if (!this.take('"')) return null;
    let out = "";
    while (this.at < this.source.length) {
      const c = this.source.charCodeAt(this.at++);
      if (c == 0x22) return out;
      if (c < 0x20) return null;
      if (c != 0x5c) {
        out += String.fromCharCode(c);
        continue;
      }
      const escaped = this.escape();
      if (escaped < 0) return null;
      out += String.fromCharCode(escaped);
    }
    return null;
  }

  private escape(): i32 {
    const c = this.source.charAt(this.at++);
    const known = '"\\/bfnrt'.indexOf(c);
    if (c.length == 1 && known >= 0) return '"\\/\b\f\n\r\t'.charCodeAt(known);
    if (c != "u" || this.at + 4 > this.source.length) return -1;
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const digit = "0123456789abcdef".indexOf(this.source.charAt(this.at++).toLowerCase());
      if (digit < 0) return -1;
      value = (value << 4) | digit;
    }
    return value;
  }
}
