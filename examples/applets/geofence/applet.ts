// Says when a device enters or leaves an area.
//
// A position is {"device":"cat","lat":47376887,"lon":8541694}, in millionths of a degree. The setting `fence` of the manifest is
// the area: its corners as `lat,lon`, separated by `;`. Whole numbers decide the same on every machine. The area must not reach
// over the 180th meridian.
//
// The key `in/<device>` is 1 or 0. When it changes, or is 1 at first, `fence/<device>` gets
// {"device":…,"event":"entered" or "left","lat":…,"lon":…}.
import {
  GENERAL,
  JSON_EXPECTED,
  JsonObject,
  OK,
  env,
  fail,
  getText,
  isInt,
  publish,
  quote,
  setText,
  text,
} from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

const NOWHERE: i32 = 3;

class Point {
  constructor(public lat: i64, public lon: i64) {}

  onEarth(): bool {
    return this.lat >= -90000000 && this.lat <= 90000000 && this.lon >= -180000000 && this.lon <= 180000000;
  }
}

/** The corners of an area; `null` if it is none. */
function area(fence: string): Point[] | null {
  const corners: Point[] = [];
  const texts = fence.split(";");
  for (let i = 0; i < texts.length; i++) {
    const pair = texts[i].split(",");
    if (pair.length != 2 || !isInt(pair[0]) || !isInt(pair[1])) return null;
    const corner = new Point(I64.parseInt(pair[0]), I64.parseInt(pair[1]));
    if (!corner.onEarth()) return null;
    corners.push(corner);
  }
  return corners.length > 2 ? corners : null;
}

/** Whether a ray from the point towards the east crosses the border an odd number of times. */
function inside(corners: Point[], p: Point): bool {
  let odd = false;
  for (let i = 0; i < corners.length; i++) {
    const a = corners[i], b = corners[(i + 1) % corners.length];
    // At most 3.6e8 * 1.8e8 * 2: far from the end of 64 bits.
    const side = (b.lon - a.lon) * (p.lat - a.lat) - (p.lon - a.lon) * (b.lat - a.lat);
    if (a.lat > p.lat != b.lat > p.lat && side > 0 == b.lat > a.lat && side != 0) odd = !odd;
  }
  return odd;
}

export function position(rid: i32): i32 {
  const given = JsonObject.parse(text(rid));
  if (given === null || !given.has(["device"], ["lat", "lon"])) {
    return fail(JSON_EXPECTED, "device must be a text, lat and lon whole numbers");
  }
  const here = new Point(given.int("lat"), given.int("lon"));
  if (!here.onEarth()) return fail(NOWHERE, "lat must be at most 90000000, lon at most 180000000");
  const fence = env("fence");
  let corners: Point[] | null = null;
  if (fence !== null) corners = area(fence);
  if (corners === null) return fail(GENERAL, "the setting fence must be lat,lon;lat,lon;lat,lon");
  const device = given.text("device");
  const now = inside(corners, here), value = getText("in/" + device);
  const before = value !== null && value == "1";
  if (now != before) {
    const event = now ? "entered" : "left";
    const place = ',"lat":' + here.lat.toString() + ',"lon":' + here.lon.toString();
    const code = publish("fence/" + device, '{"device":' + quote(device) + ',"event":"' + event + '"' + place + "}");
    if (code != OK) return code;
  }
  return setText("in/" + device, now ? "1" : "0");
}
