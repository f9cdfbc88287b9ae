// A host in memory, to test applets in Node.js: new Host(bytes of the module).deliver(handler, type, payload) gives the handler's
// code. It keeps keys between events, and what handlers asked for. As on a node, every event gets a fresh instance, and a call
// that traps changes nothing.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Host {
  /** Keys, by their text. */
  kv = new Map();
  /** Settings of the manifest. */
  env = new Map();
  /** What the database answers to a query, by the JSON of the query as the kit writes it. */
  rows = new Map();
  /** What handlers asked for. */
  published = [];
  statements = [];
  metrics = [];
  logs = [];
  /** The events that handlers sent, which this host delivers to nobody, and what they answered. */
  events = [];
  answers = [];
  /** The DID of the device that signs; `null` for none. */
  device = "did:key:z6MkMock";
  /** The sender's time in milliseconds, and how many events led to the one that is delivered. */
  time = 0;
  depth = 0;

  constructor(wasm) {
    this.module = new WebAssembly.Module(wasm);
  }

  /** The value of a key as text; `undefined` if there is none. */
  text(key) {
    return this.kv.get(key);
  }

  /** Calls a handler with an event. Traps are thrown. */
  deliver(handler, type, payload) {
    const call = { writes: new Map(), published: [], statements: [], metrics: [], events: [], answers: [] };
    const instance = new WebAssembly.Instance(this.module, this.#imports(call, type, payload, () => instance.exports));
    const code = instance.exports[handler](1);
    for (const [key, value] of call.writes) this.kv.set(key, value);
    for (const name of ["published", "statements", "metrics", "events", "answers"]) this[name].push(...call[name]);
    return code;
  }

  #imports(call, type, payload, exports) {
    const read = (at, size) => decoder.decode(new Uint8Array(exports().memory.buffer, at, size));
    const give = (value, absent, at, size) => {
      if (value === undefined || value === null) return absent;
      const bytes = typeof value === "string" ? encoder.encode(value) : value;
      const address = exports().alloc(bytes.length);
      new Uint8Array(exports().memory.buffer, address, bytes.length).set(bytes);
      const view = new DataView(exports().memory.buffer);
      view.setUint32(at, address, true);
      view.setUint32(size, bytes.length, true);
      return 0;
    };
    const keep = (list, value) => (list.push(value), 0);
    const event = (rid, value) => (rid === 1 ? value : undefined);
    const number = (value) => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
      return bytes;
    };
    const context = (item) =>
      ({ 2: this.device, 5: number(this.time), 6: this.depth > 0 ? number(this.depth) : undefined })[item];
    const log = (level, text) => keep(this.logs, { level, text });
    return {
      env: {
        ws_log: (level, at, size) => log(level, read(at, size)),
        ws_get_data: (rid, at, size) => give(event(rid, payload), 2, at, size),
        ws_get_event_type: (rid, at, size) => give(event(rid, type), 2, at, size),
        ws_get_context: (rid, item, at, size) => give(event(rid, context(item)), 2, at, size),
        ws_get_db: (key, keySize, at, size) => {
          const name = read(key, keySize);
          return give(call.writes.get(name) ?? this.kv.get(name), 2, at, size);
        },
        ws_set_db: (key, keySize, at, size) => {
          if (keySize < 1 || keySize > 1024) return -1;
          call.writes.set(read(key, keySize), read(at, size));
          return 0;
        },
        ws_get_env: (name, nameSize, at, size) => give(this.env.get(read(name, nameSize)), 8, at, size),
        ws_set_sql_db: (at, size) => keep(call.statements, read(at, size)),
        ws_get_sql_db: (json, jsonSize, at, size) => give(this.rows.get(read(json, jsonSize)) ?? "", 0, at, size),
        ws_send_mqtt_msg: (topic, topicSize, at, size) =>
          topicSize < 1 || topicSize > 1024 ? -1 : keep(call.published, { topic: read(topic, topicSize), payload: read(at, size) }),
        ws_send_event: (type, typeSize, at, size) => {
          if (!/^[a-z0-9-]{1,63}$/.test(read(type, typeSize))) return -1;
          return this.depth >= 8 ? 11 : keep(call.events, { type: read(type, typeSize), payload: read(at, size) });
        },
        ws_send_answer: (at, size) => (call.answers.length > 0 ? -1 : keep(call.answers, read(at, size))),
        // Traps, as AssemblyScript does behind it.
        abort: () => {
          throw new Error("the applet gave up (abort)");
        },
        trace: () => {},
        seed: () => 0.5,
      },
      stat: { ws_submit_metrics: (at, size) => keep(call.metrics, read(at, size)) },
    };
  }
}
