// Keeps readings in the project's database, and reports on a device when asked.
//
// store:  {"device":"d1","value":21} becomes a row of the table `readings`.
// report: {"device":"d1"} is answered on the topic `reports/d1` with {"high":…,"low":…,"n":…}.
import { HOST, JSON_EXPECTED, JsonObject, Statement, fail, publish, text } from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

export function store(rid: i32): i32 {
  const reading = JsonObject.parse(text(rid));
  if (reading === null || !reading.has(["device"], ["value"])) {
    return fail(JSON_EXPECTED, "device must be a text, value a whole number");
  }
  return new Statement("INSERT INTO readings (device, value) VALUES (?, ?)")
    .text(reading.text("device"))
    .int(reading.int("value"))
    .execute();
}

export function report(rid: i32): i32 {
  const asked = JsonObject.parse(text(rid));
  if (asked === null || !asked.has(["device"], [])) return fail(JSON_EXPECTED, "device must be a text");
  const device = asked.text("device");
  const row = new Statement("SELECT count(*) AS n, min(value) AS low, max(value) AS high FROM readings WHERE device = ?")
    .text(device)
    .rows();
  return row === null ? HOST : publish("reports/" + device, row);
}
