import { ASCII } from './ascii.ts';

const { QUOTE, SLASH, BACKSLASH, LOWER_U } = ASCII;

/** Most letters in one token of a byte-pair vocabulary for common words, and most digits for numbers. */
const LETTERS_PER_TOKEN = 9;
const DIGITS_PER_TOKEN = 3;
/** Two adjacent marks (`});`) are often one token. */
const MARKS_PER_TOKEN = 2;
/** Tokens per character with this many UTF-8 bytes: accents join their word, ideographs are separate. */
const TOKENS_OF_TWO_BYTES = 0.45;
const TOKENS_OF_THREE_BYTES = 0.8;
const TOKENS_OF_FOUR_BYTES = 2;

/** Longer texts are estimated from evenly spread samples of this size. */
const SAMPLE_BYTES = 256;
const SAMPLES = 3;

/** Character classes for tokenizing. */
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
 * Estimated bytes per token of JSON text (the inside of a string, with escapes). It uses the shapes of words
 * and is within a quarter of real vocabularies on prompts. It serves to keep the weight of masked text, not
 * for billing.
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
  // A single blank belongs to the next word; several are one token.
  if (kind === BLANK) return length > 1 ? 1 : 0;
  return Math.ceil(length / (kind === DIGIT ? DIGITS_PER_TOKEN : MARKS_PER_TOKEN));
}

/** An escaped quote is a mark and \uXXXX a character of its own. Line ends often share a token. */
function tokensOfEscape(escaped: number | undefined): number {
  if (escaped === LOWER_U) return TOKENS_OF_THREE_BYTES;
  return escaped === QUOTE || escaped === BACKSLASH || escaped === SLASH ? 1 / MARKS_PER_TOKEN : 0.5;
}
