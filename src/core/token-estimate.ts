const QUOTE = 0x22;
const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const LOWER_U = 0x75;

/** Letters that one token of a byte-pair vocabulary holds at most in common words, and digits in numbers. */
const LETTERS_PER_TOKEN = 9;
const DIGITS_PER_TOKEN = 3;
/** Marks that stand together (`});`) are often one token for two. */
const MARKS_PER_TOKEN = 2;
/** Tokens that a character of so many UTF-8 bytes comes to: accents join their word, ideographs stand alone. */
const TOKENS_OF_TWO_BYTES = 0.45;
const TOKENS_OF_THREE_BYTES = 0.8;
const TOKENS_OF_FOUR_BYTES = 2;

/** Longer texts are judged by samples of this size, evenly spread. */
const SAMPLE_BYTES = 256;
const SAMPLES = 3;

/** What a byte is to a tokenizer. */
const LETTER = 1;
const DIGIT = 2;
const BLANK = 3;
const MARK = 4;
const ESCAPE = 5;
const WIDE = 6;

const KINDS = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x80) return WIDE;
  if (byte === BACKSLASH) return ESCAPE;
  if (byte <= 0x20) return BLANK;
  const character = String.fromCharCode(byte);
  if (/[A-Za-z]/.test(character)) return LETTER;
  return /[0-9]/.test(character) ? DIGIT : MARK;
});

/**
 * How many bytes of JSON text (a string's inside, escapes and all) a model's tokenizer takes for a token, about.
 * An estimate by the shapes of words, within a quarter of real vocabularies on prompts; it is meant for keeping
 * the weight of a text that is covered, not for billing.
 */
export function bytesPerToken(text: Uint8Array, from: number, to: number): number {
  const bytes = to - from;
  if (bytes <= SAMPLES * SAMPLE_BYTES) return bytes / Math.max(tokensIn(text, from, to), 1);
  let tokens = 0;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const start = from + Math.floor((sample * (bytes - SAMPLE_BYTES)) / (SAMPLES - 1));
    tokens += tokensIn(text, start, start + SAMPLE_BYTES);
  }
  return (SAMPLES * SAMPLE_BYTES) / Math.max(tokens, 1);
}

function tokensIn(text: Uint8Array, from: number, to: number): number {
  let tokens = 0;
  let at = from;
  while (at < to) {
    const kind = KINDS[text[at] as number] as number;
    if (kind === ESCAPE) {
      tokens += tokensOfEscape(text[at + 1]);
      at += text[at + 1] === LOWER_U ? 6 : 2;
    } else if (kind === WIDE) {
      const lead = text[at] as number;
      tokens +=
        lead >= 0xf0 ? TOKENS_OF_FOUR_BYTES : lead >= 0xe0 ? TOKENS_OF_THREE_BYTES : TOKENS_OF_TWO_BYTES;
      at += lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    } else {
      const start = at;
      do at += 1;
      while (at < to && KINDS[text[at] as number] === kind);
      tokens += tokensOfRun(kind, at - start);
    }
  }
  return tokens;
}

function tokensOfRun(kind: number, length: number): number {
  if (kind === LETTER) return length <= LETTERS_PER_TOKEN ? 1 : Math.ceil(length / LETTERS_PER_TOKEN);
  // One blank belongs to the word after it; more are a token.
  if (kind === BLANK) return length > 1 ? 1 : 0;
  return Math.ceil(length / (kind === DIGIT ? DIGITS_PER_TOKEN : MARKS_PER_TOKEN));
}

/** An escaped quote is a mark, \uXXXX a character of its own; a line end often is a token with its like. */
function tokensOfEscape(escaped: number | undefined): number {
  if (escaped === LOWER_U) return TOKENS_OF_THREE_BYTES;
  return escaped === QUOTE || escaped === BACKSLASH || escaped === SLASH ? 1 / MARKS_PER_TOKEN : 0.5;
}
