// Finds readings that do not fit what their sensor said before.
//
// A message has the readings of several sensors at one time: {"t":1357020000000,"temp":3902,"wind":1036}, where `t` is in
// milliseconds and all other whole numbers are readings; what is no whole number is passed over.
//
// Of each sensor the applet keeps, under `s/<sensor>`, how many readings came, their mean, and their mean distance from it (the
// spread), both exponentially smoothed over some 16 readings, in 256ths. A reading further from the mean than `limit` times the
// spread is an anomaly: `anomalies/<sensor>` gets {"sensor":…,"t":…,"v":…,"expected":…,"spread":…}, the key `anomalies` counts it,
// and it is learned from only up to the limit, so that a wild value does not hide the next one while a lasting change becomes
// normal.
//
// Settings: `limit` (8), how many spreads from the mean are normal, 1 to 1,000; `warm_up` (24), how many readings of a sensor are
// learned from before any is judged; `floor` (10), the least spread that is reckoned with, up to 1,000,000,000.
import {
  GENERAL,
  JSON_EXPECTED,
  JsonObject,
  Kind,
  OK,
  WARN,
  env,
  fail,
  getInt,
  getText,
  isInt,
  log,
  publish,
  quote,
  setInt,
  setText,
  text,
} from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

const TOO_LARGE: i32 = 3;
/** The largest reading. With it no step below leaves 64 bits. */
const LARGEST: i64 = 1000000000000;
/** Fractions of a unit. */
const PARTS: i64 = 256;
/** Over how many readings is smoothed. */
const SMOOTH: i64 = 16;

/** A setting; −1 if it is out of range. */
function setting(name: string, otherwise: i64, least: i64, most: i64): i64 {
  const value = env(name);
  if (value === null) return otherwise;
  if (!isInt(value)) return -1;
  const number = I64.parseInt(value);
  return number >= least && number <= most ? number : -1;
}

function distance(a: i64, b: i64): i64 {
  return a > b ? a - b : b - a;
}

/** What was learned of a sensor; mean and spread in parts of a unit. */
class Sensor {
  count: i64 = 0;
  mean: i64 = 0;
  spread: i64 = 0;
  // The mean and the spread that an anomaly does not fit.
  expected: i64 = 0;
  usual: i64 = 0;

  static load(key: string): Sensor | null {
    const sensor = new Sensor(), value = getText(key);
    if (value === null) return sensor;
    const numbers = value.split(" ");
    if (numbers.length < 3 || !isInt(numbers[0]) || !isInt(numbers[1]) || !isInt(numbers[2])) return null;
    sensor.count = I64.parseInt(numbers[0]);
    sensor.mean = I64.parseInt(numbers[1]);
    sensor.spread = I64.parseInt(numbers[2]);
    return sensor;
  }

  keep(key: string): i32 {
    return setText(key, this.count.toString() + " " + this.mean.toString() + " " + this.spread.toString());
  }

  /** Learns from a reading. Whether it is an anomaly. */
  learn(reading: i64, limit: i64, warmUp: i64, floor: i64): bool {
    const before = this.mean;
    let value = reading * PARTS;
    if (++this.count == 1) {
      this.mean = value;
      return false;
    }
    const spread = max(this.spread, floor * PARTS), most = spread * limit;
    const strange = this.count > warmUp && distance(value, before) > most;
    if (strange) value = value > before ? before + most : before - most;
    this.spread += (distance(value, before) - this.spread) / SMOOTH;
    this.mean += (value - before) / SMOOTH;
    this.expected = before / PARTS;
    this.usual = spread / PARTS;
    return strange;
  }
}

function tell(name: string, time: string, value: string, sensor: Sensor): i32 {
  const expected = sensor.expected.toString(), usual = sensor.usual.toString();
  log(WARN, name + ": " + value + " at " + time + ", expected " + expected + " with a spread of " + usual);
  const place = '{"sensor":' + quote(name) + ',"t":' + time + ',"v":' + value;
  const code = publish("anomalies/" + name, place + ',"expected":' + expected + ',"spread":' + usual + "}");
  return code == OK ? setInt("anomalies", getInt("anomalies", 0) + 1) : code;
}

export function reading(rid: i32): i32 {
  const object = JsonObject.parse(text(rid));
  if (object === null || !object.has([], ["t"])) return fail(JSON_EXPECTED, "t must be a whole number");
  const limit = setting("limit", 8, 1, 1000), warmUp = setting("warm_up", 24, 1, LARGEST);
  const floor = setting("floor", 10, 0, 1000000000);
  if (limit < 0 || warmUp < 0 || floor < 0) return fail(GENERAL, "a setting is out of range");
  const time = object.int("t").toString();
  for (let i = 0; i < object.names.length; i++) {
    if (object.kinds[i] != Kind.Int || object.names[i] == "t") continue;
    const value = object.int(object.names[i]);
    if (value > LARGEST || value < -LARGEST) return fail(TOO_LARGE, "a reading must be at most 1000000000000");
  }
  for (let i = 0; i < object.names.length; i++) {
    const name = object.names[i];
    if (object.kinds[i] != Kind.Int || name == "t") continue;
    const key = "s/" + name, sensor = Sensor.load(key);
    if (sensor === null) return fail(GENERAL, "what was learned of a sensor cannot be read");
    const value = object.int(name);
    const strange = sensor.learn(value, limit, warmUp, floor);
    let code = sensor.keep(key);
    if (code == OK && strange) code = tell(name, time, value.toString(), sensor);
    if (code != OK) return code;
  }
  return OK;
}
