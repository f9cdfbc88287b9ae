// Counts the words of texts: each under the key `word/<word>`, all of them under `total`.
//
// A word is a run of letters and digits; every byte beyond ASCII counts as a letter, and A to Z as a to z. Words of more than 64
// bytes are left out. A text of more than 2,000 words is refused, since each takes two calls of the host.
import { OK, decode, fail, getInt, payload, setInt } from "../../../sdk/assemblyscript/w3bstream";
export { alloc } from "../../../sdk/assemblyscript/w3bstream";

const TOO_MANY: i32 = 3;
const MOST_WORDS: i32 = 2000;
const LONGEST_WORD: i32 = 64;

/** Whether a byte, in lower case, is part of a word. */
function isLetter(c: u8): bool {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) || c >= 0x80;
}

export function count(rid: i32): i32 {
  const bytes = payload(rid);
  const words: Uint8Array[] = [];
  let begin = 0;
  for (let i = 0; i <= bytes.length; i++) {
    if (i < bytes.length) {
      if (bytes[i] >= 0x41 && bytes[i] <= 0x5a) bytes[i] += 0x20;
      if (isLetter(bytes[i])) continue;
    }
    if (i > begin && i - begin <= LONGEST_WORD) words.push(bytes.subarray(begin, i));
    begin = i + 1;
  }
  if (words.length > MOST_WORDS) return fail(TOO_MANY, "more than 2000 words in one text");
  for (let i = 0; i < words.length; i++) {
    const key = "word/" + decode(words[i]);
    const code = setInt(key, getInt(key, 0) + 1);
    if (code != OK) return code;
  }
  return setInt("total", getInt("total", 0) + words.length);
}
