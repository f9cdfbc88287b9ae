/* Counts the words of texts: each under the key `word/<word>`, all of them under `total`.
 *
 * A word is a run of letters and digits; every byte beyond ASCII counts as a letter, and A to Z as a to z. Words of more than
 * 64 bytes are left out. A text of more than 2,000 words is refused, since each takes two calls of the host.
 */
#include "w3bstream.h"

enum { TOO_MANY = 3, MOST_WORDS = 2000, LONGEST_WORD = 64 };

/* The byte of a word, in lower case; 0 if it is part of none. */
static char letter(char byte) {
    unsigned char c = (unsigned char)byte;
    if (c >= 'A' && c <= 'Z') return (char)(c + ('a' - 'A'));
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80 ? byte : 0;
}

/* The next word behind *at, in *word; 0 if there is none. */
static int next(w3b_bytes text, size_t *at, w3b_bytes *word) {
    while (*at < text.size) {
        size_t begin = *at;
        while (*at < text.size && letter(text.at[*at])) ++*at;
        *word = (w3b_bytes){text.at + begin, *at - begin};
        if (*at < text.size) ++*at;
        if (word->size > 0 && word->size <= LONGEST_WORD) return 1;
    }
    return 0;
}

W3B_HANDLER(count) {
    w3b_bytes text, word;
    size_t at = 0;
    int64_t words = 0;
    if (w3b_event(rid, &text)) return W3B_HOST;
    while (next(text, &at, &word)) words++;
    if (words > MOST_WORDS) return w3b_fail(TOO_MANY, "more than 2000 words in one text");
    for (at = 0; next(text, &at, &word);) {
        w3b_text key = {0};
        w3b_put(&key, "word/");
        for (size_t i = 0; i < word.size; i++) {
            char c = letter(word.at[i]);
            w3b_put_bytes(&key, (w3b_bytes){&c, 1});
        }
        int32_t code = w3b_set_i64_of(w3b_done(&key), w3b_get_i64_of(w3b_done(&key), 0) + 1);
        if (code) return code;
    }
    return w3b_set_i64("total", w3b_get_i64("total", 0) + words);
}
