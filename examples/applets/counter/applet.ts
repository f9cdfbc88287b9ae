// Counts events: all of them under the key `count`, those of a type under `count/<type>`.
import { OK, eventType, getInt, setInt } from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

function oneMore(key: string): i32 {
  return setInt(key, getInt(key, 0) + 1);
}

export function count(rid: i32): i32 {
  const code = oneMore("count");
  return code == OK ? oneMore("count/" + eventType(rid)) : code;
}
