
import { depth, payload, reply, send, setInt as keep } from "./w3bstream";

/** Sends a message on as an event, and answers; of an event it keeps how many led to it. scripts/test-kits puts it behind an applet. */
export function bell(rid: i32): i32 {
  if (depth(rid) > 0) return keep("depth", i64(depth(rid)));
  const code = send("bell", payload(rid));
  return code != 0 ? code : reply("sent");
}
