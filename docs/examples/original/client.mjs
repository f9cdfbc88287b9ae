// A client of the original W3bstream's routes, in JavaScript: fetch for HTTP, the package `mqtt` for MQTT.
//
//   node client.mjs URL PASSWORD APPLET.wasm [MQTT_URL]
//
// Logs in, makes a project, uploads and deploys an applet, makes a publisher, sends events in each form, and prints what it was
// answered as one JSON object.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";

const [url, password, applet, mqttUrl] = process.argv.slice(2);
const name = `js_${randomUUID().slice(0, 8)}`;
const v0 = `${url}/srv-applet-mgr/v0`;
let session = "";

async function call(method, path, body, expected, token = session) {
  const form = body instanceof FormData;
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && !form && { "Content-Type": "application/json" }) };
  const answer = await fetch(`${v0}/${path}`, { method, headers, body: form ? body : body && JSON.stringify(body) });
  const text = await answer.text();
  if (answer.status !== expected) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

function varint(n) {
  const out = [];
  for (let rest = BigInt(n); ; rest >>= 7n) {
    if (rest < 128n) return [...out, Number(rest)];
    out.push(Number(rest & 127n) | 128);
  }
}

function field(tag, bytes) {
  return [(tag << 3) | 2, ...varint(bytes.length), ...bytes];
}

// eventpb.Event{header{event_type, pub_id, token, pub_time, event_id}, payload}
function eventpb(type, key, token, time, id, payload) {
  const text = (tag, value) => field(tag, Buffer.from(value));
  const header = [...text(1, type), ...text(2, key), ...text(3, token), 4 << 3, ...varint(time), ...text(5, id)];
  return Buffer.from([...field(1, header), ...field(2, Buffer.from(payload))]);
}

async function overMqtt(channel, token) {
  const { connectAsync } = await import("mqtt");
  const client = await connectAsync(mqttUrl, { clientId: `original-${name}`, connectTimeout: 10_000 });
  const acks = [];
  client.on("message", (topic, payload) => acks.push({ topic, ...JSON.parse(payload) }));
  await client.subscribeAsync("ack/js_device", { qos: 1 });
  const seconds = Math.floor(Date.now() / 1000);
  await client.publishAsync(channel, eventpb("DEFAULT", "js_device", token, seconds, "JS-PB", "[1]"), { qos: 1 });
  await client.publishAsync(`${channel}/push/${token}/DEFAULT`, "[2]", { qos: 1 });
  await client.publishAsync(`${channel}/push/${token}/DEFAULT/ts=${seconds}&id=JS-TOPIC`, "[3]", { qos: 1 });
  for (let i = 0; acks.length < 3 && i < 100; i++) await new Promise((r) => setTimeout(r, 50));
  await client.endAsync();
  return acks;
}

session = (await call("PUT", "login", { username: "admin", password }, 200)).token;
const project = await call("POST", "project", { name, envs: { env: [["SITE", "A"]] } }, 201);
const form = new FormData();
form.set("file", new Blob([await readFile(applet)], { type: "application/wasm" }), "applet.wasm");
form.set("info", JSON.stringify({ appletName: "log", wasmName: "applet.wasm", strategies: [{ eventType: "DEFAULT", handler: "default" }] }));
const uploaded = await call("POST", `applet/x/${name}`, form, 201);
const instance = await call("POST", `deploy/applet/${uploaded.appletID}`, null, 201);
await call("PUT", `deploy/${instance.instanceID}/START`, null, 204);
const publisher = await call("POST", `publisher/x/${name}`, { name: "js device", key: "js_device" }, 201);

const seconds = Math.floor(Date.now() / 1000);
const events = [];
for (const channel of [name, project.channel]) {
  events.push(await call("POST", `event/${channel}?eventType=DEFAULT&timestamp=${seconds}`, { x: 1 }, 201, publisher.token));
}
const key = await call("POST", "account_access_key", { name: "js", expirationDays: 0 }, 201);
const batch = [{ device_id: "js_one", event_type: "DEFAULT", payload: "{}", timestamp: seconds }, { device_id: "js_two", payload: "{}" }];
const pushed = await call("POST", `event/${name}?eventType=DA-TA_PU-SH`, batch, 201, key.accessKey);
const acks = mqttUrl ? await overMqtt(name, publisher.token) : [];
await call("DELETE", "account_access_key/js", null, 204);
await call("DELETE", `project/x/${name}`, null, 204);
console.log(JSON.stringify({ key: "js_device", events, pushed, acks }));
