// Logs every event: its type and its payload. The smallest applet.
import { INFO, OK, eventType, log, text } from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

export function received(rid: i32): i32 {
  log(INFO, eventType(rid) + ": " + text(rid));
  return OK;
}
